// Wall clocks that jump while processes run. The monotonic clock is the kernel's and cannot be
// turned; a process that was stopped (SIGSTOP) sees it leap forward.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tritter::chaos {

// One clock for all processes that were started with its environment: the real one, moved.
class WallClock {
 public:
  // The offset is kept in the file `path`, `library` is wall_clock_preload.
  static absl::StatusOr<std::unique_ptr<WallClock>> Create(const std::string& path,
                                                           const std::string& library);
  ~WallClock();

  std::vector<std::string> environment() const;
  void Jump(absl::Duration by);  // everybody sees it at once

 private:
  WallClock(std::string path, std::string library, int64_t* offset)
      : path_(std::move(path)), library_(std::move(library)), offset_(offset) {}
  const std::string path_, library_;
  int64_t* const offset_;  // nanoseconds, in the mapped file
};

}  // namespace tritter::chaos
