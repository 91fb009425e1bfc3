// A file that is read past the page cache (O_DIRECT): what is read once for every token would only
// push other things out of memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace tritter {

// Thread-safe; owns the descriptor. A file that is replaced by renaming stays readable as it was.
class DirectFile {
 public:
  // Of offsets, lengths and memory of direct reads: a multiple of what disks ask for.
  static constexpr uint64_t kAlignment = 4096;

  // Where the file system refuses direct reads (or `direct` is false) reads go through the page
  // cache, and one line in the log says so. Errors: NotFound, PermissionDenied, FailedPrecondition
  // (a folder, a pipe …), those of a first read.
  static absl::StatusOr<std::unique_ptr<DirectFile>> Open(const std::string& path,
                                                          bool direct = true);
  ~DirectFile();
  DirectFile(const DirectFile&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  uint64_t bytes() const { return bytes_; }  // when it was opened
  bool direct() const { return direct_; }

 private:
  DirectFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  absl::Status TryReading();

  const std::string path_;
  const int descriptor_;
  uint64_t bytes_ = 0;
  bool direct_ = false;
};

}  // namespace tritter
