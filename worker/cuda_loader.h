// Finds the CUDA backend at run time: a worker is built without CUDA, and trains on a GPU where the
// library //worker/cuda:libtritter_worker_cuda.so stands beside it (or in ../lib), with LibTorch's
// CUDA part beside its CPU part or where libraries are looked for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/cuda/cuda_backend.h"

namespace tritter {

struct CudaDevices {
  const CudaBackend* backend = nullptr;  // null: none can be used
  int count = 0;
  std::string name;          // of the first
  int64_t memory_bytes = 0;  // of the first
  std::string why_none;      // one clause that says what is missing and what to do about it
};

// Loads the libraries for the rest of the process, once. To be called before LibTorch is asked
// whether it has CUDA (it remembers the answer). Thread-safe.
const CudaDevices& FindCudaDevices();

// The same with a library from `folders`, tried in order; not remembered.
CudaDevices FindCudaDevicesIn(const std::vector<std::string>& folders);

// Whether a kernel driver for GPUs of NVIDIA is there: without one no library helps.
bool HasNvidiaDriver();

}  // namespace tritter
