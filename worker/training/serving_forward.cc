#include "worker/training/serving_forward.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/float_ops.h"
#include "kernels/kv_cache.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"
#include "kernels/ternary_gemm.h"
#include "kernels/training_ops.h"
#include "worker/training/attention_rule.h"

namespace tritter {

ServingForward::ServingForward(const ModelConfig& config, const ParameterStore& parameters,
                               const float* weights, ParallelRows* parallel)
    : config_(config),
      parameters_(parameters),
      weights_(weights),
      parallel_(parallel),
      integer_products_(config.activations == ActivationRule::kInt8 &&
                        config.weight_rule != WeightRule::kNone) {
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("layers.", i, ".");
    Layer layer;
    layer.norm_in = FindNormOf(prefix + "norm_in");
    layer.norm_post = FindNormOf(prefix + "norm_post");
    if (config.qk_norm()) {
      layer.q_norm = FindNormOf(prefix + "attn.q_norm");
      layer.k_norm = FindNormOf(prefix + "attn.k_norm");
    }
    if (config.sub_norms()) {
      layer.attn_sub_norm = FindNormOf(prefix + "attn.sub_norm");
      layer.ffn_sub_norm = FindNormOf(prefix + "ffn.sub_norm");
    }
    layer.q = MakeMatrix(prefix + "attn.q");
    layer.k = MakeMatrix(prefix + "attn.k");
    layer.v = MakeMatrix(prefix + "attn.v");
    layer.o = MakeMatrix(prefix + "attn.o");
    layer.gate = MakeMatrix(prefix + "ffn.gate");
    layer.up = MakeMatrix(prefix + "ffn.up");
    layer.down = MakeMatrix(prefix + "ffn.down");
    layers_.push_back(std::move(layer));
  }
  final_norm_ = FindNormOf("norm");
  if (config.lm_head_ternary) {
    head_ = MakeMatrix("head");
  } else {
    head_.out = config.vocab;
    head_.in = config.hidden;
    head_.plain = Values(config.tied_embeddings ? "embed.weight" : "head.weight");
  }
}

const float* ServingForward::Values(const std::string& name) const {
  return weights_ + (*parameters_.Find(name))->offset;
}

NormSlot ServingForward::FindNormOf(const std::string& name) const {
  return *FindNorm(parameters_, config_.norm, name);
}

ServingForward::Matrix ServingForward::MakeMatrix(const std::string& name) const {
  const ParameterSlot& slot = **parameters_.Find(name + ".weight");
  Matrix matrix;
  matrix.out = slot.spec.shape[0];
  matrix.in = slot.spec.shape[1];
  if (const auto bias = parameters_.Find(name + ".bias"); bias.ok())
    matrix.bias = weights_ + (*bias)->offset;
  if (config_.weight_rule == WeightRule::kNone) {
    matrix.plain = weights_ + slot.offset;
    return matrix;
  }
  std::vector<int8_t> codes(slot.size);
  matrix.scales.resize(matrix.out);
  const bool per_row = config_.granularity == ScaleGranularity::kRow;
  if (config_.weight_rule == WeightRule::kThreshold) {
    QuantiseByThreshold(weights_ + slot.offset, matrix.out, matrix.in, per_row, codes.data());
    const float* learned = Values(name + ".scale");
    std::copy(learned, learned + matrix.out, matrix.scales.begin());
  } else {
    QuantiseWeights(weights_ + slot.offset, matrix.out, matrix.in, per_row, codes.data(),
                    matrix.scales.data());
    if (!per_row) std::fill(matrix.scales.begin(), matrix.scales.end(), matrix.scales[0]);
  }
  if (!integer_products_) {
    matrix.effective.resize(slot.size);
    for (int64_t r = 0; r < matrix.out; ++r) {
      for (int64_t i = r * matrix.in; i < (r + 1) * matrix.in; ++i)
        matrix.effective[i] = static_cast<float>(codes[i]) * matrix.scales[r];
    }
    matrix.plain = matrix.effective.data();
    return matrix;
  }
  std::vector<uint8_t> logical(matrix.out * LogicalRowBytes(matrix.in));
  PackLogical(codes.data(), matrix.out, matrix.in, logical.data());
  matrix.tiles.resize(TiledBytes(matrix.out, matrix.in));
  LogicalToTiled(logical.data(), matrix.out, matrix.in, matrix.tiles.data());
  return matrix;
}

