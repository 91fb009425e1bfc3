#include "worker/cuda/cuda_kernels.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda/training_kernels.h"

namespace tritter {
namespace {

cudaStream_t Stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

cuda::Values Of(const at::Tensor& t) {
  TORCH_CHECK(t.is_contiguous(), "a kernel got a tensor with gaps");
  TORCH_CHECK(t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16, "a kernel got ",
              t.scalar_type(), ", expected float or bfloat16");
  return {t.data_ptr(), t.scalar_type() == at::kFloat ? cuda::Type::kFloat : cuda::Type::kBf16};
}
const float* FloatsOrNull(const at::Tensor& t) {
  return t.defined() ? t.data_ptr<float>() : nullptr;
}

class Kernels final : public TensorKernels {
 public:
  std::string name() const override { return "CUDA kernels"; }

  at::Tensor FloatProduct(const at::Tensor& a, const at::Tensor& b) const override {
    return a.scalar_type() == at::kFloat ? at::mm(a, b) : at::mm(a, b, at::kFloat);
  }

  void FloatProductInto(const at::Tensor& a, const at::Tensor& b, bool add,
                        const at::Tensor& out) const override {
    at::Tensor target = out;
    if (add) {
      target.add_(FloatProduct(a, b));
    } else if (a.scalar_type() == at::kFloat) {
      at::mm_out(target, a, b);
    } else {
      at::mm_out(target, a, b, at::kFloat);
    }
  }

