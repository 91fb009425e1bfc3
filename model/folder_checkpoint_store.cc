#include "model/folder_checkpoint_store.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr char kManifestName[] = "manifest.json";
constexpr char kStepPrefix[] = "step-";
constexpr char kAttemptMark[] = ".tmp-";
// A folder on its way out. No attempt has this name: they are letters and digits.
constexpr char kRemovedMark[] = ".tmp-_removed";

class FolderReader : public CheckpointReader {
 public:
  FolderReader(Env* env, const std::string& folder, const std::string& json,
               CheckpointManifest manifest)
      : CheckpointReader(folder, json, std::move(manifest)), env_(env) {}
  absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& name) const override {
    return env_->MapFile(LocationOf(name));
  }

 private:
  Env* const env_;
};

// Durable, and so is its name, once it is closed; removed when it is given up before.
class AttemptFile : public WritableFile {
 public:
  AttemptFile(Env* env, std::string path, std::unique_ptr<WritableFile> file)
      : env_(env), path_(std::move(path)), file_(std::move(file)) {}
  ~AttemptFile() override {
    if (closed_) return;
    file_.reset();
    env_->RemoveFile(path_).IgnoreError();  // half a file helps nobody and takes room
  }
  absl::Status Append(absl::string_view data) override { return file_->Append(data); }
  absl::Status Sync() override { return file_->Sync(); }
  absl::Status Close() override {
    if (closed_) return absl::OkStatus();
    RETURN_IF_ERROR(file_->Close());
    RETURN_IF_ERROR(env_->SyncDir(Dirname(path_)));
    closed_ = true;
    return absl::OkStatus();
  }

 private:
  Env* const env_;
  const std::string path_;
  std::unique_ptr<WritableFile> file_;
  bool closed_ = false;
};

class FolderCheckpointStore : public CheckpointStore {
 public:
  FolderCheckpointStore(Env* env, std::string folder) : env_(env), folder_(std::move(folder)) {}

  std::string location() const override { return folder_; }

  absl::Status Create() override { return env_->CreateDirs(folder_); }
  absl::Status Begin(const CheckpointAttempt& attempt) override {
    // Only within what Create has made: a worker that was stopped and wakes up late must not bring
    // back the folder of a run that was deleted meanwhile.
    if (!env_->IsDirectory(folder_)) {
      return absl::NotFoundError(absl::StrCat(
          folder_, " is not there, expected the folder that was made with the run; was the run ",
          "deleted, or is the shared folder not mounted?"));
    }
    return env_->CreateDirs(PathOf(attempt));
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Put(const CheckpointAttempt& attempt,
                                                    const std::string& name) override {
    const std::string path = JoinPath(PathOf(attempt), name);
    ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, env_->NewWritableFile(path));
    return std::make_unique<AttemptFile>(env_, path, std::move(file));
  }
  absl::StatusOr<uint64_t> FileBytes(const CheckpointAttempt& attempt,
                                     const std::string& name) override {
    return env_->FileSize(JoinPath(PathOf(attempt), name));
  }

  absl::StatusOr<std::unique_ptr<CheckpointReader>> Commit(
      const CheckpointManifest& manifest) override {
    const std::string from = PathOf({manifest.step, manifest.attempt});
    const std::string to = PathOf(manifest.step);
    const std::string json = ManifestToJson(manifest);
    if (env_->IsDirectory(from)) {
      RETURN_IF_ERROR(WriteFileAtomically(env_, JoinPath(from, kManifestName), json));
      RETURN_IF_ERROR(Remove(manifest.step));
      RETURN_IF_ERROR(env_->Rename(from, to));
    } else {
      // Renamed by an earlier try whose answer was lost?
      const absl::StatusOr<std::string> there = env_->ReadFile(JoinPath(to, kManifestName));
      if (!there.ok() || *there != json) {
        return absl::DataLossError(
            absl::StrCat(from, " is gone before its checkpoint was committed"));
      }
    }
    RETURN_IF_ERROR(env_->SyncDir(folder_));
    return std::make_unique<FolderReader>(env_, to, json, manifest);
  }

