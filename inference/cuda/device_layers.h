// The layers of a model for one GPU: the first ones in its memory, the others copied there from
// this machine's for every pass, group by group, through two buffers: while one group is computed
// with, the next is copied on a stream of its own.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/huge_buffer.h"
#include "common/mutex.h"
#include "inference/cuda/device_memory.h"
#include "inference/cuda/device_model.h"
#include "inference/cuda/device_plan.h"
#include "inference/layer_source.h"
#include "inference/packed_model.h"

namespace tritter {

// Owned by the forward pass; all but stats() on its thread. What is copied lies here in the layout
// of the GPU, which is not that of a file; page-locked, so that the GPU reads it by itself, or
// where the system does not permit that, copied on through two page-locked buffers.
class DeviceLayers {
 public:
  // Takes plan.memory_bytes() − plan.outer_bytes from `memory`. The layers are for work on
  // `stream`. Errors: those of DeviceMemory; ResourceExhausted (this machine's memory).
  static absl::StatusOr<std::unique_ptr<DeviceLayers>> Create(const PackedModel& model,
                                                              const DevicePlan& plan,
                                                              DeviceMemory* memory,
                                                              cudaStream_t stream);
  // When nothing is under way on `stream`; before `memory` goes.
  ~DeviceLayers();
  DeviceLayers(const DeviceLayers&) = delete;
  DeviceLayers& operator=(const DeviceLayers&) = delete;

  // The layer, for work that is started until it is released. A pass acquires and releases all
  // layers in their order; the next may be acquired before. Errors: Unavailable (the GPU failed).
  absl::StatusOr<DeviceLayer> Acquire(int64_t layer);
  absl::Status Release(int64_t layer);
  // When all work of a pass has ended. Errors: Unavailable.
  absl::Status EndPass();

  bool streamed() const { return plan_.group_layers > 0; }
  bool page_locked() const { return page_locked_; }  // what is copied
  StreamStats stats() const;                         // thread-safe

 private:
  struct Buffer {
    uint8_t* device = nullptr;
    uint8_t* staging = nullptr;  // null where the layers are page-locked
    cudaEvent_t copied = nullptr, computed = nullptr;
  };
  struct Wait {
    cudaEvent_t begin = nullptr, end = nullptr;
  };

  DeviceLayers(const DevicePlan& plan, cudaStream_t stream) : plan_(plan), stream_(stream) {}
  absl::Status UploadResident(const PackedModel& model, DeviceMemory* memory);
  absl::Status PrepareStreaming(const PackedModel& model, DeviceMemory* memory);
  absl::Status MeasureCopies();
  absl::Status StartCopy(int64_t turn);

  // Of group `turn % groups`, in buffer `turn % 2`: groups are counted over all passes.
  Buffer& BufferOf(int64_t turn) { return buffers_[static_cast<size_t>(turn % 2)]; }
  int64_t TurnOf(int64_t layer) const {
    return first_turn_ + (layer - plan_.resident_layers) / plan_.group_layers;
  }
  const uint8_t* HostGroup(int64_t turn) const {
    return host_.data() + turn % plan_.groups() * plan_.group_bytes();
  }
  int64_t CopyBytes(int64_t turn) const;

  const DevicePlan plan_;
  const cudaStream_t stream_;
  cudaStream_t copies_ = nullptr;
  std::vector<DeviceLayer> resident_;

  HugeBuffer host_;  // the streamed layers
  bool page_locked_ = false;
  std::array<Buffer, 2> buffers_;
  std::vector<Wait> waits_;  // by group: around the wait for it, on the stream
  int64_t first_turn_ = 0;   // of this pass

  mutable Mutex mu_;
  StreamStats stats_ GUARDED_BY(mu_);
};

// CheckLayerProducts of the first and the last layer, in a pass over all.
absl::Status CheckProducts(const PackedModel& model, DeviceLayers* layers, cudaStream_t stream);

}  // namespace tritter
