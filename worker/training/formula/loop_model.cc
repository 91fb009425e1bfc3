#include "worker/training/formula/loop_model.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;

struct Model {
  const ModelConfig& c;
  const LoopParameters& p;

  Vector Norm(const std::string& name, const Vector& x) const {
    const Vector& w = p.at(name + ".weight");
    const double n = static_cast<double>(x.size());
    double mean = 0, square = 0;
    if (c.norm == NormKind::kLayerNorm) {
      for (double v : x) mean += v;
      mean /= n;
    }
    for (double v : x) square += (v - mean) * (v - mean);
    const double size = std::sqrt(square / n + c.norm_eps);
    Vector y(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      y[i] = (x[i] - mean) / size * w[i];
      if (c.norm == NormKind::kLayerNorm) y[i] += p.at(name + ".bias")[i];
    }
    return y;
  }

  Vector Dense(const Vector& w, const Vector& x) const {
    Vector y(w.size() / x.size(), 0.0);
    for (size_t r = 0; r < y.size(); ++r)
      for (size_t i = 0; i < x.size(); ++i) y[r] += w[r * x.size() + i] * x[i];
    return y;
  }

  Vector Linear(const std::string& name, const Vector& x) const {
    const Vector& w = p.at(name + ".weight");
    Vector y;
    if (c.weight_rule == WeightRule::kNone) {
      y = Dense(w, x);
    } else {
      const size_t in = x.size(), out = w.size() / in;
      Vector codes = x;
      double step = 1;
      if (c.activations == ActivationRule::kInt8) {
        double largest = 1e-5;
        for (double v : x) largest = std::max(largest, std::abs(v));
        for (double& v : codes) v = std::clamp(std::nearbyint(v * 127 / largest), -128.0, 127.0);
        step = largest / 127;
      }
      double whole = 0;
      for (double v : w) whole += std::abs(v) / static_cast<double>(w.size());
      y.assign(out, 0.0);
      for (size_t r = 0; r < out; ++r) {
        double mean = 0;
        for (size_t i = 0; i < in; ++i) mean += std::abs(w[r * in + i]) / static_cast<double>(in);
        if (c.granularity == ScaleGranularity::kTensor) mean = whole;
        const bool threshold = c.weight_rule == WeightRule::kThreshold;
        const double scale = threshold ? p.at(name + ".scale")[r] : std::max(mean, 1e-5);
        for (size_t i = 0; i < in; ++i) {
          const double v = w[r * in + i];
          const double code = threshold ? (std::abs(v) > mean ? (v > 0 ? 1 : -1) : 0)
                                        : std::clamp(std::nearbyint(v / scale), -1.0, 1.0);
          y[r] += code * codes[i];
        }
        y[r] *= scale * step;
      }
    }
    const auto bias = p.find(name + ".bias");
    for (size_t r = 0; bias != p.end() && r < y.size(); ++r) y[r] += bias->second[r];
    return y;
  }

