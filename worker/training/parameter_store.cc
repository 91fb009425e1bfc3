#include "worker/training/parameter_store.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {
namespace {
std::vector<ParameterSlot> SlotsOf(const ModelConfig& config) {
  std::vector<ParameterSlot> slots;
  int64_t offset = 0;
  for (ParameterSpec& spec : ParameterTable(config)) {
    int64_t size = 1;
    for (int64_t n : spec.shape) size *= n;
    slots.push_back({std::move(spec), offset, size});
    offset += size;
  }
  return slots;
}
}  // namespace

ParameterStore::ParameterStore(const ModelConfig& config) : slots_(SlotsOf(config)) {
  const int64_t size = slots_.back().offset + slots_.back().size;
  weight_ = FloatBuffer(size);
  gradient_ = FloatBuffer(size);
}

ParameterStore ParameterStore::TableOnly(const ModelConfig& config) {
  ParameterStore store;
  store.slots_ = SlotsOf(config);
  return store;
}

absl::StatusOr<const ParameterSlot*> ParameterStore::Find(absl::string_view name) const {
  for (const ParameterSlot& slot : slots_) {
    if (slot.spec.name == name) return &slot;
  }
  return absl::NotFoundError(absl::StrCat("the model has no parameter ", name));
}

absl::StatusOr<ParameterSlot> ParameterStore::FindAdjacent(
    const std::vector<std::string>& names) const {
  ParameterSlot all;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const ParameterSlot* slot, Find(name));
    if (all.size == 0) {
      all = *slot;
      continue;
    }
    const bool same_width =
        slot->spec.shape.size() == 1 || slot->spec.shape.back() == all.spec.shape.back();
    if (slot->offset != all.offset + all.size || !same_width) {
      return absl::FailedPreconditionError(
          absl::StrCat(name, " does not follow ", names.front(),
                       " in the parameter table: they cannot be one matrix"));
    }
    all.spec.shape[0] += slot->spec.shape[0];
    all.size += slot->size;
  }
  return all;
}

}  // namespace tritter
