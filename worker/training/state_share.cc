#include "worker/training/state_share.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/safetensors.h"

namespace tritter {
namespace {

constexpr int kKinds = 4;
constexpr const char* kPrefixes[kKinds] = {"weight/", "adam_m/", "adam_v/", "ema/"};

// Holds the rank's own slots alone, one after the other.
class Snapshot : public TrainerSnapshot {
 public:
  Snapshot(const ParameterStore& parameters, int64_t step, int rank, int world_size)
      : step_(step), rank_(rank), world_size_(world_size) {
    const std::vector<ParameterSlot>& slots = parameters.slots();
    const std::vector<int> owners = AssignShares(slots, world_size);
    int64_t size = 0;
    for (size_t i = 0; i < slots.size(); ++i) {
      if (owners[i] != rank) continue;
      own_.push_back(slots[i]);
      size += slots[i].size;
    }
    const float* arrays[kKinds] = {parameters.weight(), parameters.adam_m(), parameters.adam_v(),
                                   parameters.average()};
    for (int kind = 0; kind < kKinds; ++kind) {
      copies_[kind] = FloatBuffer(size);
      float* next = copies_[kind].data();
      for (const ParameterSlot& slot : own_) {
        std::memcpy(next, arrays[kind] + slot.offset, slot.size * sizeof(float));
        next += slot.size;
      }
    }
  }
  int64_t step() const override { return step_; }

  absl::StatusOr<std::vector<ManifestFile>> WriteShare(Env* env,
                                                       const std::string& folder) const override {
    std::vector<TensorToWrite> tensors;
    for (int kind = 0; kind < kKinds; ++kind) {
      const float* next = copies_[kind].data();
      for (const ParameterSlot& slot : own_) {
        tensors.push_back({absl::StrCat(kPrefixes[kind], slot.spec.name), DType::kF32,
                           slot.spec.shape,
                           absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(next),
                                               slot.size * sizeof(float))});
        next += slot.size;
      }
    }
    const std::string name = absl::StrCat("share-", rank_, "-of-", world_size_, ".safetensors");
    const std::string path = JoinPath(folder, name);
    absl::StatusOr<WrittenFile> written =
        WriteSafetensors(env, path, tensors, {{"step", absl::StrCat(step_)}});
    if (!written.ok()) {
      if (env->Exists(path)) env->RemoveFile(path).IgnoreError();  // half a share helps nobody
      return written.status();
    }
    return std::vector<ManifestFile>{{name, written->bytes, written->sha256}};
  }

 private:
  const int64_t step_;
  const int rank_, world_size_;
  std::vector<ParameterSlot> own_;
  FloatBuffer copies_[kKinds];
};

}  // namespace

std::vector<int> AssignShares(const std::vector<ParameterSlot>& slots, int world_size) {
  std::vector<size_t> order(slots.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return slots[a].size != slots[b].size ? slots[a].size > slots[b].size : a < b;
  });
  std::vector<int64_t> load(world_size, 0);
  std::vector<int> owners(slots.size());
  for (size_t i : order) {
    owners[i] = static_cast<int>(std::min_element(load.begin(), load.end()) - load.begin());
    load[owners[i]] += slots[i].size;
  }
  return owners;
}

std::unique_ptr<TrainerSnapshot> CopyState(const ParameterStore& parameters, int64_t step, int rank,
                                           int world_size) {
  return std::make_unique<Snapshot>(parameters, step, rank, world_size);
}

absl::Status ReadState(Env* env, const std::string& folder, const CheckpointManifest& manifest,
                       ParameterStore* parameters) {
  float* arrays[kKinds] = {parameters->weight(), parameters->adam_m(), parameters->adam_v(),
                           parameters->average()};
  std::set<std::string> missing;
  for (const ParameterSlot& slot : parameters->slots()) {
    for (const char* prefix : kPrefixes) missing.insert(prefix + slot.spec.name);
  }
  for (const ManifestFile& file : manifest.files) {
    const std::string path = JoinPath(folder, file.name);
    ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> share, SafetensorsFile::Open(env, path));
    for (const std::string& name : share->names()) {
      const size_t slash = name.find('/');
      const int kind = static_cast<int>(
          std::find(kPrefixes, kPrefixes + kKinds, name.substr(0, slash + 1)) - kPrefixes);
      absl::StatusOr<const ParameterSlot*> slot = parameters->Find(name.substr(slash + 1));
      if (kind == kKinds || !slot.ok()) {
        return absl::FailedPreconditionError(
            absl::StrCat(path, ": tensor ", name,
                         " does not belong to the model of this run; was it written with another "
                         "configuration?"));
      }
      ASSIGN_OR_RETURN(TensorView tensor, share->Get(name));
      if (tensor.dtype != DType::kF32 || tensor.shape != (*slot)->spec.shape) {
        return absl::FailedPreconditionError(
            absl::StrCat(path, ": tensor ", name, " is ", DTypeName(tensor.dtype), " [",
                         absl::StrJoin(tensor.shape, ", "), "], expected F32 [",
                         absl::StrJoin((*slot)->spec.shape, ", "), "]"));
      }
      std::memcpy(arrays[kind] + (*slot)->offset, tensor.bytes.data(), tensor.bytes.size());
      missing.erase(name);
    }
  }
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrCat(folder, ": no share holds ", *missing.begin(), " (and ",
                                            missing.size() - 1, " more)"));
  }
  parameters->MarkChanged();
  return absl::OkStatus();
}

std::string HashState(const ParameterStore& parameters) {
  Sha256Hasher hasher;
  for (const float* values :
       {parameters.weight(), parameters.adam_m(), parameters.adam_v(), parameters.average()}) {
    hasher.Update(values, parameters.size() * sizeof(float));
  }
  return Hex(hasher.Finish());
}

}  // namespace tritter
