#include "inference/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/float_ops.h"
#include "kernels/row_quantised.h"

namespace tritter {
namespace {

constexpr int64_t kMostHeads = 32;  // rotated at a time
constexpr int64_t kLeastHeadRows = 64, kMostHeadRows = 4096;

// To `n` elements and no more; what it held is of another batch.
template <typename T>
void Grow(AlignedVector<T>& v, int64_t n) {
  if (static_cast<int64_t>(v.size()) >= n) return;
  AlignedVector<T>().swap(v);
  v.resize(static_cast<size_t>(n));
}

}  // namespace

ForwardPass::ForwardPass(const PackedModel* model, const TernaryKernel* kernel, ThreadPool* pool,
                         KvFormat kv_format, int64_t logit_floats)
    : model_(model),
      config_(model->config()),
      kernel_(kernel),
      pool_(pool),
      layout_(config_, kv_format),
      mask_{.window = config_.window, .sinks = config_.sinks},
      query_(config_.heads * config_.head_dim),
      key_(config_.kv_heads * config_.head_dim),
      vocab_(config_.vocab),
      eps_(static_cast<float>(config_.norm_eps)),
      rope_(config_.rope_theta, config_.head_dim),
      split_head_(RowFormatOf(model->head().type).has_value()),
      logits_part_(LogitRowsAtOnce(config_.vocab, logit_floats)),
      scratch_(static_cast<size_t>(pool->threads())) {}

absl::Status ForwardPass::Run(absl::Span<const ForwardRow> rows,
                              absl::FunctionRef<void(int64_t first, int64_t count)> use) {
  Prepare(rows);
  acquired_ = nullptr;
  const int64_t wanted = logits_wanted_;
  const auto part = [&](int64_t first) { return std::min(logits_part_, wanted - first); };
  logits_first_ = 0;
  pool_->Run([&](int worker) {
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      const LayerWeights* const weights = Weights(layer, worker);
      if (weights == nullptr) return;  // for every worker alike
      Layer(rows, *weights, layer, worker);
    }
    if (final_rows_.empty()) return;
    pool_->Barrier();
    FinalNorm(worker);
    if (wanted == 0) return;
    pool_->Barrier();
    Head(0, part(0), worker);
  });
  ReleaseWeights();
  if (!acquired_.ok()) return acquired_.status();
  for (int64_t first = 0; first < wanted; first += logits_part_) {
    if (first > 0) {
      logits_first_ = first;
      pool_->Run([&](int worker) { Head(first, part(first), worker); });
    }
    use(first, part(first));
  }
  return absl::OkStatus();
}

// The layer's weights, for all workers; null when they are not to be had.
const LayerWeights* ForwardPass::Weights(int64_t layer, int worker) {
  if (const LayerWeights* there = model_->layers().Resident(layer)) return there;
  pool_->Barrier();  // no worker reads the layer before any more
  if (worker == 0) {
    ReleaseWeights();
    acquired_ = model_->layers().Acquire(layer);
    if (acquired_.ok()) acquired_layer_ = layer;
  }
  pool_->Barrier();
  return acquired_.ok() ? *acquired_ : nullptr;
}

void ForwardPass::ReleaseWeights() {
  if (acquired_layer_ >= 0) model_->layers().Release(acquired_layer_);
  acquired_layer_ = -1;
}

void ForwardPass::Prepare(absl::Span<const ForwardRow> rows) {
  count_ = static_cast<int64_t>(rows.size());
  final_rows_.clear();
  int64_t positions = 0;
  for (int64_t t = 0; t < count_; ++t) {
    positions = std::max(positions, rows[t].position + 1);
    rope_.Ensure(rows[t].position);
    if (rows[t].wants_logits) final_rows_.push_back(t);
  }
  logits_wanted_ = static_cast<int64_t>(final_rows_.size());
  for (int64_t t = 0; t < count_; ++t) {
    if (rows[t].wants_hidden) final_rows_.push_back(t);
  }
  const ForwardSizes sizes(
      config_, pool_->threads(), logits_part_,
      {count_, logits_wanted_, static_cast<int64_t>(final_rows_.size()), positions});
  Allocate(sizes);
  for (int64_t t = 0; t < count_; ++t)
    model_->embedding().Row(rows[t].token, &x_[t * config_.hidden]);
  BundleRows(rows, sizes.queries);
}

