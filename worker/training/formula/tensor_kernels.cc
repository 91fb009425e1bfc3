#include "worker/training/formula/tensor_kernels.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "kernels/reference/moment_map.h"

namespace tritter {
namespace {

// x [T, heads, D]; sign −1 turns back.
at::Tensor Turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, double sign) {
  const int64_t half = x.size(2) / 2, sequences = x.size(0) / cos.size(0);
  const at::Tensor c = cos.repeat({sequences, 1}).unsqueeze(1),
                   s = sin.repeat({sequences, 1}).unsqueeze(1) * sign;  // [T, 1, D/2]
  const at::Tensor x1 = x.narrow(2, 0, half), x2 = x.narrow(2, half, half);
  return at::cat({x1 * c - x2 * s, x2 * c + x1 * s}, 2);
}

// Over the last dimension, in float; any leading dimensions.
at::Tensor Normed(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * ((x * x).mean(-1, true) + eps).rsqrt() * weight;
}

// dx and d weight of Normed.
std::pair<at::Tensor, at::Tensor> NormedBackward(const at::Tensor& x, const at::Tensor& weight,
                                                 double eps, const at::Tensor& dy) {
  const at::Tensor inverse = ((x * x).mean(-1, true) + eps).rsqrt(), hat = x * inverse;
  const at::Tensor g = dy * weight;
  const at::Tensor dx = (g - hat * (g * hat).mean(-1, true)) * inverse;
  return {dx, (dy * hat).reshape({-1, x.size(-1)}).sum(0)};
}

// Moments in 8 bits as tensors of blocks: kernels/reference/moment_map.h.
class MomentTables {
 public:
  MomentTables(bool is_signed, const at::Device& device) : signed_(is_signed) {
    const MomentMap& map = is_signed ? SignedMomentMap() : UnsignedMomentMap();
    std::vector<float> value(256);
    for (int c = 0; c < 256; ++c) {
      value[c] = !is_signed ? map.step[c] : c < 127 ? -map.step[127 - c] : map.step[c - 127];
    }
    value_ = at::tensor(value).to(device);
    middle_ = at::tensor(at::ArrayRef<float>(map.middle, map.steps - 1)).to(device);
  }
  // codes [n], scales [blocks] -> [blocks, kMomentBlock], zeros behind the n.
  at::Tensor Values(const at::Tensor& codes, const at::Tensor& scales) const {
    return Blocks(value_.index_select(0, codes.to(at::kLong))) * scales.unsqueeze(1);
  }
  // x [blocks, kMomentBlock], of which the first n values count.
  void Store(const at::Tensor& x, const at::Tensor& codes, const at::Tensor& scales) const {
    const at::Tensor magnitude = x.abs();
    at::Tensor scale = scales;
    at::amax_out(scale, magnitude, {1});
    const at::Tensor nearest = at::bucketize(
        magnitude / at::where(scale > 0, scale, at::ones_like(scale)).unsqueeze(1), middle_,
        /*out_int32=*/true);
    const at::Tensor code =
        signed_ ? at::where(x < 0, 127 - nearest.clamp_max(127), 127 + nearest)
                : at::where((nearest == 0) & (x > 0), at::ones_like(nearest), nearest);
    codes.copy_(code.view({-1}).narrow(0, 0, codes.size(0)));
  }
  static at::Tensor Blocks(const at::Tensor& x) {
    const int64_t n = x.size(0);
    return at::constant_pad_nd(x, {0, MomentBlocks(n) * kMomentBlock - n}).view({-1, kMomentBlock});
  }

 private:
  const bool signed_;
  at::Tensor value_;   // by code
  at::Tensor middle_;  // between the magnitudes
};

}  // namespace

at::Tensor TensorKernels::FloatProduct(const at::Tensor& a, const at::Tensor& b) const {
  return at::mm(a.to(at::kFloat), b.to(at::kFloat));
}

void TensorKernels::FloatProductInto(const at::Tensor& a, const at::Tensor& b, bool add,
                                     const at::Tensor& out) const {
  const at::Tensor product = FloatProduct(a, b);
  if (add) {
    out.add_(product);
  } else {
    out.copy_(product);
  }
}

