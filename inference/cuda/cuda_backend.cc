#include "inference/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include "inference/cuda/cuda_forward.h"

namespace {

int DeviceCount() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string DeviceName(int device) {
  cudaDeviceProp properties = {};
  // A device that does not answer has no name.
  return cudaGetDeviceProperties(&properties, device) == cudaSuccess ? properties.name : "";
}

absl::StatusOr<std::unique_ptr<tritter::ForwardBackend>> Create(
    int device, const tritter::PackedModel& model, tritter::KvFormat kv_format, int64_t kv_pages,
    const tritter::StreamOptions& streaming) {
  tritter::CudaForwardOptions options;
  options.device = device;
  options.kv_format = kv_format;
  options.kv_pages = kv_pages;
  options.streaming = streaming;
  return tritter::CudaForward::Create(model, options);
}

constexpr tritter::CudaInferenceBackend kBackend = {tritter::kCudaInferenceVersion, &DeviceCount,
                                                    &DeviceName, &Create};

}  // namespace

extern "C" const tritter::CudaInferenceBackend* TritterCudaInference() { return &kBackend; }