void ServingForward::Norm(const NormSlot& slot, int64_t rows, float* x) const {
  if (slot.width == 0) return;
  NormRows(slot, weights_, static_cast<float>(config_.norm_eps), x, rows, x);
}

void ServingForward::SetInput(const float* x, int64_t tokens, int64_t n) {
  input_.x = x;
  if (!integer_products_) return;
  const int64_t stride = RoundUp(n, kTileCols);
  input_.x8.resize(tokens * stride);
  input_.inv.resize(tokens);
  parallel_->Run(tokens, [&](int, int64_t first, int64_t end) {
    QuantiseRows(x + first * n, end - first, n, input_.x8.data() + first * stride, stride,
                 input_.inv.data() + first);
  });
}

void ServingForward::Multiply(const Matrix& w, int64_t tokens, float* y) const {
  if (w.plain != nullptr) {
    parallel_->Run(tokens, [&](int, int64_t first, int64_t end) {
      DotRows(w.plain, w.out, input_.x + first * w.in, w.in, end - first, w.in, y + first * w.out,
              w.out);
    });
  } else {
    const int64_t stride = RoundUp(w.out, kTileRows), x_stride = RoundUp(w.in, kTileCols),
                  blocks = stride / kTileRows;
    std::vector<int32_t> acc(tokens * stride);
    const TernaryKernel& kernel = BestTernaryKernel();
    parallel_->Run(blocks, [&](int, int64_t first, int64_t end) {
      if (first < end) {
        MultiplyRows(kernel, w.tiles.data(), w.out, w.in, input_.x8.data(), x_stride, tokens,
                     acc.data() + first * kTileRows, stride, first, end);
      }
    });
    for (int64_t t = 0; t < tokens; ++t)
      DequantiseRow(&acc[t * stride], w.scales.data(), true, input_.inv[t], w.out, y + t * w.out);
  }
  if (w.bias == nullptr) return;
  for (int64_t t = 0; t < tokens; ++t) AddRow(w.bias, w.out, y + t * w.out);
}

void ServingForward::Attend(const Layer& layer, int64_t tokens, float* q, float* k, const float* v,
                            float* out) {
  const int64_t n = config_.heads, kv = config_.kv_heads, d = config_.head_dim, half = d / 2;
  Norm(layer.q_norm, tokens * n, q);
  Norm(layer.k_norm, tokens * kv, k);
  for (int64_t t = 0; t < tokens; ++t) {
    const float *cos = &cos_[t * half], *sin = &sin_[t * half];
    for (int64_t h = 0; h < n; ++h) RopeInPlace(q + (t * n + h) * d, cos, sin, d);
    for (int64_t h = 0; h < kv; ++h) RopeInPlace(k + (t * kv + h) * d, cos, sin, d);
  }
  // Keys and values of each head in pages, the form in which the engine keeps them.
  const int64_t pages = RoundUp(tokens, kKvPagePositions) / kKvPagePositions,
                page = KvPageBytes(KvFormat::kF32, d), group = n / kv;
  pages_.resize(kv * pages * page);
  std::vector<const uint8_t*> page_of(kv * pages);
  for (int64_t h = 0; h < kv; ++h) {
    for (int64_t p = 0; p < pages; ++p) page_of[h * pages + p] = &pages_[(h * pages + p) * page];
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t at = (t * kv + h) * d;
      KvStore(KvFormat::kF32, k + at, v + at, d, t % kKvPagePositions,
              &pages_[(h * pages + t / kKvPagePositions) * page]);
    }
  }
  const AttentionMask mask = MaskOf(config_, tokens, document_start_.data());
  const int64_t slots = tokens + RoundUp(std::min(mask.sinks, tokens), kKvPagePositions);
  parallel_->Run(tokens, [&](int, int64_t first, int64_t end) {
    std::vector<float> scratch(KvScratchFloats(d, slots, std::min(group, kMaxQueries)));
    for (int64_t t = first; t < end; ++t) {
      const KeyRanges seen = KeysOf(mask, t);
      for (int64_t h = 0; h < n;) {
        const int64_t kv_head = h / group;
        KvQueries queries = {0, q, out, {}, {}, {}};
        for (; h < (kv_head + 1) * group && queries.count < kMaxQueries; ++h, ++queries.count) {
          queries.q_at[queries.count] = queries.out_at[queries.count] = (t * n + h) * d;
          queries.seen[queries.count] = seen;
        }
        AttendKv({KvFormat::kF32, &page_of[kv_head * pages], 0, d}, queries, scratch.data());
      }
    }
  });
}

