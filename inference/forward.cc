#include "inference/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/float_ops.h"

namespace tritter {
namespace {

// Accumulators of one call of a matrix kernel: small enough to stay in the cache until they are
// dequantised.
constexpr int64_t kAccumulators = 16384;

template <typename T>
void Grow(std::vector<T>& v, int64_t n) {
  if (static_cast<int64_t>(v.size()) < n) v.resize(static_cast<size_t>(n));
}

}  // namespace

ForwardPass::ForwardPass(const PackedModel* model, const TernaryKernel* kernel, ThreadPool* pool,
                         int64_t logit_floats)
    : model_(model),
      config_(model->config()),
      kernel_(kernel),
      pool_(pool),
      layout_(config_),
      query_(config_.heads * config_.head_dim),
      key_(config_.kv_heads * config_.head_dim),
      vocab_(config_.vocab),
      eps_(static_cast<float>(config_.norm_eps)),
      rope_(config_.rope_theta, config_.head_dim),
      logits_part_(std::max<int64_t>(logit_floats / config_.vocab, 1)),
      scratch_(static_cast<size_t>(pool->threads())) {}

void ForwardPass::Run(absl::Span<const ForwardRow> rows,
                      absl::FunctionRef<void(int64_t first, int64_t count)> use) {
  Prepare(rows);
  const int64_t wanted = logits_wanted_;
  const auto part = [&](int64_t first) { return std::min(logits_part_, wanted - first); };
  logits_first_ = 0;
  pool_->Run([&](int worker) {
    for (int64_t layer = 0; layer < config_.layers; ++layer) Layer(rows, layer, worker);
    if (final_rows_.empty()) return;
    pool_->Barrier();
    FinalNorm(worker);
    if (wanted == 0) return;
    pool_->Barrier();
    Head(0, part(0), worker);
  });
  for (int64_t first = 0; first < wanted; first += logits_part_) {
    if (first > 0) {
      logits_first_ = first;
      pool_->Run([&](int worker) { Head(first, part(first), worker); });
    }
    use(first, part(first));
  }
}

void ForwardPass::Prepare(absl::Span<const ForwardRow> rows) {
  count_ = static_cast<int64_t>(rows.size());
  x8_stride_ = (std::max({config_.hidden, query_, config_.ffn}) + 63) / 64 * 64;
  Grow(x_, count_ * config_.hidden);
  Grow(qkv_, count_ * (query_ + 2 * key_));
  Grow(heads_, count_ * query_);
  Grow(inner_, count_ * config_.ffn);
  Grow(x8_, count_ * x8_stride_);
  Grow(inv_, count_);
  final_rows_.clear();
  int64_t positions = 0;
  for (int64_t t = 0; t < count_; ++t) {
    const ForwardRow& row = rows[t];
    std::memcpy(&x_[t * config_.hidden], model_->embedding() + row.token * config_.hidden,
                static_cast<size_t>(config_.hidden) * sizeof(float));
    positions = std::max(positions, row.position + 1);
    rope_.Ensure(row.position);
    if (row.wants_logits) final_rows_.push_back(t);
  }
  logits_wanted_ = static_cast<int64_t>(final_rows_.size());
  for (int64_t t = 0; t < count_; ++t) {
    if (rows[t].wants_hidden) final_rows_.push_back(t);
  }
  for (WorkerScratch& s : scratch_) Grow(s.scores, (positions + 15) / 16 * 16);
  Grow(final_, static_cast<int64_t>(final_rows_.size()) * config_.hidden);
  Grow(logits_, std::min(logits_wanted_, logits_part_) * vocab_);
}

void ForwardPass::Layer(absl::Span<const ForwardRow> rows, int64_t layer, int worker) {
  const LayerWeights& w = model_->layer(layer);
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
  if (!config_
           .ffn_pre_norm()) {  // the rows that this worker also quantises next: no barrier between
    const auto mine = pool_->Share(count_, worker);
    float* x = x_.data() + mine.begin * config_.hidden;
    RmsNormRows(x, w.norm_post, eps_, mine.end - mine.begin, config_.hidden, x);
  }
}

void ForwardPass::Quantise(const std::vector<float>& x, int64_t width, const float* norm,
                           int worker) {
  const auto mine = pool_->Share(count_, worker);
  const int64_t rows = mine.end - mine.begin;
  const float* from = x.data() + mine.begin * width;
  int8_t* x8 = x8_.data() + mine.begin * x8_stride_;
  float* inv = inv_.data() + mine.begin;
  if (norm != nullptr) {
    RmsNormQuantiseRows(from, norm, eps_, rows, width, x8, x8_stride_, inv);
  } else {
    QuantiseRows(from, rows, width, x8, x8_stride_, inv);
  }
}

// Multiplies the quantised rows with blocks [first_block, end_block) of m and hands over each
// token's part: use(token, acc, first row, number of rows).
template <typename Use>
void ForwardPass::ForRows(const TernaryMatrix& m, int64_t first_block, int64_t end_block,
                          std::vector<int32_t>& acc, const Use& use) const {
  const int64_t step = std::clamp<int64_t>(kAccumulators / (16 * count_), 4, 64);
  for (int64_t block = first_block; block < end_block; block += step) {
    const int64_t blocks = std::min(step, end_block - block), stride = blocks * 16,
                  row = block * 16;
    const int64_t rows = std::min(stride, m.rows - row);
    Grow(acc, count_ * stride);
    // Blocks of rows follow each other: a run of them is a matrix of its own.
    kernel_->gemm(m.tiled + row * m.input_stride() / 4, rows, m.cols, x8_.data(), x8_stride_,
                  count_, acc.data(), stride, 0, blocks);
    for (int64_t t = 0; t < count_; ++t) use(t, acc.data() + t * stride, row, rows);
  }
}

void ForwardPass::Qkv(const LayerWeights& w, int worker) {
  const int64_t width = query_ + 2 * key_;
  const std::pair<const TernaryMatrix*, int64_t> parts[] = {
      {&w.q, 0}, {&w.k, query_}, {&w.v, query_ + key_}};
  const auto mine = pool_->Share(w.q.blocks() + w.k.blocks() + w.v.blocks(), worker);
  int64_t begin = 0;  // of this matrix, in blocks of all three
  for (const auto& [m, column] : parts) {
    const int64_t first = std::max(mine.begin, begin) - begin,
                  end = std::min(mine.end, begin + m->blocks()) - begin;
    ForRows(*m, first, end, scratch_[worker].acc,
            [&](int64_t t, const int32_t* acc, int64_t row, int64_t rows) {
              DequantiseRow(acc, m->scales + (m->per_row ? row : 0), m->per_row, inv_[t], rows,
                            &qkv_[t * width + column + row]);
            });
    begin += m->blocks();
  }
}

void ForwardPass::StoreKeys(absl::Span<const ForwardRow> rows, const LayerWeights& w, int64_t layer,
                            int worker) {
  const int64_t d = config_.head_dim, per_row = config_.heads + config_.kv_heads;
  const auto mine = pool_->Share(count_ * per_row, worker);
  for (int64_t item = mine.begin; item < mine.end; ++item) {
    const int64_t t = item / per_row, head = item % per_row;  // query heads first, then keys
    const bool is_key = head >= config_.heads;
    float* vector = &qkv_[t * (query_ + 2 * key_) + head * d];
    if (const float* norm = is_key ? w.k_norm : w.q_norm; norm != nullptr)
      RmsNormRows(vector, norm, eps_, 1, d, vector);
    const int64_t position = rows[t].position;
    RopeInPlace(vector, rope_.Cos(position), rope_.Sin(position), d);
    if (is_key) {
      float* page = (*rows[t].pages)[static_cast<size_t>(position / kKvPagePositions)];
      KvStore(vector, vector + key_, d, position % kKvPagePositions,
              page + layout_.Offset(layer, head - config_.heads));
    }
  }
}

void ForwardPass::Attend(absl::Span<const ForwardRow> rows, int64_t layer, int worker) {
  const int64_t d = config_.head_dim, group = config_.heads / config_.kv_heads;
  // Interleaved: later rows of a prompt see more positions, so that contiguous parts would be
  // uneven.
  for (int64_t item = worker; item < count_ * config_.heads; item += pool_->threads()) {
    const int64_t t = item / config_.heads, head = item % config_.heads;
    AttendPages(&qkv_[t * (query_ + 2 * key_) + head * d], rows[t].pages->data(),
                layout_.Offset(layer, head / group), rows[t].position + 1, d,
                scratch_[worker].scores.data(), &heads_[t * query_ + head * d]);
  }
}

void ForwardPass::AddToResidual(const TernaryMatrix& m, int worker) {
  const auto mine = pool_->Share(m.blocks(), worker);
  WorkerScratch& s = scratch_[worker];
  ForRows(m, mine.begin, mine.end, s.acc,
          [&](int64_t t, const int32_t* acc, int64_t row, int64_t rows) {
            Grow(s.a, rows);
            DequantiseRow(acc, m.scales + (m.per_row ? row : 0), m.per_row, inv_[t], rows,
                          s.a.data());
            AddRow(s.a.data(), rows, &x_[t * config_.hidden + row]);
          });
}

void ForwardPass::GateUp(const LayerWeights& w, int worker) {
  const auto mine = pool_->Share(w.gate.blocks(), worker);
  WorkerScratch& s = scratch_[worker];
  ForRows(w.gate, mine.begin, mine.end, s.acc,
          [&](int64_t t, const int32_t* acc, int64_t row, int64_t rows) {
            DequantiseRow(acc, w.gate.scales + (w.gate.per_row ? row : 0), w.gate.per_row, inv_[t],
                          rows, &inner_[t * config_.ffn + row]);
          });
  ForRows(w.up, mine.begin, mine.end, s.acc,
          [&](int64_t t, const int32_t* acc, int64_t row, int64_t rows) {
            Grow(s.b, rows);
            DequantiseRow(acc, w.up.scales + (w.up.per_row ? row : 0), w.up.per_row, inv_[t], rows,
                          s.b.data());
            float* gate = &inner_[t * config_.ffn + row];
            Relu2Mul(gate, s.b.data(), rows, gate);
          });
}

void ForwardPass::FinalNorm(int worker) {
  const int64_t h = config_.hidden;
  const auto mine = pool_->Share(static_cast<int64_t>(final_rows_.size()), worker);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    RmsNormRows(&x_[final_rows_[i] * h], model_->norm(), eps_, 1, h, &final_[i * h]);
  }
}

void ForwardPass::Head(int64_t first, int64_t count, int worker) {
  const int64_t h = config_.hidden;
  const auto columns = pool_->Share(vocab_, worker);
  DotRows(model_->head() + columns.begin * h, columns.end - columns.begin, &final_[first * h], h,
          count, h, logits_.data() + columns.begin, vocab_);
}

}  // namespace tritter
