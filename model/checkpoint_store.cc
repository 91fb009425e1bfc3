#include "model/checkpoint_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"

namespace tritter {
namespace {

absl::Status CheckFile(const CheckpointReader& checkpoint, const ManifestFile& file) {
  const std::string path = checkpoint.LocationOf(file.name);
  const absl::StatusOr<std::unique_ptr<MappedFile>> opened = checkpoint.Open(file.name);
  if (absl::IsNotFound(opened.status())) {
    return absl::DataLossError(absl::StrCat(path, ": is missing, expected ", file.bytes, " bytes"));
  }
  if (!opened.ok()) return opened.status();
  const absl::Span<const uint8_t> bytes = (*opened)->bytes();
  if (bytes.size() != file.bytes) {
    return absl::DataLossError(
        absl::StrCat(path, ": has ", bytes.size(), " bytes, expected ", file.bytes));
  }
  Sha256Hasher hasher;
  hasher.Update(bytes.data(), bytes.size());
  const std::string actual = Hex(hasher.Finish());
  if (actual == file.sha256) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": SHA-256 is ", actual, ", expected ", file.sha256));
}

}  // namespace

CheckpointReader::CheckpointReader(std::string location, const std::string& manifest_json,
                                   CheckpointManifest manifest)
    : location_(std::move(location)),
      manifest_(std::move(manifest)),
      manifest_sha256_(Sha256Hex(manifest_json)),
      bytes_(manifest_json.size()) {
  for (const ManifestFile& file : manifest_.files) bytes_ += file.bytes;
}

std::string CheckpointReader::LocationOf(const std::string& name) const {
  return JoinPath(location_, name);
}

std::vector<CheckedFile> CheckCheckpointFiles(const CheckpointReader& checkpoint) {
  std::vector<CheckedFile> checked;
  for (const ManifestFile& file : checkpoint.manifest().files)
    checked.push_back({file, CheckFile(checkpoint, file)});
  return checked;
}

absl::Status VerifyCheckpoint(const CheckpointReader& checkpoint) {
  for (const ManifestFile& file : checkpoint.manifest().files) {
    if (absl::Status status = CheckFile(checkpoint, file); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace tritter
