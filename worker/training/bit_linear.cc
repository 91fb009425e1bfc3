#include "worker/training/bit_linear.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "kernels/float_ops.h"
#include "kernels/training_ops.h"

namespace tritter {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct BitLinearFunction : torch::autograd::Function<BitLinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, BitLinear* layer) {
    layer->RefreshCodes();
    ctx->saved_data["layer"] = reinterpret_cast<int64_t>(layer);
    if (!layer->quantises_activations()) {
      ctx->save_for_backward({x});
      return layer->MultiplyPlain(x);
    }
    at::Tensor x8 = at::empty(x.sizes(), at::kChar), inv = at::empty({x.size(0)});
    layer->context_.parallel->Run(x.size(0), [&](int, int64_t first, int64_t end) {
      const int64_t n = layer->in_;
      QuantiseRows(x.data_ptr<float>() + first * n, end - first, n,
                   x8.mutable_data_ptr<int8_t>() + first * n, n,
                   inv.mutable_data_ptr<float>() + first);
    });
    ctx->save_for_backward({x8, inv});
    return layer->quantises_weights() ? layer->Multiply(x8, inv)
                                      : layer->MultiplyPlain(layer->Dequantise(x8, inv));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    auto* layer = reinterpret_cast<BitLinear*>(ctx->saved_data["layer"].toInt());
    const variable_list saved = ctx->get_saved_variables();
    return {
        layer->Backward(saved[0], saved.size() > 1 ? saved[1] : at::Tensor(), dy[0].contiguous()),
        at::Tensor()};
  }
};

namespace {
bool HasDotProductInstructions() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512vnni") || __builtin_cpu_supports("avxvnni");
#else
  return false;
#endif
}

IntegerGemm ChooseIntegerGemm() {
  if (!HasDotProductInstructions()) return IntegerGemm::kFloat;
  try {
    // The extreme operands: a kernel that saturates on the way shows here.
    const at::Tensor x = at::full({33, 200}, -128, at::kChar), q = at::ones({48, 200}, at::kChar);
    const at::Tensor y = at::_int_mm(x, q.t());
    return y.eq(-128 * 200).all().item<bool>() ? IntegerGemm::kInt8 : IntegerGemm::kFloat;
  } catch (const c10::Error&) {
    return IntegerGemm::kFloat;
  }
}
}  // namespace

IntegerGemm BestIntegerGemm() {
  static const IntegerGemm best = ChooseIntegerGemm();
  return best;
}

absl::StatusOr<std::unique_ptr<Linear>> BitLinear::Create(const LayerContext& context,
                                                          const LinearRequest& request) {
  ASSIGN_OR_RETURN(ParameterSlot slot, context.parameters->FindAdjacent(request.names));
  std::vector<int64_t> part_rows;
  for (const std::string& name : request.names) {
    ASSIGN_OR_RETURN(const ParameterSlot* part, context.parameters->Find(name));
    part_rows.push_back(part->spec.shape[0]);
  }
  ParameterSlot scales;
  if (context.config->weight_rule == WeightRule::kThreshold) {
    std::vector<std::string> names;
    for (const std::string& name : request.names)
      names.push_back(absl::StrCat(absl::StripSuffix(name, ".weight"), ".scale"));
    ASSIGN_OR_RETURN(scales, context.parameters->FindAdjacent(names));
  }
  return std::unique_ptr<Linear>(
      new BitLinear(context, std::move(slot), std::move(part_rows), std::move(scales)));
}

BitLinear::BitLinear(const LayerContext& context, ParameterSlot slot,
                     std::vector<int64_t> part_rows, ParameterSlot scale_slot)
    : context_(context),
      slot_(std::move(slot)),
      part_rows_(std::move(part_rows)),
      scale_slot_(std::move(scale_slot)),
      in_(slot_.spec.shape[1]),
      out_(slot_.spec.shape[0]),
      // Sums of floats that hold integers are exact below 2^24 only.
      gemm_(127 * in_ < (1 << 24) ? BestIntegerGemm() : IntegerGemm::kInt8) {}

at::Tensor BitLinear::Forward(const at::Tensor& x) { return BitLinearFunction::apply(x, this); }

void BitLinear::RefreshCodes() {
  if (!quantises_weights() || version_ == context_.parameters->version()) return;
  if (!codes_.defined()) {
    codes_ = at::empty({out_, in_}, at::kChar);
    scales_ = at::empty({out_});
  }
  const float* w = context_.parameters->weight() + slot_.offset;
  int8_t* q = codes_.mutable_data_ptr<int8_t>();
  float* scales = scales_.mutable_data_ptr<float>();
  const bool per_row = context_.config->granularity == ScaleGranularity::kRow;
  if (scale_slot_.size > 0) {
    const float* learned = context_.parameters->weight() + scale_slot_.offset;
    std::copy(learned, learned + out_, scales);
    // One threshold a row, or with granularity tensor one a matrix.
    if (per_row) {
      context_.parallel->Run(out_, [&](int, int64_t first, int64_t end) {
        QuantiseByThreshold(w + first * in_, end - first, in_, true, q + first * in_);
      });
    } else {
      for (int64_t rows : part_rows_) {
        QuantiseByThreshold(w, rows, in_, false, q);
        w += rows * in_;
        q += rows * in_;
      }
    }
  } else if (per_row) {
    context_.parallel->Run(out_, [&](int, int64_t first, int64_t end) {
      QuantiseWeightRows(w + first * in_, end - first, in_, true, q + first * in_, scales + first);
    });
  } else {
    for (int64_t rows : part_rows_) {
      QuantiseWeightRows(w, rows, in_, false, q, scales);
      std::fill(scales + 1, scales + rows, scales[0]);
      w += rows * in_;
      q += rows * in_;
      scales += rows;
    }
  }
  version_ = context_.parameters->version();
}

