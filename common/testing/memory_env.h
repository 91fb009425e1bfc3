// An Env in memory that knows what a crash would leave: bytes that were not fsynced and directory
// entries whose folder was not fsynced are at risk.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/env.h"
#include "common/mutex.h"

namespace tritter {

// What the disk holds after the power is gone. A real file system may do any of these.
enum class CrashMode {
  kLoseUnsynced,   // nothing that was not synced
  kKeepUnsynced,   // everything, by luck
  kKeepNamesOnly,  // creations, renames and removals got there, unsynced bytes did not
};

// Thread-safe. Relative paths are relative to "/", which always exists.
class MemoryEnv : public Env {
 public:
  MemoryEnv();
  ~MemoryEnv() override;

  absl::StatusOr<std::unique_ptr<WritableFile>> NewWritableFile(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<MappedFile>> MapFile(const std::string& path) override;
  absl::StatusOr<std::string> ReadFile(const std::string& path) override;
  bool Exists(const std::string& path) override;
  bool IsDirectory(const std::string& path) override;
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) override;
  absl::Status CreateDirs(
      const std::string& path) override;  // durable at once, as in the real form
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status SyncDir(const std::string& path) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveTree(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override;

  // The machine stops and starts again. Files that were open give Internal from now on.
  void Crash(CrashMode mode);
  // The disk is full at this many bytes of file contents.
  void SetCapacity(uint64_t bytes);

 private:
  struct Node;
  class File;
  struct Place;

  std::shared_ptr<Node> FindLocked(const std::string& path) const REQUIRES(mu_);
  absl::StatusOr<Place> ParentLocked(absl::string_view action, const std::string& path) const
      REQUIRES(mu_);
  absl::StatusOr<std::shared_ptr<Node>> FileLocked(absl::string_view action,
                                                   const std::string& path) const REQUIRES(mu_);

  mutable Mutex mu_;
  std::shared_ptr<Node> root_ GUARDED_BY(mu_);
  uint64_t capacity_ GUARDED_BY(mu_);
  int64_t crashes_ GUARDED_BY(mu_) = 0;  // a file of an earlier life is dead
};

}  // namespace tritter