void ForwardPass::Allocate(const ForwardSizes& sizes) {
  Grow(x_, sizes.x);
  Grow(qkv_, sizes.qkv);
  Grow(heads_, sizes.heads);
  Grow(inner_, sizes.inner);
  Grow(x8_, sizes.x8);
  Grow(sums_, sizes.sums);
  Grow(inv_, sizes.inv);
  Grow(final_, sizes.final);
  if (split_head_) {
    Grow(hi_, sizes.digits);
    Grow(lo_, sizes.digits);
  }
  Grow(logits_, sizes.logits);
  for (WorkerScratch& s : scratch_) {
    Grow(s.acc, sizes.accumulators);
    Grow(s.up_acc, sizes.accumulators);
    Grow(s.attention, sizes.attention);
    Grow(s.x8, sizes.row8);
    if (model_->head().type == TpackType::kBF16) Grow(s.rows, sizes.expanded);
  }
}

// Runs of neighbouring positions of one sequence: of at most `most` rows, and within a page if
// told.
void ForwardPass::FindRuns(absl::Span<const ForwardRow> rows, int64_t most, bool within_page,
                           std::vector<RowRun>* runs) const {
  runs->clear();
  for (int64_t t = 0; t < count_; ++t) {
    if (!runs->empty()) {
      RowRun& last = runs->back();
      if (last.count < most && rows[t].pages == rows[t - 1].pages &&
          rows[t].position == rows[t - 1].position + 1 &&
          !(within_page && rows[t].position % kKvPagePositions == 0)) {
        ++last.count;
        continue;
      }
    }
    runs->push_back({t, 1});
  }
}

// Rows whose queries of one KV head attend together: with few heads a head several neighbouring
// positions, and never so many that a thread would have nothing to do. And rows whose keys and
// values lie in one page: one thread writes them, since positions share words in INT4.
void ForwardPass::BundleRows(absl::Span<const ForwardRow> rows, int64_t queries) {
  const int64_t group = config_.heads / config_.kv_heads;
  queries_ = queries;
  FindRuns(rows, std::max<int64_t>(1, queries_ / group), false, &bundles_);
  FindRuns(rows, kKvPagePositions, true, &page_runs_);
}

void ForwardPass::Layer(absl::Span<const ForwardRow> rows, const LayerWeights& w, int64_t layer,
                        int worker) {
  Quantise(x_, config_.hidden, w.norm_in, worker);
  pool_->Barrier();
  Qkv(w, worker);
  pool_->Barrier();
  StoreKeys(rows, w, layer, worker);
  pool_->Barrier();
  Attend(rows, layer, worker);
  pool_->Barrier();
  Quantise(heads_, query_, w.attn_sub_norm, worker);
  pool_->Barrier();
  AddToResidual(w.o, worker);
  pool_->Barrier();
  Quantise(x_, config_.hidden, config_.ffn_pre_norm() ? w.norm_post : nullptr, worker);
  pool_->Barrier();
  GateUp(w, worker);
  pool_->Barrier();
  Quantise(inner_, config_.ffn, w.ffn_sub_norm, worker);
  pool_->Barrier();
  AddToResidual(w.down, worker);
  pool_->Barrier();
  if (!config_.ffn_pre_norm()) {
    const auto mine = pool_->Share(count_, worker);
    float* x = x_.data() + mine.begin * config_.hidden;
    RmsNormRows(x, w.norm_post, eps_, mine.end - mine.begin, config_.hidden, x);
    pool_->Barrier();
  }
}

void ForwardPass::Quantise(const AlignedVector<float>& x, int64_t width, const float* norm,
                           int worker) {
  const int64_t columns = (width + 15) / 16 * 16;
  AlignedVector<int8_t>& x8 = scratch_[worker].x8;
  for (;;) {
    const int64_t t = pool_->Claim(count_, 1, 1).begin;
    if (t == count_) return;
    const float* from = x.data() + t * width;
    if (norm != nullptr) {
      RmsNormQuantiseRows(from, norm, eps_, 1, width, x8.data(), columns, &inv_[t]);
    } else {
      QuantiseRows(from, 1, width, x8.data(), columns, &inv_[t]);
    }
    ArrangeToken(x8.data(), columns, t, count_, x8_.data(), sums_.data());
  }
}

