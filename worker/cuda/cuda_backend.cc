#include "worker/cuda/cuda_backend.h"

#include <c10/cuda/CUDAFunctions.h>

#include "worker/cuda/nccl_collective.h"

namespace {

int DeviceCount() { return c10::cuda::device_count(); }

constexpr tritter::CudaBackend kBackend = {tritter::kCudaBackendVersion, &DeviceCount,
                                           &tritter::ConnectNcclCollective};

}  // namespace

extern "C" const tritter::CudaBackend* TritterCudaBackend() { return &kBackend; }
