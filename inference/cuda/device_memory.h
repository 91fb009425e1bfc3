// Memory of one GPU that lives as long as its owner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/cuda/device.h"

namespace tritter {

// OK, or Unavailable naming what failed and CUDA's reason.
absl::Status CudaStatus(cudaError_t error, absl::string_view what);

class DeviceMemory {
 public:
  explicit DeviceMemory(cudaStream_t stream) : stream_(stream) {}
  ~DeviceMemory() { Clear(); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Not cleared. ResourceExhausted with what is taken, asked for and free.
  template <typename T>
  absl::Status Allocate(int64_t count, absl::string_view what, T** out) {
    absl::StatusOr<void*> memory =
        AllocateBytes(count * static_cast<int64_t>(sizeof(T)), what, false);
    if (!memory.ok()) return memory.status();
    *out = static_cast<T*>(*memory);
    return absl::OkStatus();
  }
  // The same in this machine's memory, from where copies run beside other work.
  template <typename T>
  absl::Status AllocatePinned(int64_t count, absl::string_view what, T** out) {
    absl::StatusOr<void*> memory =
        AllocateBytes(count * static_cast<int64_t>(sizeof(T)), what, true);
    if (!memory.ok()) return memory.status();
    *out = static_cast<T*>(*memory);
    return absl::OkStatus();
  }
  template <typename T>
  absl::Status Upload(const T* from, int64_t count, absl::string_view what, const T** out) {
    T* memory = nullptr;
    absl::Status status = Allocate(count, what, &memory);
    if (status.ok()) status = Copy(from, count * static_cast<int64_t>(sizeof(T)), memory);
    *out = memory;
    return status;
  }
  int64_t bytes() const { return bytes_; }  // on the device
  void Clear();

 private:
  absl::StatusOr<void*> AllocateBytes(int64_t bytes, absl::string_view what, bool pinned);
  absl::Status Copy(const void* from, int64_t bytes, void* to);

  const cudaStream_t stream_;
  int64_t bytes_ = 0;
  std::vector<void*> device_, pinned_;
};

}  // namespace tritter
