// The forward pass over one batch of rows (docs/numerics.md). A row is one position of one
// sequence; rows of many sequences, decoding or in prefill, share every matrix product. What a row
// computes depends on its own sequence only.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "inference/kv_pages.h"
#include "inference/packed_model.h"
#include "inference/rope_cache.h"
#include "inference/thread_pool.h"
#include "kernels/float_ops.h"

namespace tritter {

// Keys and values of positions before `position` are in the pages already, or come from earlier
// rows of the same batch.
struct ForwardRow {
  int32_t token = 0;
  int64_t position = 0;
  const std::vector<uint8_t*>* pages =
      nullptr;  // page table of the row's sequence, covers `position`
  bool wants_logits = false;
  bool wants_hidden = false;
};

// Owned by the engine; Run is called from its scheduler thread alone. Buffers grow to the largest
// batch met.
class ForwardPass {
 public:
  // `logit_floats` bounds the memory of logits: 64 MiB, or one row when that is more.
  ForwardPass(const PackedModel* model, const TernaryKernel* kernel, ThreadPool* pool,
              KvFormat kv_format, int64_t logit_floats = int64_t{16} << 20);

  const KvPageLayout& layout() const { return layout_; }

  // Stores keys and values of every row and computes the logits of those that want them, part by
  // part: use(first, count) is called for rows [first, first + count) of those, in order, and
  // Logits gives them until it returns. Errors: those of LayerSource::Acquire; keys and values of
  // the rows are then worth nothing.
  absl::Status Run(absl::Span<const ForwardRow> rows,
                   absl::FunctionRef<void(int64_t first, int64_t count)> use);
  // [vocabulary] of the i-th row that wants logits.
  absl::Span<const float> Logits(int64_t i) const {
    return absl::MakeConstSpan(logits_).subspan(static_cast<size_t>((i - logits_first_) * vocab_),
                                                static_cast<size_t>(vocab_));
  }

  // [hidden], behind the final norm, of the i-th row that wants it; until the next Run.
  absl::Span<const float> Hidden(int64_t i) const {
    return absl::MakeConstSpan(final_).subspan(
        static_cast<size_t>((logits_wanted_ + i) * config_.hidden),
        static_cast<size_t>(config_.hidden));
  }

 private:
  struct WorkerScratch {
    std::vector<int32_t> acc, up_acc;
    std::vector<float> attention, rows;
    std::vector<int8_t> x8;  // one quantised row
  };

  void Prepare(absl::Span<const ForwardRow> rows);
  void BundleRows(absl::Span<const ForwardRow> rows);
  const LayerWeights* Weights(int64_t layer, int worker);
  void ReleaseWeights();
  void Quantise(const std::vector<float>& x, int64_t width, const float* norm, int worker);
  DequantiseTile Multiply(const TernaryMatrix& m, int64_t block, int64_t blocks,
                          std::vector<int32_t>* acc) const;
  int64_t BlocksAtOnce() const;
  void Layer(absl::Span<const ForwardRow> rows, const LayerWeights& w, int64_t layer, int worker);
  void Qkv(const LayerWeights& w, int worker);
  void AddToResidual(const TernaryMatrix& m, int worker);
  void StoreKeys(absl::Span<const ForwardRow> rows, const LayerWeights& w, int64_t layer,
                 int worker);
  void Attend(absl::Span<const ForwardRow> rows, int64_t layer, int worker);
  void GateUp(const LayerWeights& w, int worker);
  void FinalNorm(int worker);
  void Head(int64_t first, int64_t count, int worker);

  const PackedModel* const model_;
  // Of layers that come and go; written by worker 0 between two barriers.
  absl::StatusOr<const LayerWeights*> acquired_ = nullptr;
  int64_t acquired_layer_ = -1;  // -1: none
  const ModelConfig& config_;
  const TernaryKernel* const kernel_;
  ThreadPool* const pool_;
  const KvPageLayout layout_;
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
  std::vector<float> x_;           // residual [T, H]
  std::vector<float> qkv_;         // [T, query | key | key]
  std::vector<float> heads_;       // attention output [T, query]
  std::vector<float> inner_;       // activation(gate)·up [T, I]
  std::vector<int8_t> x8_;         // quantised input of the next product, arranged
  std::vector<int32_t> sums_;      // [T]
  std::vector<float> inv_;         // [T]
  RopeCache rope_;
  std::vector<int64_t> final_rows_;  // rows that want logits, then those that want hidden states
  int64_t logits_wanted_ = 0;
  std::vector<float> final_;     // [final rows, H]
  const bool split_head_;        // whether the head multiplies activations in two digits
  std::vector<int8_t> hi_, lo_;  // [rows that want logits, SplitStride(H)]
  const int64_t logits_part_;    // most rows of logits at a time
  int64_t logits_first_ = 0;     // first row of those in logits_
  std::vector<float> logits_;    // [rows of a part, V]
  std::vector<WorkerScratch> scratch_;
};

}  // namespace tritter
