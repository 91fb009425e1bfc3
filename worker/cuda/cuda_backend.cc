#include "worker/cuda/cuda_backend.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include "worker/cuda/cuda_kernels.h"
#include "worker/cuda/nccl_collective.h"

namespace {

int DeviceCount() { return c10::cuda::device_count(); }

cudaDeviceProp Properties(int device) {
  cudaDeviceProp properties = {};
  // A device that does not answer has no name and no memory.
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return {};
  return properties;
}
std::string DeviceName(int device) { return Properties(device).name; }
int64_t MemoryBytes(int device) { return static_cast<int64_t>(Properties(device).totalGlobalMem); }

int64_t PeakBytes(int device) {
  using c10::CachingAllocator::StatType;
  return c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(device))
      .allocated_bytes[static_cast<size_t>(StatType::AGGREGATE)]
      .peak;
}
void ResetPeak(int device) {
  c10::cuda::CUDACachingAllocator::resetPeakStats(static_cast<c10::DeviceIndex>(device));
}

const tritter::TensorKernels* Kernels() { return &tritter::CudaKernels(); }

constexpr tritter::CudaBackend kBackend = {tritter::kCudaBackendVersion,
                                           &DeviceCount,
                                           &DeviceName,
                                           &MemoryBytes,
                                           &PeakBytes,
                                           &ResetPeak,
                                           &tritter::ConnectNcclCollective,
                                           &Kernels};

}  // namespace

extern "C" const tritter::CudaBackend* TritterCudaBackend() { return &kBackend; }