at::Tensor BitLinear::Multiply(const at::Tensor& x8, const at::Tensor& inv) {
  const int64_t tokens = x8.size(0);
  at::Tensor y = at::empty({tokens, out_});
  float* result = y.mutable_data_ptr<float>();
  const float* scales = scales_.data_ptr<float>();
  const float* inverse = inv.data_ptr<float>();
  if (gemm_ == IntegerGemm::kInt8) {
    context_.parallel->Run(tokens, [&](int, int64_t first, int64_t end) {
      if (first == end) return;
      OneLibTorchThread();
      const at::Tensor acc = at::_int_mm(x8.narrow(0, first, end - first), codes_.t());
      ApplyScalesRows(acc.data_ptr<int32_t>(), scales, true, inverse + first, end - first, out_,
                      result + first * out_);
    });
  } else {
    const at::Tensor x = x8.to(at::kFloat);
    MatrixProduct product{tokens, out_, in_, {x.data_ptr<float>(), nullptr, in_}, WeightOperand()};
    product.b.transposed = true;
    product.c = result;
    context_.products->RunExact(product);
    context_.parallel->Run(tokens, [&](int, int64_t first, int64_t end) {
      ApplyScalesFloatRows(result + first * out_, scales, true, inverse + first, end - first, out_,
                           result + first * out_);
    });
  }
  return y;
}

at::Tensor BitLinear::Dequantise(const at::Tensor& x8, const at::Tensor& inv) {
  at::Tensor x = at::empty(x8.sizes());
  context_.parallel->Run(x8.size(0), [&](int, int64_t first, int64_t end) {
    DequantiseCodes(x8.data_ptr<int8_t>() + first * in_, inv.data_ptr<float>() + first, true,
                    end - first, in_, x.mutable_data_ptr<float>() + first * in_);
  });
  return x;
}

GemmOperand BitLinear::WeightOperand() const {
  GemmOperand w;
  w.stride = in_;
  if (quantises_weights()) {
    w.i8 = codes_.data_ptr<int8_t>();
  } else {
    w.f32 = context_.parameters->weight() + slot_.offset;
  }
  return w;
}
const float* BitLinear::WeightScales() const {
  return quantises_weights() ? scales_.data_ptr<float>() : nullptr;
}

at::Tensor BitLinear::MultiplyPlain(const at::Tensor& x) {
  at::Tensor y = at::empty({x.size(0), out_});
  MatrixProduct product{x.size(0), out_, in_, {x.data_ptr<float>(), nullptr, in_}, WeightOperand()};
  product.b.transposed = true;
  product.n_scale = WeightScales();
  product.c = y.mutable_data_ptr<float>();
  context_.products->Run(product);
  return y;
}

at::Tensor BitLinear::Backward(const at::Tensor& x, const at::Tensor& inv, const at::Tensor& dy) {
  const int64_t tokens = dy.size(0);
  const float* const d = dy.data_ptr<float>();
  float* gradient = context_.sink->Begin(slot_.offset, slot_.size);
  MatrixProduct dw{out_, in_, tokens, {d, nullptr, out_, /*transposed=*/true}, {}};
  dw.b.stride = in_;
  if (inv.defined()) {
    dw.b.i8 = x.data_ptr<int8_t>();
    dw.k_scale = inv.data_ptr<float>();
  } else {
    dw.b.f32 = x.data_ptr<float>();
  }
  dw.c = gradient;
  context_.products->Run(dw);
  std::vector<float> scale_gradient;
  if (scale_slot_.size > 0) scale_gradient = ScaleGradient(gradient);
  context_.sink->Commit(slot_.offset, slot_.size);
  if (scale_slot_.size > 0) {
    std::copy(scale_gradient.begin(), scale_gradient.end(),
              context_.sink->Begin(scale_slot_.offset, scale_slot_.size));
    context_.sink->Commit(scale_slot_.offset, scale_slot_.size);
  }
  at::Tensor dx = at::empty({tokens, in_});
  MatrixProduct product{tokens, in_, out_, {d, nullptr, out_}, WeightOperand()};
  product.k_scale = WeightScales();
  product.c = dx.mutable_data_ptr<float>();
  context_.products->Run(product);
  return dx;
}

std::vector<float> BitLinear::ScaleGradient(const float* dw) {
  std::vector<float> sums(out_);
  context_.parallel->Run(out_, [&](int, int64_t first, int64_t end) {
    DotCodeRows(codes_.data_ptr<int8_t>() + first * in_, dw + first * in_, end - first, in_,
                sums.data() + first);
  });
  return sums;
}

LinearFactory BitLinearFactory(const LayerContext& context) {
  return [context](const LinearRequest& request) { return BitLinear::Create(context, request); };
}

}  // namespace tritter
