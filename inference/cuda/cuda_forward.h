// The forward pass on one GPU. Weights and KV pages lie in the GPU's memory; logits come back
// through pinned memory. A step of which every row wants logits, as decoding is, runs as one CUDA
// graph that is captured once for each StepShape; not where layers are copied to the GPU for every
// pass (device_layers.h), which takes far longer than starting kernels does.
//
// The bits are those of the CPU (docs/numerics.md) but for rows that see more than
// cuda::kSplitPositions positions: their attention is summed in parts. A row's result depends on
// its own sequence only, here too.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "inference/cuda/device_layers.h"
#include "inference/cuda/device_memory.h"
#include "inference/cuda/device_model.h"
#include "inference/cuda/step_inputs.h"
#include "inference/forward_backend.h"
#include "kernels/cuda/attention_kernels.h"

namespace tritter {

struct CudaForwardOptions {
  int device = 0;
  KvFormat kv_format = KvFormat::kF32;
  int64_t kv_pages = 1;
  StreamOptions streaming;                     // of the weights in the GPU's memory
  int64_t logit_floats = int64_t{16} << 20;    // bounds the memory of logits, as of ForwardPass
  int64_t partial_floats = int64_t{16} << 20;  // the same of attention in parts
};

class CudaForward final : public ForwardBackend {
 public:
  // Errors: Unimplemented (heads wider than the kernels take, attention other than causal),
  // ResourceExhausted (the GPU's memory, what `streaming` allows of it), Internal (a kernel
  // disagrees with the reference), Unavailable (the GPU failed).
  static absl::StatusOr<std::unique_ptr<CudaForward>> Create(const PackedModel& model,
                                                             const CudaForwardOptions& options);
  ~CudaForward() override;

  std::string name() const override { return "cuda"; }
  const KvPageLayout& layout() const override { return layout_; }
  KvMemory kv_memory() override;
  absl::Status Run(absl::Span<const ForwardRow> rows,
                   absl::FunctionRef<void(int64_t first, int64_t count)> use) override;
  absl::Span<const float> Logits(int64_t i) const override;
  absl::Span<const float> Hidden(int64_t i) const override;

  StreamStats stream_stats() const override { return layers_->stats(); }

  int64_t weight_bytes() const { return weights_.bytes(); }  // in the GPU's memory
  bool page_locked() const { return layers_->page_locked(); }
  int64_t graphs() const { return static_cast<int64_t>(graphs_.size()); }  // captured by now

 private:
  struct Step;  // addresses and shapes of one step
  CudaForward(const PackedModel& model, const CudaForwardOptions& options, cudaStream_t stream);
  absl::Status Prepare();
  absl::Status Compute(absl::Span<const ForwardRow> rows,
                       absl::FunctionRef<void(int64_t first, int64_t count)> use);
  absl::Status EnsureRows(int64_t rows, int64_t page_ids);
  absl::Status SendInputs(const StepInputs& inputs);
  absl::Status RunGraph(const StepShape& shape, const Step& step);
  void DropGraphs();
  absl::Status StartLayers(const Step& step);
  void StartAttention(const cuda::LayerHeads& heads, const Step& step);
  absl::Status Fetch(const float* from, int64_t floats, float* to, const char* what);

  const ModelConfig& config_;
  const PackedModel& model_;
  const CudaForwardOptions options_;
  const cudaStream_t stream_;
  const KvPageLayout layout_;
  const cuda::HeadShape shape_;
  const cuda::BundleShape bundle_;
  const bool pre_norm_, split_head_;
  const int64_t logits_part_;  // most rows of logits at a time

  DeviceMemory weights_, pool_memory_, rows_memory_, page_ids_memory_;
  DeviceOuter outer_;
  std::unique_ptr<DeviceLayers> layers_;
  uint8_t* pool_ = nullptr;  // KV pages
  int64_t pages_given_ = 0;

  // For row_capacity_ rows, and page_capacity_ entries of page tables.
  int64_t row_capacity_ = 0, page_capacity_ = 0;
  float *x_ = nullptr, *qkv_ = nullptr, *heads_ = nullptr, *inner_ = nullptr, *final_ = nullptr,
        *logits_ = nullptr, *partial_ = nullptr;
  int8_t *x8_ = nullptr, *hi_ = nullptr, *lo_ = nullptr;
  int32_t* sums_ = nullptr;
  float *inv_ = nullptr, *digits_inv_ = nullptr;
  int2* digit_sums_ = nullptr;
  // [tokens | positions | first_page | final_rows | bundles], here and on the device.
  int32_t *inputs_ = nullptr, *host_inputs_ = nullptr;
  int32_t *page_ids_ = nullptr, *host_page_ids_ = nullptr;
  float *host_logits_ = nullptr, *host_final_ = nullptr;

  std::map<StepShape, cudaGraphExec_t> graphs_;
  int64_t logits_first_ = 0, logits_wanted_ = 0;
  absl::Status failed_;  // of the device, for good
};

}  // namespace tritter
