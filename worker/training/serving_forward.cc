#include "worker/training/serving_forward.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/float_ops.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"
#include "kernels/ternary_gemm.h"

namespace tritter {

ServingForward::ServingForward(const ModelConfig& config, const ParameterStore& parameters,
                               const float* weights, ParallelRows* parallel)
    : config_(config), parameters_(parameters), weights_(weights), parallel_(parallel) {
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("layers.", i, ".");
    Layer layer;
    layer.norm_in = Values(prefix + "norm_in.weight");
    layer.q_norm = Values(prefix + "attn.q_norm.weight");
    layer.k_norm = Values(prefix + "attn.k_norm.weight");
    layer.norm_post = Values(prefix + "norm_post.weight");
    layer.q = Pack(prefix + "attn.q.weight");
    layer.k = Pack(prefix + "attn.k.weight");
    layer.v = Pack(prefix + "attn.v.weight");
    layer.o = Pack(prefix + "attn.o.weight");
    layer.gate = Pack(prefix + "ffn.gate.weight");
    layer.up = Pack(prefix + "ffn.up.weight");
    layer.down = Pack(prefix + "ffn.down.weight");
    layers_.push_back(std::move(layer));
  }
}

const float* ServingForward::Values(const std::string& name) const {
  return weights_ + (*parameters_.Find(name))->offset;
}

ServingForward::Packed ServingForward::Pack(const std::string& name) const {
  const ParameterSlot& slot = **parameters_.Find(name);
  Packed packed;
  packed.out = slot.spec.shape[0];
  packed.in = slot.spec.shape[1];
  std::vector<int8_t> codes(slot.size);
  packed.scales.resize(packed.out);
  const bool per_row = config_.granularity == ScaleGranularity::kRow;
  QuantiseWeights(weights_ + slot.offset, packed.out, packed.in, per_row, codes.data(),
                  packed.scales.data());
  if (!per_row) std::fill(packed.scales.begin(), packed.scales.end(), packed.scales[0]);
  std::vector<uint8_t> logical(packed.out * LogicalRowBytes(packed.in));
  PackLogical(codes.data(), packed.out, packed.in, logical.data());
  packed.tiles.resize(TiledBytes(packed.out, packed.in));
  LogicalToTiled(logical.data(), packed.out, packed.in, packed.tiles.data());
  return packed;
}

void ServingForward::Quantise(const float* x, int64_t tokens, int64_t n, std::vector<int8_t>* x8,
                              std::vector<float>* inv) {
  const int64_t stride = RoundUp(n, kTileCols);
  x8->resize(tokens * stride);
  inv->resize(tokens);
  parallel_->Run(tokens, [&](int, int64_t first, int64_t end) {
    QuantiseRows(x + first * n, end - first, n, x8->data() + first * stride, stride,
                 inv->data() + first);
  });
}

void ServingForward::Multiply(const Packed& w, const std::vector<int8_t>& x8,
                              const std::vector<float>& inv, int64_t tokens, float* y) {
  const int64_t stride = RoundUp(w.out, kTileRows), x_stride = RoundUp(w.in, kTileCols),
                blocks = stride / kTileRows;
  std::vector<int32_t> acc(tokens * stride);
  const TernaryKernel& kernel = BestTernaryKernel();
  parallel_->Run(blocks, [&](int, int64_t first, int64_t end) {
    if (first < end) {
      kernel.gemm(w.tiles.data(), w.out, w.in, x8.data(), x_stride, tokens, acc.data(), stride,
                  first, end);
    }
  });
  for (int64_t t = 0; t < tokens; ++t)
    DequantiseRow(&acc[t * stride], w.scales.data(), true, inv[t], w.out, y + t * w.out);
}

