#include "inference/cuda/device_layers.h"

#include <algorithm>
#include <cstring>

#include "absl/time/time.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<DeviceLayers>> DeviceLayers::Create(const PackedModel& model,
                                                                   const DevicePlan& plan,
                                                                   DeviceMemory* memory,
                                                                   cudaStream_t stream) {
  std::unique_ptr<DeviceLayers> layers(new DeviceLayers(plan, stream));
  RETURN_IF_ERROR(layers->UploadResident(model, memory));
  if (!layers->streamed()) return layers;
  RETURN_IF_ERROR(layers->PrepareStreaming(model, memory));
  RETURN_IF_ERROR(layers->MeasureCopies());
  for (const int64_t turn : {0, 1}) RETURN_IF_ERROR(layers->StartCopy(turn));
  return layers;
}

DeviceLayers::~DeviceLayers() {
  if (copies_ == nullptr) return;
  (void)cudaStreamSynchronize(copies_);
  if (page_locked_) (void)cudaHostUnregister(host_.data());
  for (const Buffer& buffer : buffers_) {
    for (cudaEvent_t event : {buffer.copied, buffer.computed})
      if (event != nullptr) (void)cudaEventDestroy(event);
  }
  for (const Wait& wait : waits_) {
    for (cudaEvent_t event : {wait.begin, wait.end})
      if (event != nullptr) (void)cudaEventDestroy(event);
  }
  (void)cudaStreamDestroy(copies_);
}

absl::Status DeviceLayers::UploadResident(const PackedModel& model, DeviceMemory* memory) {
  const int64_t bytes = plan_.layout.bytes;
  std::vector<uint8_t> image(static_cast<size_t>(bytes), 0);
  for (int64_t i = 0; i < plan_.resident_layers; ++i) {
    WriteLayer(model.layer(i), model.config(), plan_.layout, image.data());
    const uint8_t* there = nullptr;
    RETURN_IF_ERROR(memory->Upload(image.data(), bytes, "layers", &there));
    resident_.push_back(LayerAt(plan_.layout, there));
  }
  return absl::OkStatus();
}

absl::Status DeviceLayers::PrepareStreaming(const PackedModel& model, DeviceMemory* memory) {
  RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "making a stream"));
  const auto make = [](unsigned flags, cudaEvent_t* event) {
    return CudaStatus(cudaEventCreateWithFlags(event, flags), "making an event");
  };
  waits_.resize(static_cast<size_t>(plan_.groups()));
  for (Wait& wait : waits_) {
    RETURN_IF_ERROR(make(cudaEventDefault, &wait.begin));
    RETURN_IF_ERROR(make(cudaEventDefault, &wait.end));
  }
  ASSIGN_OR_RETURN(host_, HugeBuffer::Allocate(static_cast<size_t>(plan_.streamed_bytes())));
  for (int64_t i = plan_.resident_layers; i < plan_.layers; ++i) {
    WriteLayer(model.layer(i), model.config(), plan_.layout,
               host_.data() + (i - plan_.resident_layers) * plan_.layout.bytes);
  }
  page_locked_ =
      cudaHostRegister(host_.data(), host_.size(), cudaHostRegisterDefault) == cudaSuccess;
  if (!page_locked_) (void)cudaGetLastError();  // limits of the system, no failure of the GPU
  for (Buffer& buffer : buffers_) {
    RETURN_IF_ERROR(memory->Allocate(plan_.group_bytes(), "layers being copied", &buffer.device));
    if (!page_locked_) {
      RETURN_IF_ERROR(
          memory->AllocatePinned(plan_.group_bytes(), "layers being copied", &buffer.staging));
    }
    RETURN_IF_ERROR(make(cudaEventDisableTiming, &buffer.copied));
    RETURN_IF_ERROR(make(cudaEventDisableTiming, &buffer.computed));
  }
  return absl::OkStatus();
}