QuantisedRows TensorKernels::QuantiseRows(const at::Tensor& x, const at::Tensor& norm,
                                          double eps) const {
  at::Tensor values = x.to(at::kFloat);
  if (norm.defined()) values = Normed(values, norm, eps);
  const at::Tensor largest = values.abs().amax({-1}, /*keepdim=*/true).clamp_min(1e-5);
  return {(values * (127.0 / largest)).round().clamp(-128, 127).to(at::kChar),
          largest.squeeze(-1) / 127.0};
}

QuantisedRows TensorKernels::QuantiseMatrix(const at::Tensor& w, const std::vector<int64_t>& parts,
                                            const ModelConfig& config,
                                            const at::Tensor& scale) const {
  at::Tensor mean = w.abs().mean(1);  // [out]
  if (config.granularity == ScaleGranularity::kTensor) {
    for (const at::Tensor& part : mean.split_with_sizes(parts)) part.fill_(part.mean());
  }
  if (config.weight_rule == WeightRule::kThreshold) {
    return {(w.sign() * (w.abs() > mean.unsqueeze(1))).to(at::kChar), scale};
  }
  mean = mean.clamp_min(1e-5);
  return {(w / mean.unsqueeze(1)).round().clamp(-1, 1).to(at::kChar), mean};
}

at::Tensor TensorKernels::QuantisedProduct(const QuantisedRows& x, const QuantisedRows& w,
                                           at::ScalarType type) const {
  const at::Tensor sums = at::mm(x.codes.to(at::kFloat), w.codes.to(at::kFloat).t());
  return (sums * w.factor * x.factor.unsqueeze(1)).to(type);
}

at::Tensor TensorKernels::Dequantise(const QuantisedRows& rows, at::ScalarType type) const {
  return (rows.codes * rows.factor.unsqueeze(1)).to(type);
}

at::Tensor TensorKernels::RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) const {
  return Normed(x.to(at::kFloat), weight, eps).to(x.scalar_type());
}

std::pair<at::Tensor, at::Tensor> TensorKernels::RmsNormBackward(const at::Tensor& x,
                                                                 const at::Tensor& weight,
                                                                 double eps,
                                                                 const at::Tensor& dy) const {
  const auto [dx, dw] = NormedBackward(x.to(at::kFloat), weight, eps, dy.to(at::kFloat));
  return {dx.to(x.scalar_type()), dw};
}

at::Tensor TensorKernels::PlaceHeads(const at::Tensor& qkv, HeadShape shape,
                                     const at::Tensor& q_norm, const at::Tensor& k_norm, double eps,
                                     const at::Tensor& cos, const at::Tensor& sin) const {
  const int64_t n = shape.heads, k = shape.kv_heads;
  at::Tensor heads =
      qkv.view({qkv.size(0), n + 2 * k, shape.dim}).narrow(1, 0, n + k).to(at::kFloat);
  if (q_norm.defined()) {
    heads = at::cat(
        {Normed(heads.narrow(1, 0, n), q_norm, eps), Normed(heads.narrow(1, n, k), k_norm, eps)},
        1);
  }
  return Turn(heads, cos, sin, 1).to(qkv.scalar_type()).view({qkv.size(0), -1});
}

TensorKernels::PlacedGradient TensorKernels::PlaceHeadsBackward(
    const at::Tensor& qkv, HeadShape shape, const at::Tensor& q_norm, const at::Tensor& k_norm,
    double eps, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& dqk,
    const at::Tensor& dv) const {
  const int64_t tokens = qkv.size(0), n = shape.heads, k = shape.kv_heads;
  PlacedGradient result;
  at::Tensor d = Turn(dqk.view({tokens, n + k, shape.dim}).to(at::kFloat), cos, sin, -1);
  if (q_norm.defined()) {
    const at::Tensor heads = qkv.view({tokens, n + 2 * k, shape.dim}).to(at::kFloat);
    at::Tensor dq, dk;
    std::tie(dq, result.q_norm) =
        NormedBackward(heads.narrow(1, 0, n), q_norm, eps, d.narrow(1, 0, n));
    std::tie(dk, result.k_norm) =
        NormedBackward(heads.narrow(1, n, k), k_norm, eps, d.narrow(1, n, k));
    d = at::cat({dq, dk}, 1);
  }
  result.qkv = at::cat({d.to(qkv.scalar_type()).view({tokens, -1}), dv}, 1);
  return result;
}