void ServingForward::Attend(const Layer& layer, int64_t tokens, float* q, float* k, const float* v,
                            float* out) {
  const int64_t n = config_.heads, kv = config_.kv_heads, d = config_.head_dim, half = d / 2;
  const float eps = static_cast<float>(config_.norm_eps);
  RmsNormRows(q, layer.q_norm, eps, tokens * n, d, q);
  RmsNormRows(k, layer.k_norm, eps, tokens * kv, d, k);
  for (int64_t t = 0; t < tokens; ++t) {
    const float *cos = &cos_[t * half], *sin = &sin_[t * half];
    for (int64_t h = 0; h < n; ++h) RopeInPlace(q + (t * n + h) * d, cos, sin, d);
    for (int64_t h = 0; h < kv; ++h) RopeInPlace(k + (t * kv + h) * d, cos, sin, d);
  }
  // Keys and values of each head in pages, the form in which the engine keeps them.
  const int64_t pages = RoundUp(tokens, kKvPagePositions) / kKvPagePositions,
                page = KvPageFloats(d);
  pages_.assign(kv * pages * page, 0.0f);
  std::vector<const float*> page_of(kv * pages);
  for (int64_t h = 0; h < kv; ++h) {
    for (int64_t p = 0; p < pages; ++p) page_of[h * pages + p] = &pages_[(h * pages + p) * page];
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t at = (t * kv + h) * d;
      KvStore(k + at, v + at, d, t % kKvPagePositions,
              &pages_[(h * pages + t / kKvPagePositions) * page]);
    }
  }
  parallel_->Run(tokens, [&](int, int64_t first, int64_t end) {
    std::vector<float> scratch(RoundUp(tokens, 16));
    for (int64_t t = first; t < end; ++t) {
      for (int64_t h = 0; h < n; ++h) {
        const int64_t at = (t * n + h) * d;
        AttendPages(q + at, &page_of[h / (n / kv) * pages], 0, t + 1, d, scratch.data(), out + at);
      }
    }
  });
}

absl::StatusOr<std::vector<float>> ServingForward::Logits(absl::Span<const int64_t> tokens) {
  const int64_t count = static_cast<int64_t>(tokens.size()), hidden = config_.hidden,
                inner = config_.ffn;
  const int64_t q_width = config_.heads * config_.head_dim,
                kv_width = config_.kv_heads * config_.head_dim;
  const float eps = static_cast<float>(config_.norm_eps);
  if (rope_positions_ < count) {
    cos_.resize(count * (config_.head_dim / 2));
    sin_.resize(cos_.size());
    RopeTable(config_.rope_theta, config_.head_dim, 0, count, cos_.data(), sin_.data());
    rope_positions_ = count;
  }
  std::vector<float> x(count * hidden), h(count * hidden), q(count * q_width), k(count * kv_width),
      v(count * kv_width);
  std::vector<float> attended(count * q_width), gate(count * inner), up(count * inner),
      f(count * hidden), inv;
  std::vector<int8_t> x8;
  const float* embedding = Values("embed.weight");
  for (int64_t t = 0; t < count; ++t) {
    if (tokens[t] < 0 || tokens[t] >= config_.vocab) {
      return absl::InvalidArgumentError(absl::StrCat("token ", tokens[t], " at position ", t,
                                                     " is outside the vocabulary of ",
                                                     config_.vocab));
    }
    std::memcpy(&x[t * hidden], embedding + tokens[t] * hidden, hidden * sizeof(float));
  }
  for (const Layer& layer : layers_) {
    RmsNormRows(x.data(), layer.norm_in, eps, count, hidden, h.data());
    Quantise(h.data(), count, hidden, &x8, &inv);
    Multiply(layer.q, x8, inv, count, q.data());
    Multiply(layer.k, x8, inv, count, k.data());
    Multiply(layer.v, x8, inv, count, v.data());
    Attend(layer, count, q.data(), k.data(), v.data(), attended.data());
    Quantise(attended.data(), count, q_width, &x8, &inv);
    Multiply(layer.o, x8, inv, count, h.data());
    AddRow(x.data(), count * hidden, h.data());
    Quantise(h.data(), count, hidden, &x8, &inv);
    Multiply(layer.gate, x8, inv, count, gate.data());
    Multiply(layer.up, x8, inv, count, up.data());
    Relu2Mul(gate.data(), up.data(), count * inner, gate.data());
    Quantise(gate.data(), count, inner, &x8, &inv);
    Multiply(layer.down, x8, inv, count, f.data());
    AddRow(f.data(), count * hidden, h.data());
    RmsNormRows(h.data(), layer.norm_post, eps, count, hidden, x.data());
  }
  RmsNormRows(x.data(), Values("norm.weight"), eps, count, hidden, x.data());
  std::vector<float> logits(count * config_.vocab);
  const float* head = Values("head.weight");
  parallel_->Run(count, [&](int, int64_t first, int64_t end) {
    DotRows(head, config_.vocab, &x[first * hidden], hidden, end - first, hidden,
            &logits[first * config_.vocab], config_.vocab);
  });
  return logits;
}

}  // namespace tritter