  absl::Status Confirm(int64_t) override { return env_->SyncDir(folder_); }

  absl::StatusOr<std::vector<int64_t>> Steps() override {
    std::vector<int64_t> steps;
    if (!env_->IsDirectory(folder_)) return steps;
    ASSIGN_OR_RETURN(const std::vector<std::string> names, env_->ListDir(folder_));
    for (const std::string& name : names) {
      int64_t step = 0;
      absl::string_view digits = name;
      if (absl::ConsumePrefix(&digits, kStepPrefix) && absl::SimpleAtoi(digits, &step) &&
          CheckpointFolderName(step) == name)
        steps.push_back(step);
    }
    std::sort(steps.begin(), steps.end());
    return steps;
  }

  // Renamed before the first file goes: step-N is whole or it is not there.
  absl::Status Remove(int64_t step) override {
    const std::string path = PathOf(step);
    if (!env_->Exists(path)) return absl::OkStatus();
    const std::string removed = absl::StrCat(path, kRemovedMark);
    RETURN_IF_ERROR(env_->RemoveTree(removed));  // of a removal that was interrupted
    RETURN_IF_ERROR(env_->Rename(path, removed));
    RETURN_IF_ERROR(env_->SyncDir(folder_));
    return env_->RemoveTree(removed);
  }

  absl::StatusOr<std::vector<std::string>> CleanUp(const std::string& live_attempt) override {
    std::vector<std::string> removed;
    if (!env_->IsDirectory(folder_)) return removed;
    ASSIGN_OR_RETURN(const std::vector<std::string> names, env_->ListDir(folder_));
    for (const std::string& name : names) {
      const size_t mark = name.find(kAttemptMark);
      if (!absl::StartsWith(name, kStepPrefix) || mark == std::string::npos) continue;
      const std::string attempt = name.substr(mark + sizeof(kAttemptMark) - 1);
      if (!live_attempt.empty() && attempt == live_attempt) continue;
      RETURN_IF_ERROR(env_->RemoveTree(JoinPath(folder_, name)));
      removed.push_back(name);
    }
    if (!removed.empty()) RETURN_IF_ERROR(env_->SyncDir(folder_));
    return removed;
  }

  absl::StatusOr<std::unique_ptr<CheckpointReader>> Open(int64_t step) override {
    // A folder that is not mounted is no proof that a checkpoint is gone.
    if (!env_->IsDirectory(folder_))
      return absl::UnavailableError(absl::StrCat(folder_, " is not there"));
    return OpenCheckpointFolder(env_, PathOf(step));
  }

 private:
  std::string PathOf(int64_t step) const { return JoinPath(folder_, CheckpointFolderName(step)); }
  std::string PathOf(const CheckpointAttempt& attempt) const {
    return JoinPath(folder_, AttemptFolderName(attempt));
  }

  Env* const env_;
  const std::string folder_;
};

}  // namespace

std::string CheckpointFolderName(int64_t step) {
  return absl::StrFormat("%s%08d", kStepPrefix, step);
}

std::string AttemptFolderName(const CheckpointAttempt& attempt) {
  return absl::StrCat(CheckpointFolderName(attempt.step), kAttemptMark, attempt.name);
}

std::unique_ptr<CheckpointStore> CheckpointsOfRun(Env* env, const std::string& run_dir) {
  return std::make_unique<FolderCheckpointStore>(env, JoinPath(run_dir, "checkpoints"));
}

absl::StatusOr<std::unique_ptr<CheckpointReader>> OpenCheckpointFolder(Env* env,
                                                                       const std::string& folder) {
  const std::string path = JoinPath(folder, kManifestName);
  ASSIGN_OR_RETURN(const std::string json, env->ReadFile(path));
  ASSIGN_OR_RETURN(CheckpointManifest manifest, ManifestFromJson(json, path));
  return std::make_unique<FolderReader>(env, folder, json, std::move(manifest));
}

}  // namespace tritter
