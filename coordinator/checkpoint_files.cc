#include "coordinator/checkpoint_files.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

v1::Checkpoint DescribeCheckpoint(const CheckpointReader& checkpoint) {
  v1::Checkpoint out;
  out.set_step(checkpoint.manifest().step);
  out.set_path(checkpoint.location());
  out.set_epoch(checkpoint.manifest().epoch);
  out.set_manifest_sha256(checkpoint.manifest_sha256());
  out.set_bytes(static_cast<int64_t>(checkpoint.bytes()));
  return out;
}

absl::StatusOr<v1::Checkpoint> CopyCheckpoint(const CheckpointReader& from, CheckpointStore* to,
                                              const CheckpointManifest& manifest) {
  const CheckpointAttempt attempt{manifest.step, manifest.attempt};
  RETURN_IF_ERROR(to->Begin(attempt));
  for (const ManifestFile& file : manifest.files) {
    ASSIGN_OR_RETURN(const auto source, from.Open(file.name));
    ASSIGN_OR_RETURN(const auto copy, to->Put(attempt, file.name));
    const auto bytes = source->bytes();
    RETURN_IF_ERROR(
        copy->Append(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
    RETURN_IF_ERROR(copy->Sync());
    RETURN_IF_ERROR(copy->Close());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> there, to->Commit(manifest));
  return DescribeCheckpoint(*there);
}

absl::Status VerifyRecordedCheckpoint(CheckpointStore* store, const v1::Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> there, store->Open(checkpoint.step()));
  if (there->manifest_sha256() != checkpoint.manifest_sha256()) {
    return absl::DataLossError(absl::StrCat(there->LocationOf("manifest.json"), " has SHA-256 ",
                                            there->manifest_sha256(), ", recorded was ",
                                            checkpoint.manifest_sha256()));
  }
  return VerifyCheckpoint(*there);
}

absl::StatusOr<RecoveredCheckpoints> RecoverCheckpoints(CheckpointStore* store,
                                                        const std::string& run_id,
                                                        const std::set<int64_t>& recorded,
                                                        const std::string& live_attempt) {
  RecoveredCheckpoints out;
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, store->Steps());
  for (const int64_t step : steps) {
    if (recorded.contains(step)) continue;
    const absl::StatusOr<std::unique_ptr<CheckpointReader>> there = store->Open(step);
    const absl::Status whole = there.ok() ? VerifyCheckpoint(**there) : there.status();
    // Other errors say nothing about the checkpoint: it may be read another time.
    if (!whole.ok() && !absl::IsDataLoss(whole) && !absl::IsNotFound(whole)) return whole;
    if (whole.ok() && (*there)->manifest().run_id == run_id && (*there)->manifest().step == step) {
      RETURN_IF_ERROR(store->Confirm(step));
      out.adopted.push_back(DescribeCheckpoint(**there));
      continue;
    }
    RETURN_IF_ERROR(store->Remove(step));
    out.removed.push_back(absl::StrCat("step ", step));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> dead, store->CleanUp(live_attempt));
  out.removed.insert(out.removed.end(), dead.begin(), dead.end());
  return out;
}

}  // namespace tritter
