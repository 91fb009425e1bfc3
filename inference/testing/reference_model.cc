#include "inference/testing/reference_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/float_ops.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"

namespace tritter {
namespace {

bool Sees(const ModelConfig& c, int64_t query, int64_t key) {
  return c.window == 0 || query - key < c.window || key < c.sinks;
}

}  // namespace

ReferenceModel::Row ReferenceModel::Floats(const std::string& name) {
  const TpackTensor t = *file_->Get(name);
  Row row(t.data.size() / sizeof(float));
  std::memcpy(row.data(), t.data.data(), t.data.size());
  return row;
}

ReferenceModel::Row ReferenceModel::BitLinear(const std::string& name, const Row& x) {
  const TpackTensor t = *file_->Get(name + ".weight");
  const int64_t rows = t.shape[0], cols = t.shape[1];
  std::vector<uint8_t> logical(rows * LogicalRowBytes(cols));
  std::vector<int8_t> codes(rows * cols), x8(cols);
  int64_t bad;
  TiledToLogical(t.data.data(), rows, cols, logical.data());
  UnpackLogical(logical.data(), rows, cols, codes.data(), &bad);
  const float inv = QuantiseActivationsInt8(x.data(), cols, x8.data());
  Row y(rows);
  for (int64_t r = 0; r < rows; ++r) {
    int32_t acc = 0;
    for (int64_t c = 0; c < cols; ++c) acc += codes[r * cols + c] * x8[c];
    const float scale = t.scales[t.scales.size() > 1 ? r : 0];
    double plain = 0;
    for (int64_t c = 0; c < cols && !quantise_activations_; ++c)
      plain += static_cast<double>(codes[r * cols + c]) * static_cast<double>(x[c]);
    y[r] = quantise_activations_ ? DequantiseDot(acc, scale, inv)
                                 : static_cast<float>(plain * static_cast<double>(scale));
  }
  return y;
}

ReferenceModel::Row ReferenceModel::Norm(const std::string& name, const Row& x) {
  const Row w = Floats(name + ".weight");
  Row y(x.size());
  const int64_t n = static_cast<int64_t>(w.size());
  RmsNormRows(x.data(), w.data(), static_cast<float>(config_.norm_eps),
              static_cast<int64_t>(x.size()) / n, n, y.data());
  return y;
}

void ReferenceModel::Layer(int64_t layer, std::vector<Row>* x) {
  const std::string p = absl::StrCat("layers.", layer, ".");
  const int64_t d = config_.head_dim, kv = config_.kv_heads * d,
                length = static_cast<int64_t>(x->size());
  std::vector<Row> queries;
  Row keys, values;  // [length, K·D]
  for (int64_t t = 0; t < length; ++t) {
    const Row n = Norm(p + "norm_in", (*x)[t]);
    Row q = BitLinear(p + "attn.q", n), k = BitLinear(p + "attn.k", n);
    const Row v = BitLinear(p + "attn.v", n);
    if (config_.qk_norm()) {
      q = Norm(p + "attn.q_norm", q);
      k = Norm(p + "attn.k_norm", k);
    }
    Row cos(d / 2), sin(d / 2);
    RopeTable(config_.rope_theta, d, t, 1, cos.data(), sin.data());
    for (int64_t h = 0; h < config_.heads; ++h) RopeInPlace(&q[h * d], cos.data(), sin.data(), d);
    for (int64_t h = 0; h < config_.kv_heads; ++h)
      RopeInPlace(&k[h * d], cos.data(), sin.data(), d);
    queries.push_back(q);
    keys.insert(keys.end(), k.begin(), k.end());
    values.insert(values.end(), v.begin(), v.end());
  }
  for (int64_t t = 0; t < length; ++t) {
    Row heads(config_.heads * d), scratch((t + 16) / 16 * 16), seen_keys, seen_values;
    for (int64_t key = 0; key <= t; ++key) {
      if (!Sees(config_, t, key)) continue;
      seen_keys.insert(seen_keys.end(), &keys[key * kv], &keys[key * kv] + kv);
      seen_values.insert(seen_values.end(), &values[key * kv], &values[key * kv] + kv);
    }
    const int64_t seen = static_cast<int64_t>(seen_keys.size()) / kv;
    for (int64_t h = 0; h < config_.heads; ++h) {
      const int64_t shared = h / (config_.heads / config_.kv_heads) * d;
      AttendRow(&queries[t][h * d], &seen_keys[shared], &seen_values[shared], kv, seen, d,
                scratch.data(), &heads[h * d]);
    }
    if (config_.sub_norms()) heads = Norm(p + "attn.sub_norm", heads);
    Row& h = (*x)[t];
    const Row o = BitLinear(p + "attn.o", heads);
    for (size_t i = 0; i < h.size(); ++i) h[i] += o[i];
    const Row input = config_.ffn_pre_norm() ? Norm(p + "norm_post", h) : h;
    const Row gate = BitLinear(p + "ffn.gate", input), up = BitLinear(p + "ffn.up", input);
    Row inner = gate;
    if (config_.ffn_activation() == FfnActivation::kSilu) {
      for (float& g : inner) g = -g;
      ExpRow(inner.data(), static_cast<int64_t>(inner.size()), inner.data());
      for (size_t i = 0; i < inner.size(); ++i) inner[i] = gate[i] / (inner[i] + 1.0f) * up[i];
    } else {
      for (size_t i = 0; i < inner.size(); ++i) {
        const float g = std::max(gate[i], 0.0f);
        inner[i] = g * g * up[i];
      }
    }
    if (config_.sub_norms()) inner = Norm(p + "ffn.sub_norm", inner);
    const Row f = BitLinear(p + "ffn.down", inner);
    for (size_t i = 0; i < h.size(); ++i) h[i] += f[i];
    if (!config_.ffn_pre_norm()) h = Norm(p + "norm_post", h);
  }
}

std::vector<ReferenceModel::Row> ReferenceModel::Hidden(absl::Span<const int32_t> tokens) {
  const int64_t hidden = config_.hidden;
  const Row embedding = Floats("embed.weight");
  std::vector<Row> x;
  for (int32_t token : tokens)
    x.emplace_back(&embedding[token * hidden], &embedding[token * hidden] + hidden);
  for (int64_t i = 0; i < config_.layers; ++i) Layer(i, &x);
  for (Row& row : x) row = Norm("norm", row);
  return x;
}

std::vector<ReferenceModel::Row> ReferenceModel::Logits(absl::Span<const int32_t> tokens) {
  const int64_t hidden = config_.hidden;
  const Row head = Floats(config_.tied_embeddings ? "embed.weight" : "head.weight");
  std::vector<Row> logits;
  for (const Row& n : Hidden(tokens)) {
    Row out(config_.vocab);
    for (int64_t v = 0; v < config_.vocab; ++v)
      out[v] = DotRow(&head[v * hidden], n.data(), hidden);
    logits.push_back(out);
  }
  return logits;
}

std::vector<int32_t> ReferenceModel::Greedy(std::vector<int32_t> prompt, int64_t count) {
  std::vector<int32_t> generated;
  for (int64_t i = 0; i < count; ++i) {
    const Row last = Logits(prompt).back();
    generated.push_back(
        static_cast<int32_t>(std::max_element(last.begin(), last.end()) - last.begin()));
    prompt.push_back(generated.back());
  }
  return generated;
}

}  // namespace tritter
