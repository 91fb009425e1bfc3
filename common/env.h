// Files as a seam: every durable write of the product goes through an Env, so that tests can keep
// files in memory and fail or cut any single write, fsync or rename (fault-injecting form).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

// A file opened for writing. Not thread-safe. Destroying it closes it without Sync.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  // Errors: ResourceExhausted when the disk is full (message names path, offset and errno text).
  virtual absl::Status Append(absl::string_view data) = 0;
  virtual absl::Status Sync() = 0;   // data reaches the disk (fsync)
  virtual absl::Status Close() = 0;  // errors of delayed writes surface here; idempotent
};

// A read-only view of a whole file (mmap in the real form). The bytes live as long as the object.
// Whoever changes a file that may be mapped must write another one and rename it over: after
// truncation in place the system ends the process at the next touch of what is gone (SIGBUS).
class MappedFile {
 public:
  virtual ~MappedFile() = default;
  virtual absl::Span<const uint8_t> bytes() const = 0;
};

// Errors everywhere: NotFound, AlreadyExists, PermissionDenied, FailedPrecondition (a folder where
// a file is wanted or the other way round, a folder that is not empty, a file that is closed),
// ResourceExhausted (disk or quota full, file too large, too many open files, no memory), and
// Internal for the rest; every message names the path and what the system said. Thread-safe.
class Env {
 public:
  virtual ~Env() = default;
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> NewWritableFile(
      const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<MappedFile>> MapFile(const std::string& path) = 0;
  virtual absl::StatusOr<std::string> ReadFile(const std::string& path) = 0;
  virtual bool Exists(const std::string& path) = 0;
  virtual bool IsDirectory(const std::string& path) = 0;
  virtual absl::StatusOr<uint64_t> FileSize(const std::string& path) = 0;
  virtual absl::StatusOr<std::vector<std::string>> ListDir(
      const std::string& path) = 0;                              // names, sorted
  virtual absl::Status CreateDirs(const std::string& path) = 0;  // like mkdir -p
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status SyncDir(const std::string& path) = 0;  // makes creations and renames durable
  virtual absl::Status RemoveFile(const std::string& path) = 0;
  virtual absl::Status RemoveTree(const std::string& path) = 0;  // OK when it is not there
  virtual absl::StatusOr<uint64_t> FreeBytes(const std::string& path) = 0;

  static Env* Real();
};

// Writes `data` so that after a crash either the old or the new file is there, whole:
// temporary file beside it, fsync, rename, fsync of the folder.
absl::Status WriteFileAtomically(Env* env, const std::string& path, absl::string_view data);

// a/b; an absolute b wins.
std::string JoinPath(absl::string_view a, absl::string_view b);
std::string Dirname(absl::string_view path);
std::string Basename(absl::string_view path);

}  // namespace tritter