// The quantised rows times blocks [block, block + blocks) of m, into acc.
DequantiseTile ForwardPass::Multiply(const TernaryMatrix& m, int64_t block, int64_t blocks,
                                     AlignedVector<int32_t>* acc) const {
  const int64_t stride = blocks * 16, row = block * 16;
  kernel_->gemm(m.tiled, m.rows, m.cols, {x8_.data(), sums_.data(), count_}, acc->data(), stride,
                block, block + blocks);
  return {acc->data(),
          stride,
          count_,
          std::min(stride, m.rows - row),
          m.scales + (m.per_row ? row : 0),
          m.per_row,
          inv_.data()};
}

void ForwardPass::Qkv(const LayerWeights& w, int worker) {
  const int64_t width = query_ + 2 * key_, step = BlocksAtOnce(count_);
  const std::pair<const TernaryMatrix*, int64_t> parts[] = {
      {&w.q, 0}, {&w.k, query_}, {&w.v, query_ + key_}};
  const int64_t blocks = w.q.blocks() + w.k.blocks() + w.v.blocks();
  for (;;) {
    const auto mine = pool_->Claim(blocks, kLeastBlocks, step);
    if (mine.begin == mine.end) return;
    int64_t begin = 0;  // of this matrix, in blocks of all three
    for (const auto& [m, column] : parts) {
      const int64_t block = std::max(mine.begin, begin) - begin,
                    end = std::min(mine.end, begin + m->blocks()) - begin;
      if (block < end) {
        DequantiseInto(Multiply(*m, block, end - block, &scratch_[worker].acc), false,
                       &qkv_[column + block * 16], width);
      }
      begin += m->blocks();
    }
  }
}

void ForwardPass::StoreKeys(absl::Span<const ForwardRow> rows, const LayerWeights& w, int64_t layer,
                            int worker) {
  const int64_t d = config_.head_dim, stride = query_ + 2 * key_;
  const auto turn = [&](int64_t t, float* vector, const float* norm) {
    if (norm != nullptr) RmsNormRows(vector, norm, eps_, 1, d, vector);
    RopeInPlace(vector, rope_.Cos(rows[t].position), rope_.Sin(rows[t].position), d);
  };
  // First the keys and values, a head of a page's rows at a time, then the queries.
  const int64_t keys = static_cast<int64_t>(page_runs_.size()) * config_.kv_heads,
                items = keys + count_ * config_.heads;
  for (;;) {
    const auto mine = pool_->Claim(items, 1, kMostHeads);
    if (mine.begin == mine.end) return;
    for (int64_t item = mine.begin; item < std::min(mine.end, keys); ++item) {
      const RowRun& run = page_runs_[static_cast<size_t>(item / config_.kv_heads)];
      const int64_t head = item % config_.kv_heads;
      for (int64_t t = run.first; t < run.first + run.count; ++t) {
        float* vector = &qkv_[t * stride + query_ + head * d];
        turn(t, vector, w.k_norm);
        const int64_t position = rows[t].position;
        uint8_t* page = (*rows[t].pages)[static_cast<size_t>(position / kKvPagePositions)];
        KvStore(layout_.format, vector, vector + key_, d, position % kKvPagePositions,
                page + layout_.Offset(layer, head));
      }
    }
    for (int64_t item = std::max(mine.begin, keys) - keys; item < mine.end - keys; ++item) {
      const int64_t t = item / config_.heads, head = item % config_.heads;
      turn(t, &qkv_[t * stride + head * d], w.q_norm);
    }
  }
}

