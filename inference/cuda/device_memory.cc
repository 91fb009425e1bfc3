#include "inference/cuda/device_memory.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

absl::Status CudaStatus(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the GPU failed in ", what, ": ", cudaGetErrorString(error)));
}

absl::StatusOr<void*> DeviceMemory::AllocateBytes(int64_t bytes, absl::string_view what,
                                                  bool pinned) {
  void* memory = nullptr;
  const size_t size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  const cudaError_t error = pinned ? cudaMallocHost(&memory, size) : cudaMalloc(&memory, size);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // it is told here, and is no failure of the device
    size_t free_bytes = 0, total_bytes = 0;
    RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for memory"));
    return absl::ResourceExhaustedError(
        absl::StrCat(what, " needs ", bytes, " bytes of ", pinned ? "pinned host" : "GPU",
                     " memory; this model has taken ", bytes_, " bytes of the GPU already, ",
                     free_bytes, " of ", total_bytes,
                     " are free; serve with a smaller --max-kv-memory or --kv-type int4, with "
                     "fewer weights there "
                     "(--max-weight-memory), or on another --device"));
  }
  RETURN_IF_ERROR(CudaStatus(error, absl::StrCat("allocating memory for ", what)));
  (pinned ? pinned_ : device_).push_back(memory);
  if (!pinned) bytes_ += bytes;
  return memory;
}

absl::Status DeviceMemory::Copy(const void* from, int64_t bytes, void* to) {
  RETURN_IF_ERROR(CudaStatus(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream_),
      "copying weights"));
  return CudaStatus(cudaStreamSynchronize(stream_), "copying weights");
}

void DeviceMemory::Clear() {
  for (void* p : device_) (void)cudaFree(p);
  for (void* p : pinned_) (void)cudaFreeHost(p);
  device_.clear();
  pinned_.clear();
  bytes_ = 0;
}

}  // namespace tritter
