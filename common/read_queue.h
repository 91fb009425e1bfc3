// Reads of one file, many at a time: io_uring where it is permitted, else threads that call pread.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace tritter {

// Used by one thread. The memory that is read into must outlive the read or the queue, whichever
// ends first.
class ReadQueue {
 public:
  struct Read {
    uint64_t offset = 0;
    uint64_t bytes = 0;  // at most 1 GiB
    uint8_t* into = nullptr;
    uint64_t tag = 0;
  };
  struct Result {
    uint64_t tag = 0;
    int64_t bytes = 0;  // that were read, possibly fewer than asked for; or -errno
  };

  virtual ~ReadQueue() = default;  // waits for reads under way
  virtual const char* name() const = 0;
  virtual int depth() const = 0;  // reads under way at a time, at most
  // Begins at once.
  virtual void Submit(const Read& read) = 0;
  // Blocks until one of those under way has ended. Not to be called when there is none.
  virtual Result Wait() = 0;
};

// Errors: what the system says where io_uring is not to be had (old kernels, containers).
absl::StatusOr<std::unique_ptr<ReadQueue>> NewUringReadQueue(int descriptor, int depth);
std::unique_ptr<ReadQueue> NewThreadReadQueue(int descriptor, int depth);
// The first if possible, else the second.
std::unique_ptr<ReadQueue> NewReadQueue(int descriptor, int depth);

}  // namespace tritter