  // Norm (where the family has one) and rotation of one head, in place.
  void PlaceHead(const std::string& norm, int64_t position, double* head) const {
    Vector x(head, head + c.head_dim);
    if (c.family == Family::kTritter) x = Norm(norm, x);
    const int64_t half = c.head_dim / 2;
    for (int64_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(position) *
          std::pow(c.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim));
      head[i] = x[i] * std::cos(angle) - x[i + half] * std::sin(angle);
      head[i + half] = x[i + half] * std::cos(angle) + x[i] * std::sin(angle);
    }
  }

  Rows Attention(const std::string& layer, const Rows& x, const std::vector<int64_t>& tokens,
                 int64_t first_position, int64_t prefix) const {
    const int64_t length = static_cast<int64_t>(x.size()), d = c.head_dim;
    Rows q, k, v, out;
    for (int64_t t = 0; t < length; ++t) {
      q.push_back(Linear(layer + "attn.q", x[t]));
      k.push_back(Linear(layer + "attn.k", x[t]));
      v.push_back(Linear(layer + "attn.v", x[t]));
      for (int64_t h = 0; h < c.heads; ++h)
        PlaceHead(layer + "attn.q_norm", first_position + t, q[t].data() + h * d);
      for (int64_t h = 0; h < c.kv_heads; ++h)
        PlaceHead(layer + "attn.k_norm", first_position + t, k[t].data() + h * d);
    }
    for (int64_t t = 0; t < length; ++t) {
      Vector row(c.heads * d, 0.0);
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t g = h / (c.heads / c.kv_heads);
        Vector weight(length, 0.0);
        double sum = 0;
        for (int64_t s = 0; s < length; ++s) {
          if (!LoopSees(c, tokens, prefix, t, s)) continue;
          double score = 0;
          for (int64_t i = 0; i < d; ++i) score += q[t][h * d + i] * k[s][g * d + i];
          weight[s] = std::exp(score / std::sqrt(static_cast<double>(d)));
          sum += weight[s];
        }
        for (int64_t s = 0; s < length; ++s)
          for (int64_t i = 0; i < d; ++i) row[h * d + i] += weight[s] / sum * v[s][g * d + i];
      }
      if (c.family == Family::kBitnet) row = Norm(layer + "attn.sub_norm", row);
      out.push_back(Linear(layer + "attn.o", row));
    }
    return out;
  }

  Vector FeedForward(const std::string& layer, const Vector& x) const {
    const Vector gate = Linear(layer + "ffn.gate", x), up = Linear(layer + "ffn.up", x);
    Vector inner(gate.size());
    for (size_t i = 0; i < inner.size(); ++i) {
      const double positive = std::max(gate[i], 0.0);
      inner[i] = positive * positive * up[i];
    }
    if (c.family == Family::kBitnet) inner = Norm(layer + "ffn.sub_norm", inner);
    return Linear(layer + "ffn.down", inner);
  }
};

Vector Sum(Vector a, const Vector& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

}  // namespace

bool LoopSees(const ModelConfig& c, const std::vector<int64_t>& tokens, int64_t prefix, int64_t q,
              int64_t k) {
  switch (c.attention) {
    case AttentionMode::kCausal:
    case AttentionMode::kEmbedding:
      return k <= q;
    case AttentionMode::kSlidingWindow:
      return 0 <= q - k && q - k < c.window;
    case AttentionMode::kSinks:
      return k <= q && (q - k < c.window || k < c.sinks);
    case AttentionMode::kBidirectional:
      return true;
    case AttentionMode::kPrefixLm:
      return q < prefix ? k < prefix : k <= q;
    case AttentionMode::kDocument:
      // No document ends between the key and the query.
      return k <= q &&
             std::find(tokens.begin() + k, tokens.begin() + q, kEosId) == tokens.begin() + q;
  }
  return false;
}

std::vector<std::vector<double>> LoopLogits(const ModelConfig& c, const LoopParameters& parameters,
                                            const std::vector<int64_t>& tokens,
                                            int64_t first_position, int64_t prefix) {
  const Model model{c, parameters};
  const Vector& table = parameters.at("embed.weight");
  Rows x;
  for (int64_t token : tokens)
    x.emplace_back(table.begin() + token * c.hidden, table.begin() + (token + 1) * c.hidden);
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = absl::StrCat("layers.", i, ".");
    Rows normed;
    for (const Vector& row : x) normed.push_back(model.Norm(layer + "norm_in", row));
    const Rows attended = model.Attention(layer, normed, tokens, first_position, prefix);
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector h = Sum(x[t], attended[t]);
      x[t] = c.family == Family::kTritter
                 ? model.Norm(layer + "norm_post", Sum(h, model.FeedForward(layer, h)))
                 : Sum(h, model.FeedForward(layer, model.Norm(layer + "norm_post", h)));
    }
  }
  Rows logits;
  for (const Vector& row : x) {
    const Vector hidden = model.Norm("norm", row);
    logits.push_back(c.tied_embeddings   ? model.Dense(table, hidden)
                     : c.lm_head_ternary ? model.Linear("head", hidden)
                                         : model.Dense(parameters.at("head.weight"), hidden));
  }
  return logits;
}

}  // namespace tritter
