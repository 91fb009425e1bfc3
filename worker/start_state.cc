#include "worker/start_state.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<CheckpointReader>> OpenStartCheckpoint(
    CheckpointStore* store, const std::string& run_id, int64_t step,
    const std::string& manifest_sha256) {
  ASSIGN_OR_RETURN(std::unique_ptr<CheckpointReader> start, store->Open(step));
  const std::string path = start->LocationOf("manifest.json");
  if (start->manifest_sha256() != manifest_sha256) {
    return absl::DataLossError(absl::StrCat(path, ": SHA-256 is ", start->manifest_sha256(),
                                            ", the coordinator committed ", manifest_sha256));
  }
  const CheckpointManifest& manifest = start->manifest();
  if (manifest.run_id != run_id || manifest.step != step) {
    return absl::DataLossError(absl::StrCat(path, ": is of run ", manifest.run_id, " step ",
                                            manifest.step, ", expected run ", run_id, " step ",
                                            step));
  }
  RETURN_IF_ERROR(VerifyCheckpoint(*start));
  return start;
}

}  // namespace tritter