  QuantisedRows QuantiseRows(const at::Tensor& x, const at::Tensor& norm,
                             double eps) const override {
    const QuantisedRows rows = {at::empty(x.sizes(), x.options().dtype(at::kChar)),
                                at::empty({x.size(0)}, x.options().dtype(at::kFloat))};
    cuda::QuantiseRows(Of(x), FloatsOrNull(norm), static_cast<float>(eps), x.size(0), x.size(1),
                       rows.codes.mutable_data_ptr<int8_t>(), rows.factor.mutable_data_ptr<float>(),
                       Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return rows;
  }

  QuantisedRows QuantiseMatrix(const at::Tensor& w, const std::vector<int64_t>& parts,
                               const ModelConfig& config, const at::Tensor& scale) const override {
    at::Tensor mean = at::empty({w.size(0)}, w.options());
    cuda::MeanMagnitudeRows(w.data_ptr<float>(), w.size(0), w.size(1),
                            mean.mutable_data_ptr<float>(), Stream());
    if (config.granularity == ScaleGranularity::kTensor) {
      for (const at::Tensor& part : mean.split_with_sizes(parts))
        part.copy_(part.mean().expand_as(part));
    }
    const bool threshold = config.weight_rule == WeightRule::kThreshold;
    if (!threshold) mean.clamp_min_(1e-5);
    const at::Tensor codes = at::empty(w.sizes(), w.options().dtype(at::kChar));
    cuda::TernaryRows(w.data_ptr<float>(), mean.data_ptr<float>(), threshold, w.size(0), w.size(1),
                      codes.mutable_data_ptr<int8_t>(), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {codes, threshold ? scale : mean};
  }

  at::Tensor QuantisedProduct(const QuantisedRows& x, const QuantisedRows& w,
                              at::ScalarType type) const override {
    const int64_t rows = x.codes.size(0), in = x.codes.size(1), out = w.codes.size(0);
    // Both ways are exact: int8 on the tensor cores where cuBLAS takes the shape, else codes in
    // BF16 summed in float.
    const bool integers = rows > 16 && in % 8 == 0 && out % 8 == 0;
    const at::Tensor sums =
        integers ? at::_int_mm(x.codes, w.codes.t())
                 : at::mm(x.codes.to(at::kBFloat16), w.codes.to(at::kBFloat16).t(), at::kFloat);
    const at::Tensor y = at::empty({rows, out}, sums.options().dtype(type));
    cuda::ScaleProduct(sums.const_data_ptr(), !integers, w.factor.data_ptr<float>(),
                       x.factor.data_ptr<float>(), rows, out, Of(y), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  at::Tensor Dequantise(const QuantisedRows& rows, at::ScalarType type) const override {
    const at::Tensor y = at::empty(rows.codes.sizes(), rows.codes.options().dtype(type));
    cuda::DequantiseRows(rows.codes.data_ptr<int8_t>(), rows.factor.data_ptr<float>(),
                         rows.codes.size(0), rows.codes.size(1), Of(y), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) const override {
    const at::Tensor y = at::empty_like(x);
    cuda::RmsNormRows(Of(x), weight.data_ptr<float>(), static_cast<float>(eps), x.size(0),
                      x.size(1), Of(y), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  std::pair<at::Tensor, at::Tensor> RmsNormBackward(const at::Tensor& x, const at::Tensor& weight,
                                                    double eps,
                                                    const at::Tensor& dy) const override {
    const at::Tensor dx = at::empty_like(x);
    const at::Tensor partial =
        at::empty({cuda::PartialRows(x.size(0)), x.size(1)}, weight.options());
    cuda::RmsNormBackwardRows(Of(x), weight.data_ptr<float>(), static_cast<float>(eps), Of(dy),
                              x.size(0), x.size(1), Of(dx), partial.mutable_data_ptr<float>(),
                              Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {dx, partial.sum(0)};
  }

  at::Tensor PlaceHeads(const at::Tensor& qkv, HeadShape shape, const at::Tensor& q_norm,
                        const at::Tensor& k_norm, double eps, const at::Tensor& cos,
                        const at::Tensor& sin) const override {
    const at::Tensor placed =
        at::empty({qkv.size(0), (shape.heads + shape.kv_heads) * shape.dim}, qkv.options());
    cuda::PlaceHeads(Rows(qkv, shape, q_norm, k_norm, eps, cos, sin), Of(qkv), Of(placed),
                     Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return placed;
  }

  PlacedGradient PlaceHeadsBackward(const at::Tensor& qkv, HeadShape shape,
                                    const at::Tensor& q_norm, const at::Tensor& k_norm, double eps,
                                    const at::Tensor& cos, const at::Tensor& sin,
                                    const at::Tensor& dqk, const at::Tensor& dv) const override {
    const cuda::HeadRows rows = Rows(qkv, shape, q_norm, k_norm, eps, cos, sin);
    PlacedGradient result;
    result.qkv = at::empty_like(qkv);
    at::Tensor partial;
    if (q_norm.defined())
      partial = at::empty({cuda::PlacePartialRows(rows), 2, shape.dim}, q_norm.options());
    cuda::PlaceHeadsBackward(rows, Of(qkv), Of(dqk), Of(result.qkv),
                             partial.defined() ? partial.mutable_data_ptr<float>() : nullptr,
                             Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    result.qkv.narrow(1, dqk.size(1), dv.size(1)).copy_(dv);
    if (partial.defined()) {
      const at::Tensor sum = partial.sum(0);
      result.q_norm = sum[0];
      result.k_norm = sum[1];
    }
    return result;
  }

  at::Tensor Gate(const at::Tensor& gate_up) const override {
    const int64_t rows = gate_up.size(0), n = gate_up.size(1) / 2;
    const at::Tensor y = at::empty({rows, n}, gate_up.options());
    cuda::GateRows(Of(gate_up), rows, n, Of(y), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  at::Tensor GateBackward(const at::Tensor& gate_up, const at::Tensor& dy) const override {
    const at::Tensor d = at::empty_like(gate_up);
    cuda::GateBackwardRows(Of(gate_up), Of(dy), dy.size(0), dy.size(1), Of(d), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return d;
  }

  std::pair<at::Tensor, at::Tensor> CrossEntropy(const at::Tensor& logits,
                                                 const at::Tensor& targets,
                                                 const at::Tensor& weights, double scale,
                                                 double z_loss,
                                                 at::ScalarType type) const override {
    const int64_t rows = logits.size(0);
    const at::Tensor loss = at::empty({rows}, logits.options().dtype(at::kDouble));
    const at::Tensor gradient = at::empty(logits.sizes(), logits.options().dtype(type));
    cuda::CrossEntropyRows(logits.data_ptr<float>(), targets.data_ptr<int64_t>(),
                           weights.data_ptr<float>(), static_cast<float>(scale), z_loss, rows,
                           logits.size(1), loss.mutable_data_ptr<double>(), Of(gradient), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {loss.sum(), gradient};
  }

  void AdamW(const AdamWStep& step, const at::Tensor& gradient, const at::Tensor& w,
             const at::Tensor& m, const at::Tensor& v, const at::Tensor& average) const override {
    cuda::AdamW(step, gradient.data_ptr<float>(), w.numel(), w.mutable_data_ptr<float>(),
                m.mutable_data_ptr<float>(), v.mutable_data_ptr<float>(),
                average.mutable_data_ptr<float>(), Stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

 private:
  static cuda::HeadRows Rows(const at::Tensor& qkv, HeadShape shape, const at::Tensor& q_norm,
                             const at::Tensor& k_norm, double eps, const at::Tensor& cos,
                             const at::Tensor& sin) {
    TORCH_CHECK(shape.dim <= 256, "heads of ", shape.dim, " are wider than the kernels' 256");
    return {qkv.size(0),           shape.heads,
            shape.kv_heads,        shape.dim,
            cos.size(0),           FloatsOrNull(q_norm),
            FloatsOrNull(k_norm),  cos.data_ptr<float>(),
            sin.data_ptr<float>(), static_cast<float>(eps)};
  }
};

}  // namespace

const TensorKernels& CudaKernels() {
  static const auto* kernels = new Kernels;
  return *kernels;
}

}  // namespace tritter
