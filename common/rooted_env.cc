#include "common/rooted_env.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errno_status.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<std::string> RealPath(const std::string& path) {
  std::string there = path.empty() ? "." : path, rest;
  for (;;) {
    if (char* const real = realpath(there.c_str(), nullptr)) {
      std::string out = JoinPath(real, rest);
      free(real);
      return out;
    }
    const int error = errno;
    if (error != ENOENT) return ErrnoStatus("find", path, error);
    struct stat st;
    if (lstat(there.c_str(), &st) == 0)
      return absl::NotFoundError(absl::StrCat(there, " is a symbolic link that leads nowhere"));
    const std::string name = Basename(there), parent = Dirname(there);
    if (name == "..") {
      return absl::PermissionDeniedError(
          absl::StrCat(path, ": \"..\" behind a folder that is not there"));
    }
    if (parent == there) return ErrnoStatus("find", path, error);
    if (name != ".") rest = rest.empty() ? name : JoinPath(name, rest);
    there = parent;
  }
}

bool IsBelow(const std::string& path, const std::vector<std::string>& folders) {
  return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
    return path == folder || folder == "/" || absl::StartsWith(path, absl::StrCat(folder, "/"));
  });
}

absl::StatusOr<std::unique_ptr<RootedEnv>> RootedEnv::Create(
    Env* base, const std::vector<std::string>& folders) {
  std::vector<std::string> real;
  for (const std::string& folder : folders) {
    ASSIGN_OR_RETURN(real.emplace_back(), RealPath(folder));
  }
  return absl::WrapUnique(new RootedEnv(base, std::move(real)));
}

absl::Status RootedEnv::Check(const std::string& path, bool entry) const {
  std::string real;
  if (entry) {
    const std::string name = Basename(path);
    ASSIGN_OR_RETURN(real, RealPath(name == ".." ? path : Dirname(path)));
    if (name != "..") real = JoinPath(real, name);
  } else {
    ASSIGN_OR_RETURN(real, RealPath(path));
  }
  if (IsBelow(real, folders_)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      path, " leads to ", real, ", outside the folders that may be used (",
      absl::StrJoin(folders_, ", "), "); put it there itself rather than a symbolic link"));
}

absl::StatusOr<std::unique_ptr<WritableFile>> RootedEnv::NewWritableFile(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->NewWritableFile(path);
}
absl::StatusOr<std::unique_ptr<MappedFile>> RootedEnv::MapFile(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->MapFile(path);
}
absl::StatusOr<std::string> RootedEnv::ReadFile(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->ReadFile(path);
}
bool RootedEnv::Exists(const std::string& path) {
  return Check(path, /*entry=*/true).ok() && base_->Exists(path);
}
bool RootedEnv::IsDirectory(const std::string& path) {
  return Check(path).ok() && base_->IsDirectory(path);
}
absl::StatusOr<uint64_t> RootedEnv::FileSize(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->FileSize(path);
}
absl::StatusOr<std::vector<std::string>> RootedEnv::ListDir(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->ListDir(path);
}
absl::Status RootedEnv::CreateDirs(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->CreateDirs(path);
}
absl::Status RootedEnv::Rename(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(Check(from, /*entry=*/true));
  RETURN_IF_ERROR(Check(to, /*entry=*/true));
  return base_->Rename(from, to);
}
absl::Status RootedEnv::SyncDir(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->SyncDir(path);
}
absl::Status RootedEnv::RemoveFile(const std::string& path) {
  RETURN_IF_ERROR(Check(path, /*entry=*/true));
  return base_->RemoveFile(path);
}
absl::Status RootedEnv::RemoveTree(const std::string& path) {
  RETURN_IF_ERROR(Check(path, /*entry=*/true));
  return base_->RemoveTree(path);
}
absl::StatusOr<uint64_t> RootedEnv::FreeBytes(const std::string& path) {
  RETURN_IF_ERROR(Check(path));
  return base_->FreeBytes(path);
}

}  // namespace tritter
