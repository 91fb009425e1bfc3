// The only surface between a worker that is built without CUDA and the CUDA backend, a library of
// its own (//worker/cuda:libtritter_worker_cuda.so, built with --config=cuda) that
// worker/cuda_loader.h loads at run time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/collective.h"

namespace tritter {

class TensorKernels;

// Version of this struct; a library of another one is refused by the loader.
inline constexpr int kCudaBackendVersion = 2;

struct CudaBackend {
  int version;
  // Number of CUDA devices that can be used; 0 without a driver.
  int (*device_count)();
  std::string (*device_name)(int device);
  int64_t (*memory_bytes)(int device);  // of the whole device
  // Most bytes that LibTorch's allocator has handed out since the last reset.
  int64_t (*peak_bytes)(int device);
  void (*reset_peak)(int device);
  // As ConnectCollective of worker/collective.h, over NCCL on this device. `address` is rank 0's
  // rendezvous. Buffers of AllReduceSum are on the device; the blocking operations take CPU buffers
  // and pass through the device.
  absl::StatusOr<std::unique_ptr<Collective>> (*connect)(const std::string& address,
                                                         const std::string& prefix, int rank,
                                                         int world_size, int device,
                                                         absl::Duration timeout);
  // Of every device; lives as long as the process.
  const TensorKernels* (*kernels)();
};

}  // namespace tritter

// Exported by the library; never null.
extern "C" const tritter::CudaBackend* TritterCudaBackend();