at::Tensor TensorKernels::Gate(const at::Tensor& gate_up) const {
  const std::vector<at::Tensor> parts = gate_up.chunk(2, 1);
  const at::Tensor gate = at::relu(parts[0]).to(at::kFloat);
  return (gate * gate * parts[1]).to(gate_up.scalar_type());
}

at::Tensor TensorKernels::GateBackward(const at::Tensor& gate_up, const at::Tensor& dy) const {
  const std::vector<at::Tensor> parts = gate_up.chunk(2, 1);
  const at::Tensor gate = at::relu(parts[0]).to(at::kFloat), d = dy.to(at::kFloat);
  return at::cat({d * parts[1] * 2 * gate, d * gate * gate}, 1).to(gate_up.scalar_type());
}

std::pair<at::Tensor, at::Tensor> TensorKernels::CrossEntropy(const at::Tensor& logits,
                                                              const at::Tensor& targets,
                                                              const at::Tensor& weights,
                                                              double scale, double z_loss,
                                                              at::ScalarType type) const {
  const at::Tensor counted = weights * (targets >= 0), index = targets.clamp_min(0).unsqueeze(1);
  const at::Tensor log_z = logits.logsumexp({1}), target = logits.gather(1, index).squeeze(1);
  const at::Tensor loss = (counted * (log_z - target + z_loss * log_z * log_z)).sum(at::kDouble);
  at::Tensor gradient =
      (logits - log_z.unsqueeze(1)).exp() * (counted * (1 + 2 * z_loss * log_z)).unsqueeze(1);
  gradient.scatter_add_(1, index, -counted.unsqueeze(1));
  return {loss, (gradient * scale).to(type)};
}

void TensorKernels::AdamW(const AdamWStep& a, const at::Tensor& gradient, const at::Tensor& w,
                          const at::Tensor& m, const at::Tensor& v,
                          const at::Tensor& average) const {
  const at::Tensor g = gradient * a.gradient_scale;
  m.mul_(a.beta1).add_(g, 1.0f - a.beta1);
  v.mul_(a.beta2).addcmul_(g, g, 1.0f - a.beta2);
  w.mul_(1.0f - a.learning_rate * a.weight_decay);
  w.sub_(a.learning_rate * (m / a.correction1) / ((v / a.correction2).sqrt() + a.epsilon));
  average.add_(w - average, 1.0f - a.average_decay);
}

void TensorKernels::AdamW8(const AdamWStep& step, const at::Tensor& gradient, const at::Tensor& w,
                           const TensorMoments8& moments, const at::Tensor& average) const {
  // As many values at once as bound the memory between.
  constexpr int64_t kValues = int64_t{1} << 22;
  static_assert(kValues % kMomentBlock == 0);
  const MomentTables first(true, w.device()), root(false, w.device());
  for (int64_t begin = 0; begin < w.size(0); begin += kValues) {
    const int64_t count = std::min(kValues, w.size(0) - begin);
    const auto part = [&](const at::Tensor& all) { return all.narrow(0, begin, count); };
    const auto scales = [&](const at::Tensor& all) {
      return all.narrow(0, begin / kMomentBlock, MomentBlocks(count));
    };
    const at::Tensor m_codes = part(moments.m_codes), m_scales = scales(moments.m_scales),
                     root_codes = part(moments.root_codes),
                     root_scales = scales(moments.root_scales);
    const at::Tensor m = first.Values(m_codes, m_scales),
                     v = root.Values(root_codes, root_scales).square_();
    AdamW(step, part(gradient), part(w), m.view({-1}).narrow(0, 0, count),
          v.view({-1}).narrow(0, 0, count), part(average));
    first.Store(m, m_codes, m_scales);
    root.Store(v.sqrt(), root_codes, root_scales);
  }
}

}  // namespace tritter
