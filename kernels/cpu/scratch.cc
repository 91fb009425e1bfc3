#include "kernels/cpu/scratch.h"

#include <memory>

namespace tritter {
namespace {

struct alignas(64) Buffer {
  uint8_t bytes[kKernelScratchBytes];
};

}  // namespace

uint8_t* KernelScratch() {
  thread_local const std::unique_ptr<Buffer> buffer(
      new Buffer);  // not zeroed: pages come as they are used
  return buffer->bytes;
}

}  // namespace tritter