// What the way to the GPU gives with nothing else on it; the first copies warm up.
absl::Status DeviceLayers::MeasureCopies() {
  const Wait& timed = waits_[0];
  int64_t bytes = 0;
  for (int64_t turn = 0; turn < 6; ++turn) {
    if (turn == 2) RETURN_IF_ERROR(CudaStatus(cudaEventRecord(timed.begin, copies_), "timing"));
    const Buffer& buffer = BufferOf(turn);
    RETURN_IF_ERROR(CudaStatus(
        cudaMemcpyAsync(buffer.device, page_locked_ ? HostGroup(turn) : buffer.staging,
                        static_cast<size_t>(CopyBytes(turn)), cudaMemcpyHostToDevice, copies_),
        "copying layers"));
    if (turn >= 2) bytes += CopyBytes(turn);
  }
  RETURN_IF_ERROR(CudaStatus(cudaEventRecord(timed.end, copies_), "timing"));
  RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(copies_), "copying layers"));
  float milliseconds = 0;
  RETURN_IF_ERROR(
      CudaStatus(cudaEventElapsedTime(&milliseconds, timed.begin, timed.end), "timing"));
  MutexLock lock(&mu_);
  stats_.bytes_per_pass = plan_.streamed_bytes();
  if (milliseconds > 0)
    stats_.source_bytes_per_second = static_cast<double>(bytes) / (1e-3 * milliseconds);
  return absl::OkStatus();
}

int64_t DeviceLayers::CopyBytes(int64_t turn) const {
  const int64_t begin = turn % plan_.groups() * plan_.group_bytes();
  return std::min(plan_.group_bytes(), plan_.streamed_bytes() - begin);
}

absl::Status DeviceLayers::StartCopy(int64_t turn) {
  Buffer& buffer = BufferOf(turn);
  const uint8_t* from = HostGroup(turn);
  const size_t bytes = static_cast<size_t>(CopyBytes(turn));
  if (buffer.staging != nullptr) {
    // What the copy before reads.
    RETURN_IF_ERROR(CudaStatus(cudaEventSynchronize(buffer.copied), "copying layers"));
    std::memcpy(buffer.staging, from, bytes);
    from = buffer.staging;
  }
  RETURN_IF_ERROR(CudaStatus(cudaStreamWaitEvent(copies_, buffer.computed, 0), "copying layers"));
  RETURN_IF_ERROR(
      CudaStatus(cudaMemcpyAsync(buffer.device, from, bytes, cudaMemcpyHostToDevice, copies_),
                 "copying layers"));
  return CudaStatus(cudaEventRecord(buffer.copied, copies_), "copying layers");
}

absl::StatusOr<DeviceLayer> DeviceLayers::Acquire(int64_t layer) {
  if (layer < plan_.resident_layers) return resident_[static_cast<size_t>(layer)];
  const int64_t turn = TurnOf(layer);
  const int64_t index = (layer - plan_.resident_layers) % plan_.group_layers;
  const Buffer& buffer = BufferOf(turn);
  if (index == 0) {
    const Wait& wait = waits_[static_cast<size_t>(turn - first_turn_)];
    for (const cudaError_t error :
         {cudaEventRecord(wait.begin, stream_), cudaStreamWaitEvent(stream_, buffer.copied, 0),
          cudaEventRecord(wait.end, stream_)}) {
      RETURN_IF_ERROR(CudaStatus(error, "waiting for layers"));
    }
  }
  return LayerAt(plan_.layout, buffer.device + index * plan_.layout.bytes);
}

absl::Status DeviceLayers::Release(int64_t layer) {
  if (layer < plan_.resident_layers) return absl::OkStatus();
  const int64_t turn = TurnOf(layer);
  const bool last_of_group = layer + 1 == plan_.layers || TurnOf(layer + 1) != turn;
  if (!last_of_group) return absl::OkStatus();
  RETURN_IF_ERROR(
      CudaStatus(cudaEventRecord(BufferOf(turn).computed, stream_), "computing with layers"));
  // Across the end of a pass too: the next finds its first groups there.
  return StartCopy(turn + 2);
}

absl::Status DeviceLayers::EndPass() {
  if (!streamed()) return absl::OkStatus();
  first_turn_ += plan_.groups();
  float waiting = 0;
  for (const Wait& wait : waits_) {
    float milliseconds = 0;
    RETURN_IF_ERROR(
        CudaStatus(cudaEventElapsedTime(&milliseconds, wait.begin, wait.end), "timing"));
    waiting += milliseconds;
  }
  MutexLock lock(&mu_);
  stats_.waiting += absl::Milliseconds(waiting);
  stats_.bytes_read += plan_.streamed_bytes();
  return absl::OkStatus();
}

StreamStats DeviceLayers::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

absl::Status CheckProducts(const PackedModel& model, DeviceLayers* layers, cudaStream_t stream) {
  const int64_t count = model.config().layers;
  for (int64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const DeviceLayer layer, layers->Acquire(i));
    if (i == 0 || i + 1 == count)
      RETURN_IF_ERROR(CheckLayerProducts(model.layer(i), i, layer, stream));
    RETURN_IF_ERROR(layers->Release(i));
  }
  RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream), "checking layers"));
  return layers->EndPass();
}

}  // namespace tritter
