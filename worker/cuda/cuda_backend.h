// The only surface between a CPU-only worker and the CUDA backend, a library of its own to be
// loaded at run time, which no server does as long as there is no GPU trainer (dlopen with RTLD_NOW
// | RTLD_GLOBAL, before LibTorch is asked for the first time whether it has CUDA: it remembers the
// answer). Built with --config=cuda as
// //worker/cuda:libtritter_worker_cuda.so.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/collective.h"

namespace tritter {

// Version of this struct; a library of another one is refused by the loader.
inline constexpr int kCudaBackendVersion = 1;

struct CudaBackend {
  int version;
  // Number of CUDA devices that can be used; 0 without a driver.
  int (*device_count)();
  // As ConnectCollective of worker/collective.h, over NCCL on this device. `address` is rank 0's
  // rendezvous. Buffers of AllReduceSum are on the device; the blocking operations take CPU buffers
  // and pass through the device.
  absl::StatusOr<std::unique_ptr<Collective>> (*connect)(const std::string& address,
                                                         const std::string& prefix, int rank,
                                                         int world_size, int device,
                                                         absl::Duration timeout);
};

}  // namespace tritter

// Exported by the library; never null.
extern "C" const tritter::CudaBackend* TritterCudaBackend();
