#include "worker/training/qat_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "kernels/float_ops.h"
#include "kernels/training_ops.h"
#include "worker/training/autograd_node.h"
#include "worker/training/layer_gradients.h"

namespace tritter {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct AddNormFunction : torch::autograd::Function<AddNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& a,
                            const std::optional<at::Tensor>& b, const LayerContext* context,
                            const NormSlot* slot) {
    const at::Tensor x = b.has_value() ? a + *b : a;
    at::Tensor y = at::empty(x.sizes());
    const int64_t n = slot->width;
    context->parallel->Run(x.size(0), [&](int, int64_t first, int64_t end) {
      NormRows(*slot, context->parameters->weight(), Epsilon(*context),
               x.data_ptr<float>() + first * n, end - first,
               y.mutable_data_ptr<float>() + first * n);
    });
    ctx->saved_data["context"] = Address(context);
    ctx->saved_data["slot"] = Address(slot);
    ctx->saved_data["two"] = b.has_value();
    ctx->save_for_backward({x});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto* context = Saved<const LayerContext>(ctx, "context");
    const auto* slot = Saved<const NormSlot>(ctx, "slot");
    const at::Tensor x = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    at::Tensor dx = at::empty(x.sizes());
    const int64_t n = slot->width;
    std::vector<float> dparameters(slot->size() * context->parallel->parts(), 0.0f);
    context->parallel->Run(x.size(0), [&](int part, int64_t first, int64_t end) {
      NormBackwardRows(*slot, context->parameters->weight(), Epsilon(*context),
                       x.data_ptr<float>() + first * n, dy.data_ptr<float>() + first * n,
                       end - first, dx.mutable_data_ptr<float>() + first * n,
                       dparameters.data() + part * slot->size());
    });
    CommitParts(*context, slot->offset, slot->size(), dparameters);
    return {dx, ctx->saved_data["two"].toBool() ? dx : at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct AddBiasFunction : torch::autograd::Function<AddBiasFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& y, const LayerContext* context,
                            const ParameterSlot* slot) {
    at::Tensor sum = y.clone();
    const float* bias = context->parameters->weight() + slot->offset;
    context->parallel->Run(y.size(0), [&](int, int64_t first, int64_t end) {
      float* rows = sum.mutable_data_ptr<float>();
      for (int64_t t = first; t < end; ++t) AddRow(bias, slot->size, rows + t * slot->size);
    });
    ctx->saved_data["context"] = Address(context);
    ctx->saved_data["slot"] = Address(slot);
    return sum;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto* context = Saved<const LayerContext>(ctx, "context");
    const auto* slot = Saved<const ParameterSlot>(ctx, "slot");
    const at::Tensor dy = grads[0].contiguous();
    std::vector<float> parts(slot->size * context->parallel->parts(), 0.0f);
    context->parallel->Run(dy.size(0), [&](int part, int64_t first, int64_t end) {
      for (int64_t t = first; t < end; ++t)
        AddRow(dy.data_ptr<float>() + t * slot->size, slot->size, &parts[part * slot->size]);
    });
    CommitParts(*context, slot->offset, slot->size, parts);
    return {dy, at::Tensor(), at::Tensor()};
  }
};

struct GatedRelu2Function : torch::autograd::Function<GatedRelu2Function> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up,
                            const LayerContext* context) {
    const int64_t inner = gate_up.size(1) / 2;
    at::Tensor h = at::empty({gate_up.size(0), inner});
    context->parallel->Run(gate_up.size(0), [&](int, int64_t first, int64_t end) {
      for (int64_t t = first; t < end; ++t) {
        const float* row = gate_up.data_ptr<float>() + t * 2 * inner;
        Relu2Mul(row, row + inner, inner, h.mutable_data_ptr<float>() + t * inner);
      }
    });
    ctx->saved_data["context"] = Address(context);
    ctx->save_for_backward({gate_up});
    return h;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto* context = Saved<const LayerContext>(ctx, "context");
    const at::Tensor gate_up = ctx->get_saved_variables()[0], dh = grads[0].contiguous();
    at::Tensor dx = at::empty(gate_up.sizes());
    const int64_t inner = gate_up.size(1) / 2;
    context->parallel->Run(gate_up.size(0), [&](int, int64_t first, int64_t end) {
      for (int64_t t = first; t < end; ++t) {
        const float* row = gate_up.data_ptr<float>() + t * 2 * inner;
        float* d = dx.mutable_data_ptr<float>() + t * 2 * inner;
        Relu2MulBackward(row, row + inner, dh.data_ptr<float>() + t * inner, inner, d, d + inner);
      }
    });
    return {dx, at::Tensor()};
  }
};

}  // namespace

at::Tensor AddNorm(const LayerContext& context, const NormSlot& slot, const at::Tensor& a,
                   const at::Tensor& b) {
  return AddNormFunction::apply(a, b.defined() ? std::optional<at::Tensor>(b) : std::nullopt,
                                &context, &slot);
}
at::Tensor AddBias(const LayerContext& context, const ParameterSlot& slot, const at::Tensor& y) {
  return AddBiasFunction::apply(y, &context, &slot);
}
at::Tensor GatedRelu2(const LayerContext& context, const at::Tensor& gate_up) {
  return GatedRelu2Function::apply(gate_up, &context);
}

}  // namespace tritter