void ForwardPass::Attend(absl::Span<const ForwardRow> rows, int64_t layer, int worker) {
  const int64_t d = config_.head_dim, group = config_.heads / config_.kv_heads;
  const int64_t parts = (group + queries_ - 1) / queries_;  // of a KV head's group
  const int64_t per_bundle = config_.kv_heads * parts,
                items = static_cast<int64_t>(bundles_.size()) * per_bundle;
  for (;;) {
    const int64_t taken = pool_->Claim(items, 1, 1).begin;
    if (taken == items) return;
    const int64_t item = items - 1 - taken;  // later rows see more positions: the longest first
    const RowRun& bundle = bundles_[static_cast<size_t>(item / per_bundle)];
    const int64_t kv_head = item % per_bundle / parts, part = item % parts;
    const int64_t first_head = kv_head * group + part * group / parts,
                  end_head = kv_head * group + (part + 1) * group / parts;
    KvQueries queries = {0, qkv_.data(), heads_.data(), {}, {}, {}};
    for (int64_t t = bundle.first; t < bundle.first + bundle.count; ++t) {
      const KeyRanges seen = KeysOf(mask_, rows[t].position);
      for (int64_t head = first_head; head < end_head; ++head, ++queries.count) {
        queries.q_at[queries.count] = t * (query_ + 2 * key_) + head * d;
        queries.out_at[queries.count] = t * query_ + head * d;
        queries.seen[queries.count] = seen;
      }
    }
    AttendKv({layout_.format, rows[bundle.first].pages->data(), layout_.Offset(layer, kv_head), d},
             queries, scratch_[worker].attention.data());
  }
}

void ForwardPass::AddToResidual(const TernaryMatrix& m, int worker) {
  const int64_t step = BlocksAtOnce(count_);
  for (;;) {
    const auto mine = pool_->Claim(m.blocks(), kLeastBlocks, step);
    if (mine.begin == mine.end) return;
    DequantiseInto(Multiply(m, mine.begin, mine.end - mine.begin, &scratch_[worker].acc), true,
                   &x_[mine.begin * 16], config_.hidden);
  }
}

void ForwardPass::GateUp(const LayerWeights& w, int worker) {
  const int64_t step = BlocksAtOnce(count_);
  const bool silu = config_.ffn_activation() == FfnActivation::kSilu;
  WorkerScratch& s = scratch_[worker];
  for (;;) {
    const auto mine = pool_->Claim(w.gate.blocks(), kLeastBlocks, step);
    if (mine.begin == mine.end) return;
    const int64_t blocks = mine.end - mine.begin;
    const DequantiseTile gate = Multiply(w.gate, mine.begin, blocks, &s.acc),
                         up = Multiply(w.up, mine.begin, blocks, &s.up_acc);
    (silu ? DequantiseSiluGated : DequantiseGated)(gate, up, &inner_[mine.begin * 16], config_.ffn);
  }
}

void ForwardPass::FinalNorm(int worker) {
  const int64_t h = config_.hidden, stride = SplitStride(h);
  const auto mine = pool_->Share(static_cast<int64_t>(final_rows_.size()), worker);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    RmsNormRows(&x_[final_rows_[i] * h], model_->norm(), eps_, 1, h, &final_[i * h]);
    if (split_head_ && i < logits_wanted_)
      inv_[i] = SplitActivations(&final_[i * h], h, &hi_[i * stride], &lo_[i * stride]);
  }
}

void ForwardPass::Head(int64_t first, int64_t count, int worker) {
  for (;;) {
    const auto columns = pool_->Claim(vocab_, kLeastHeadRows, kMostHeadRows);
    if (columns.begin == columns.end) return;
    HeadRows(first, count, columns, worker);
  }
}

void ForwardPass::HeadRows(int64_t first, int64_t count, ThreadPool::Range columns, int worker) {
  const RowMatrix& head = model_->head();
  const int64_t h = config_.hidden, stride = SplitStride(h);
  const uint8_t* const data = head.data + columns.begin * head.row_bytes();
  const int64_t rows = columns.end - columns.begin;
  float* const out = logits_.data() + columns.begin;
  if (const auto format = RowFormatOf(head.type)) {
    MultiplyQuantisedRows(*format, data, head.scales + columns.begin, rows, h,
                          {&hi_[first * stride], &lo_[first * stride], &inv_[first], count}, out,
                          vocab_);
  } else if (head.type == TpackType::kF32) {
    DotRows(reinterpret_cast<const float*>(data), rows, &final_[first * h], h, count, h, out,
            vocab_);
  } else {
    AlignedVector<float>& tile = scratch_[worker].rows;
    for (int64_t r = 0; r < rows; r += kExpandedRows) {
      const int64_t n = std::min(kExpandedRows, rows - r);
      for (int64_t i = 0; i < n; ++i) head.Row(columns.begin + r + i, &tile[i * h]);
      DotRows(tile.data(), n, &final_[first * h], h, count, h, out + r, vocab_);
    }
  }
}

}  // namespace tritter
