#include "worker/start_state.h"

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<StartCheckpoint> VerifyStartCheckpoint(Env* env, const std::string& run_dir,
                                                      const std::string& run_id, int64_t step,
                                                      const std::string& manifest_sha256) {
  StartCheckpoint start;
  start.folder = JoinPath(JoinPath(run_dir, "checkpoints"), CheckpointFolderName(step));
  const std::string path = JoinPath(start.folder, "manifest.json");
  ASSIGN_OR_RETURN(const std::string json, env->ReadFile(path));
  if (const std::string actual = Sha256Hex(json); actual != manifest_sha256) {
    return absl::DataLossError(absl::StrCat(path, ": SHA-256 is ", actual,
                                            ", the coordinator committed ", manifest_sha256));
  }
  ASSIGN_OR_RETURN(start.manifest, ManifestFromJson(json, path));
  if (start.manifest.run_id != run_id || start.manifest.step != step) {
    return absl::DataLossError(absl::StrCat(path, ": is of run ", start.manifest.run_id, " step ",
                                            start.manifest.step, ", expected run ", run_id,
                                            " step ", step));
  }
  RETURN_IF_ERROR(VerifyCheckpoint(env, start.folder, start.manifest, /*hashes=*/true));
  return start;
}

}  // namespace tritter
