// An exclusive lock between processes: keeps a second coordinator off a store.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace tritter {

// flock(2) on a file that names the holder's pid. The kernel lets go when the holder ends, however
// it ends; the file itself stays. Children do not inherit the lock.
class FileLock {
 public:
  // Errors: FailedPrecondition when another holds it ("… is held by process 123 (coordinator)"),
  // else as Env for opening the file.
  static absl::StatusOr<std::unique_ptr<FileLock>> Acquire(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace tritter
