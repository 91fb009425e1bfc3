// Files below some folders only, wherever symbolic links lead.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"

namespace tritter {

// Where a path of this machine's file system leads: absolute, without symbolic links and "..". What
// is not there yet is taken as it is written. Errors: PermissionDenied for ".." behind what is not
// there, NotFound for a link that leads nowhere, and those of realpath(3).
absl::StatusOr<std::string> RealPath(const std::string& path);

// Is `path` one of the folders or below one? Both as RealPath gives them.
bool IsBelow(const std::string& path, const std::vector<std::string>& folders);

// An Env of the real file system, every call of which is refused with PermissionDenied when its
// path leads out of the folders. The folders themselves may be links: they are followed once, when
// this is made. A link that is put there between the look and the call is not seen: folders that
// others may write to at the same time need a user of their own. Thread-safe; `base` outlives it.
class RootedEnv : public Env {
 public:
  // `folders` need not be there yet. Errors: those of RealPath.
  static absl::StatusOr<std::unique_ptr<RootedEnv>> Create(Env* base,
                                                           const std::vector<std::string>& folders);

  absl::StatusOr<std::unique_ptr<WritableFile>> NewWritableFile(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<MappedFile>> MapFile(const std::string& path) override;
  absl::StatusOr<std::string> ReadFile(const std::string& path) override;
  bool Exists(const std::string& path) override;
  bool IsDirectory(const std::string& path) override;
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) override;
  absl::Status CreateDirs(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status SyncDir(const std::string& path) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveTree(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override;

 private:
  RootedEnv(Env* base, std::vector<std::string> folders)
      : base_(base), folders_(std::move(folders)) {}
  // What the call is about: the file that the path leads to, or the name itself (`entry`).
  absl::Status Check(const std::string& path, bool entry = false) const;

  Env* const base_;
  const std::vector<std::string> folders_;
};

}  // namespace tritter