void ServingForward::Block(const Layer& layer, int64_t tokens) {
  const int64_t hidden = config_.hidden, inner = config_.ffn,
                query = config_.heads * config_.head_dim;
  h_ = x_;
  Norm(layer.norm_in, tokens, h_.data());
  SetInput(h_.data(), tokens, hidden);
  Multiply(layer.q, tokens, q_.data());
  Multiply(layer.k, tokens, k_.data());
  Multiply(layer.v, tokens, v_.data());
  Attend(layer, tokens, q_.data(), k_.data(), v_.data(), attended_.data());
  Norm(layer.attn_sub_norm, tokens, attended_.data());
  SetInput(attended_.data(), tokens, query);
  Multiply(layer.o, tokens, f_.data());
  AddRow(f_.data(), tokens * hidden, x_.data());

  if (config_.ffn_pre_norm()) {
    h_ = x_;
    Norm(layer.norm_post, tokens, h_.data());
    SetInput(h_.data(), tokens, hidden);
  } else {
    SetInput(x_.data(), tokens, hidden);
  }
  Multiply(layer.gate, tokens, gate_.data());
  Multiply(layer.up, tokens, up_.data());
  Relu2Mul(gate_.data(), up_.data(), tokens * inner, gate_.data());
  Norm(layer.ffn_sub_norm, tokens, gate_.data());
  SetInput(gate_.data(), tokens, inner);
  Multiply(layer.down, tokens, f_.data());
  AddRow(f_.data(), tokens * hidden, x_.data());
  if (!config_.ffn_pre_norm()) Norm(layer.norm_post, tokens, x_.data());
}

absl::StatusOr<std::vector<float>> ServingForward::Logits(absl::Span<const int64_t> tokens) {
  const int64_t count = static_cast<int64_t>(tokens.size()), hidden = config_.hidden;
  if (rope_positions_ < count) {
    cos_.resize(count * (config_.head_dim / 2));
    sin_.resize(cos_.size());
    RopeTable(config_.rope_theta, config_.head_dim, 0, count, cos_.data(), sin_.data());
    rope_positions_ = count;
  }
  document_start_ = DocumentStarts(config_, tokens, count);
  x_.resize(count * hidden);
  f_.resize(count * hidden);
  q_.resize(count * config_.heads * config_.head_dim);
  attended_.resize(q_.size());
  k_.resize(count * config_.kv_heads * config_.head_dim);
  v_.resize(k_.size());
  gate_.resize(count * config_.ffn);
  up_.resize(gate_.size());
  const float* embedding = Values("embed.weight");
  for (int64_t t = 0; t < count; ++t) {
    if (tokens[t] < 0 || tokens[t] >= config_.vocab) {
      return absl::InvalidArgumentError(absl::StrCat("token ", tokens[t], " at position ", t,
                                                     " is outside the vocabulary of ",
                                                     config_.vocab));
    }
    std::memcpy(&x_[t * hidden], embedding + tokens[t] * hidden, hidden * sizeof(float));
  }
  for (const Layer& layer : layers_) Block(layer, count);
  Norm(final_norm_, count, x_.data());
  std::vector<float> logits(count * config_.vocab);
  if (head_.plain != nullptr) {
    input_.x = x_.data();  // a full head reads no codes
  } else {
    SetInput(x_.data(), count, hidden);
  }
  Multiply(head_, count, logits.data());
  return logits;
}

}  // namespace tritter
