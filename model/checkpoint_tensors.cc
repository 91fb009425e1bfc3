#include "model/checkpoint_tensors.h"

#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<CheckpointTensors>> CheckpointTensors::Open(
    const CheckpointReader& checkpoint) {
  std::unique_ptr<CheckpointTensors> out(new CheckpointTensors(checkpoint.location()));
  for (const ManifestFile& file : checkpoint.manifest().files) {
    if (!absl::EndsWith(file.name, ".safetensors")) continue;
    const std::string path = checkpoint.LocationOf(file.name);
    ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped, checkpoint.Open(file.name));
    ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> share,
                     SafetensorsFile::Open(std::move(mapped), path));
    for (const std::string& name : share->names()) {
      ASSIGN_OR_RETURN(TensorView view, share->Get(name));
      const auto [at, added] = out->tensors_.emplace(name, std::make_pair(path, std::move(view)));
      if (!added) {
        return absl::DataLossError(absl::StrCat(path, ": tensor ", name, " is also in ",
                                                at->second.first, ", expected in one share only"));
      }
    }
    out->shares_.push_back(std::move(share));
  }
  return out;
}

absl::StatusOr<absl::Span<const float>> CheckpointTensors::Get(
    absl::string_view prefix, const ParameterSpec& parameter) const {
  const std::string name = absl::StrCat(prefix, parameter.name);
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(location_, ": tensor ", name, " is in none of the ",
                                            shares_.size(), " shares"));
  }
  const auto& [path, view] = found->second;
  if (view.dtype != DType::kF32 || view.shape != parameter.shape) {
    return absl::DataLossError(absl::StrCat(path, ": tensor ", name, " is ", DTypeName(view.dtype),
                                            " [", absl::StrJoin(view.shape, ", "),
                                            "], expected F32 [",
                                            absl::StrJoin(parameter.shape, ", "), "]"));
  }
  if (reinterpret_cast<uintptr_t>(view.bytes.data()) % alignof(float) != 0) {
    return absl::DataLossError(
        absl::StrCat(path, ": tensor ", name, " does not start at a multiple of 4 bytes"));
  }
  const absl::Span<const float> values(reinterpret_cast<const float*>(view.bytes.data()),
                                       view.bytes.size() / sizeof(float));
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": tensor ", name, ", element ", i, " is ", values[i],
                       ": the run had diverged; use an earlier checkpoint"));
    }
  }
  return values;
}

std::string CheckpointTensors::Metadata(const std::string& key) const {
  for (const std::unique_ptr<SafetensorsFile>& share : shares_) {
    const auto found = share->metadata().find(key);
    if (found != share->metadata().end()) return found->second;
  }
  return "";
}

}  // namespace tritter
