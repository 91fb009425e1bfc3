// The forward pass over one batch of rows on this CPU; rows of many sequences share every matrix
// product.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "inference/aligned_vector.h"
#include "inference/forward_backend.h"
#include "inference/forward_sizes.h"
#include "inference/kv_pages.h"
#include "inference/packed_model.h"
#include "inference/rope_cache.h"
#include "inference/thread_pool.h"
#include "kernels/attention_mask.h"
#include "kernels/float_ops.h"

namespace tritter {

// Owned by the engine; Run is called from its scheduler thread alone. Buffers grow to the largest
// batch met, to what ForwardSizes says.
class ForwardPass final : public ForwardBackend {
 public:
  // `logit_floats` bounds the memory of logits: 64 MiB, or one row when that is more.
  ForwardPass(const PackedModel* model, const TernaryKernel* kernel, ThreadPool* pool,
              KvFormat kv_format, int64_t logit_floats = kLogitFloats);

  std::string name() const override { return kernel_->name; }
  const KvPageLayout& layout() const override { return layout_; }
  absl::Status Run(absl::Span<const ForwardRow> rows,
                   absl::FunctionRef<void(int64_t first, int64_t count)> use) override;
  absl::Span<const float> Logits(int64_t i) const override {
    return absl::MakeConstSpan(logits_).subspan(static_cast<size_t>((i - logits_first_) * vocab_),
                                                static_cast<size_t>(vocab_));
  }

  absl::Span<const float> Hidden(int64_t i) const override {
    return absl::MakeConstSpan(final_).subspan(
        static_cast<size_t>((logits_wanted_ + i) * config_.hidden),
        static_cast<size_t>(config_.hidden));
  }
  StreamStats stream_stats() const override { return model_->layers().stats(); }

 private:
  struct WorkerScratch {
    AlignedVector<int32_t> acc, up_acc;
    AlignedVector<float> attention, rows;
    AlignedVector<int8_t> x8;  // one quantised row
  };

  void Prepare(absl::Span<const ForwardRow> rows);
  void Allocate(const ForwardSizes& sizes);
  void BundleRows(absl::Span<const ForwardRow> rows, int64_t queries);
  const LayerWeights* Weights(int64_t layer, int worker);
  void ReleaseWeights();
  void Quantise(const AlignedVector<float>& x, int64_t width, const float* norm, int worker);
  DequantiseTile Multiply(const TernaryMatrix& m, int64_t block, int64_t blocks,
                          AlignedVector<int32_t>* acc) const;
  void Layer(absl::Span<const ForwardRow> rows, const LayerWeights& w, int64_t layer, int worker);
  void Qkv(const LayerWeights& w, int worker);
  void AddToResidual(const TernaryMatrix& m, int worker);
  void StoreKeys(absl::Span<const ForwardRow> rows, const LayerWeights& w, int64_t layer,
                 int worker);
  void Attend(absl::Span<const ForwardRow> rows, int64_t layer, int worker);
  void GateUp(const LayerWeights& w, int worker);
  void FinalNorm(int worker);
  void Head(int64_t first, int64_t count, int worker);
  void HeadRows(int64_t first, int64_t count, ThreadPool::Range columns, int worker);

  const PackedModel* const model_;
  // Of layers that come and go; written by worker 0 between two barriers.
  absl::StatusOr<const LayerWeights*> acquired_ = nullptr;
  int64_t acquired_layer_ = -1;  // -1: none
  const ModelConfig& config_;
  const TernaryKernel* const kernel_;
  ThreadPool* const pool_;
  const KvPageLayout layout_;
  const AttentionMask mask_;
  const int64_t query_, key_, vocab_;  // widths N·D, K·D, V
  const float eps_;

  // Rows [first, first + count) of one sequence at neighbouring positions.
  struct RowRun {
    int64_t first, count;
  };
  void FindRuns(absl::Span<const ForwardRow> rows, int64_t most, bool within_page,
                std::vector<RowRun>* runs) const;
  std::vector<RowRun> bundles_;    // whose queries attend together
  std::vector<RowRun> page_runs_;  // whose keys and values lie in one page
  int64_t queries_ = 1;            // at most so many of one KV head attend together
  int64_t count_ = 0;              // rows of this batch, T
  AlignedVector<float> x_;         // residual [T, H]
  AlignedVector<float> qkv_;       // [T, query | key | key]
  AlignedVector<float> heads_;     // attention output [T, query]
  AlignedVector<float> inner_;     // activation(gate)·up [T, I]
  AlignedVector<int8_t> x8_;       // quantised input of the next product, arranged
  AlignedVector<int32_t> sums_;    // [T]
  AlignedVector<float> inv_;       // [T]
  RopeCache rope_;
  std::vector<int64_t> final_rows_;  // rows that want logits, then those that want hidden states
  int64_t logits_wanted_ = 0;
  AlignedVector<float> final_;     // [final rows, H]
  const bool split_head_;          // whether the head multiplies activations in two digits
  AlignedVector<int8_t> hi_, lo_;  // [rows that want logits, SplitStride(H)]
  const int64_t logits_part_;      // most rows of logits at a time
  int64_t logits_first_ = 0;       // first row of those in logits_
  AlignedVector<float> logits_;    // [rows of a part, V]
  std::vector<WorkerScratch> scratch_;
};

}  // namespace tritter
