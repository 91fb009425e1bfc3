#include "coordinator/checkpoint_files.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr char kManifestName[] = "manifest.json";
constexpr char kAttemptMark[] = ".tmp-";

v1::Checkpoint Describe(const CheckpointManifest& manifest, const std::string& path,
                        const std::string& json) {
  v1::Checkpoint out;
  out.set_step(manifest.step);
  out.set_path(path);
  out.set_epoch(manifest.epoch);
  out.set_manifest_sha256(Sha256Hex(json));
  int64_t bytes = static_cast<int64_t>(json.size());
  for (const ManifestFile& file : manifest.files) bytes += static_cast<int64_t>(file.bytes);
  out.set_bytes(bytes);
  return out;
}

}  // namespace

absl::StatusOr<v1::Checkpoint> CommitCheckpointFolder(Env* env, const std::string& dir,
                                                      const CheckpointManifest& manifest) {
  const std::string attempt = JoinPath(dir, AttemptFolderName(manifest.step, manifest.attempt));
  const std::string final = JoinPath(dir, CheckpointFolderName(manifest.step));
  const std::string json = ManifestToJson(manifest);
  if (!env->IsDirectory(attempt)) {
    // Renamed by an earlier try whose answer was lost?
    absl::StatusOr<std::string> there = env->ReadFile(JoinPath(final, kManifestName));
    if (!there.ok() || *there != json) {
      return absl::DataLossError(
          absl::StrCat(attempt, " is gone before its checkpoint was committed"));
    }
    RETURN_IF_ERROR(env->SyncDir(dir));
    return Describe(manifest, final, json);
  }
  RETURN_IF_ERROR(WriteFileAtomically(env, JoinPath(attempt, kManifestName), json));
  RETURN_IF_ERROR(env->SyncDir(attempt));
  if (env->Exists(final)) RETURN_IF_ERROR(env->RemoveTree(final));
  RETURN_IF_ERROR(env->Rename(attempt, final));
  RETURN_IF_ERROR(env->SyncDir(dir));
  return Describe(manifest, final, json);
}

absl::Status VerifyRecordedCheckpoint(Env* env, const v1::Checkpoint& checkpoint) {
  const std::string path = JoinPath(checkpoint.path(), kManifestName);
  ASSIGN_OR_RETURN(const std::string json, env->ReadFile(path));
  if (const std::string actual = Sha256Hex(json); actual != checkpoint.manifest_sha256()) {
    return absl::DataLossError(absl::StrCat(path, " has SHA-256 ", actual, ", recorded was ",
                                            checkpoint.manifest_sha256()));
  }
  ASSIGN_OR_RETURN(const CheckpointManifest manifest, ManifestFromJson(json, path));
  return VerifyCheckpoint(env, checkpoint.path(), manifest, /*hashes=*/true);
}

absl::StatusOr<RecoveredFolders> RecoverCheckpointFolders(Env* env, const std::string& dir,
                                                          const std::string& run_id,
                                                          const std::set<int64_t>& recorded,
                                                          const std::string& live_attempt) {
  RecoveredFolders out;
  if (!env->IsDirectory(dir)) return out;
  std::set<std::string> known;
  for (const int64_t step : recorded) known.insert(CheckpointFolderName(step));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, env->ListDir(dir));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, "step-") || known.contains(name)) continue;
    const std::string path = JoinPath(dir, name);
    const size_t mark = name.find(kAttemptMark);
    if (mark != std::string::npos) {
      if (!live_attempt.empty() && name.substr(mark + sizeof(kAttemptMark) - 1) == live_attempt)
        continue;
    } else {
      absl::StatusOr<CheckpointManifest> manifest = ReadManifest(env, path);
      absl::Status whole = manifest.status();
      if (manifest.ok()) whole = VerifyCheckpoint(env, path, *manifest, /*hashes=*/true);
      // Other errors say nothing about the folder: it may be read another time.
      if (!whole.ok() && !absl::IsDataLoss(whole) && !absl::IsNotFound(whole)) return whole;
      if (whole.ok() && manifest->run_id == run_id &&
          CheckpointFolderName(manifest->step) == name) {
        ASSIGN_OR_RETURN(const std::string json, env->ReadFile(JoinPath(path, kManifestName)));
        out.adopted.push_back(Describe(*manifest, path, json));
        continue;
      }
    }
    RETURN_IF_ERROR(env->RemoveTree(path));
    out.removed.push_back(name);
  }
  if (!out.removed.empty() || !out.adopted.empty()) RETURN_IF_ERROR(env->SyncDir(dir));
  std::sort(out.adopted.begin(), out.adopted.end(),
            [](const v1::Checkpoint& a, const v1::Checkpoint& b) { return a.step() < b.step(); });
  return out;
}

}  // namespace tritter
