#include "worker/training/qat_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "kernels/float_ops.h"
#include "kernels/training_attention.h"
#include "kernels/training_ops.h"

namespace tritter {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

template <typename T>
int64_t Address(const T* object) {
  return reinterpret_cast<int64_t>(object);
}
template <typename T>
const T* Saved(AutogradContext* ctx, const char* key) {
  return reinterpret_cast<const T*>(ctx->saved_data[key].toInt());
}

// Sums the parts' partial gradients [size] of one range into the sink, in order of the parts.
void CommitParts(const LayerContext& context, int64_t offset, int64_t size,
                 const std::vector<float>& parts) {
  float* sum = context.sink->Begin(offset, size);
  std::copy_n(parts.begin(), size, sum);
  for (size_t at = size; at < parts.size(); at += size) AddRow(parts.data() + at, size, sum);
  context.sink->Commit(offset, size);
}

float Epsilon(const LayerContext& context) { return static_cast<float>(context.config->norm_eps); }

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
    const auto* context = Saved<LayerContext>(ctx, "context");
    const auto* slot = Saved<NormSlot>(ctx, "slot");
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
    const auto* context = Saved<LayerContext>(ctx, "context");
    const auto* slot = Saved<ParameterSlot>(ctx, "slot");
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

// The numbers that both directions of attention need.
struct AttentionCall {
  const LayerContext* context;
  const AttentionSlots* slots;
  const RopeTables* rope;
  SequenceShape shape;
};

// The query heads of key head g in sequence b. rotated [T, (N + K) D], in [T, (N + 2K) D].
AttentionGroup GroupAt(const ModelConfig& config, const float* rotated, const float* in, int64_t b,
                       int64_t g, int64_t length) {
  const int64_t n = config.heads, k = config.kv_heads, d = config.head_dim, row = b * length;
  AttentionGroup group;
  group.heads = n / k;
  group.d = d;
  group.q_stride = group.k_stride = (n + k) * d;
  group.v_stride = (n + 2 * k) * d;
  group.q = rotated + row * group.q_stride + g * group.heads * d;
  group.k = rotated + row * group.k_stride + (n + g) * d;
  group.v = in + row * group.v_stride + (n + k + g) * d;
  group.mask.length = length;
  return group;
}

struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv,
                            const AttentionCall& call) {
    const ModelConfig& config = *call.context->config;
    const int64_t n = config.heads, k = config.kv_heads, d = config.head_dim,
                  length = call.shape.length;
    const int64_t width = (n + 2 * k) * d, heads = n + k, tokens = qkv.size(0);
    const float eps = Epsilon(*call.context);
    const float* weight = call.context->parameters->weight();
    const NormSlot &q_norm = call.slots->q_norm, &k_norm = call.slots->k_norm;
    // Normalised and rotated q and k, [T, N + K, D]; v stays where it is.
    at::Tensor qk = at::empty({tokens, heads * d}), out = at::empty({tokens, n * d});
    at::Tensor lse = at::empty({call.shape.sequences, n, length});
    const float* in = qkv.data_ptr<float>();
    float* rotated = qk.mutable_data_ptr<float>();
    call.context->parallel->Run(tokens, [&](int, int64_t first, int64_t end) {
      for (int64_t t = first; t < end; ++t) {
        float* row = rotated + t * heads * d;
        if (q_norm.width > 0) {
          NormRows(q_norm, weight, eps, in + t * width, n, row);
          NormRows(k_norm, weight, eps, in + t * width + n * d, k, row + n * d);
        } else {
          std::copy_n(in + t * width, heads * d, row);
        }
        const int64_t at = t % length * (d / 2);
        for (int64_t h = 0; h < heads; ++h)
          RopeInPlace(row + h * d, &call.rope->cos[at], &call.rope->sin[at], d);
      }
    });
    const int64_t scratch = AttentionScratch(length, d), group = n / k;
    FloatBuffer buffer(scratch * call.context->parallel->parts());
    // One key head with all its query heads at a time.
    call.context->parallel->Run(call.shape.sequences * k, [&](int part, int64_t first,
                                                              int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const int64_t b = i / k, g = i % k, row = b * length;
        AttentionForward(GroupAt(config, rotated, in, b, g, length), buffer.data() + part * scratch,
                         out.mutable_data_ptr<float>() + (row * n + g * group) * d, n * d,
                         lse.mutable_data_ptr<float>() + (b * n + g * group) * length);
      }
    });
    ctx->saved_data["context"] = Address(call.context);
    ctx->saved_data["slots"] = Address(call.slots);
    ctx->saved_data["rope"] = Address(call.rope);
    ctx->saved_data["sequences"] = call.shape.sequences;
    ctx->save_for_backward({qkv, qk, out, lse});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto* context = Saved<LayerContext>(ctx, "context");
    const auto* slots = Saved<AttentionSlots>(ctx, "slots");
    const auto* rope = Saved<RopeTables>(ctx, "rope");
    const ModelConfig& config = *context->config;
    const variable_list saved = ctx->get_saved_variables();
    const int64_t n = config.heads, k = config.kv_heads, d = config.head_dim, group = n / k;
    const int64_t tokens = saved[0].size(0), sequences = ctx->saved_data["sequences"].toInt(),
                  length = tokens / sequences;
    const int64_t width = (n + 2 * k) * d, heads = n + k;
    const at::Tensor dout = grads[0].contiguous();
    at::Tensor dqkv = at::empty({tokens, width});
    const float* in = saved[0].data_ptr<float>();
    const float* rotated = saved[1].data_ptr<float>();
    const float* out = saved[2].data_ptr<float>();
    const float* lse = saved[3].data_ptr<float>();
    float* d_in = dqkv.mutable_data_ptr<float>();
    const int64_t scratch = AttentionScratch(length, d);
    FloatBuffer buffer(scratch * context->parallel->parts());
    context->parallel->Run(sequences * k, [&](int part, int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const int64_t b = i / k, g = i % k, row = b * length, at = (row * n + g * group) * d;
        AttentionBackward(GroupAt(config, rotated, in, b, g, length), out + at, n * d,
                          lse + (b * n + g * group) * length, dout.data_ptr<float>() + at, n * d,
                          buffer.data() + part * scratch, d_in + row * width + g * group * d,
                          d_in + row * width + (n + g) * d, d_in + row * width + (n + k + g) * d,
                          width);
      }
    });
    const float eps = Epsilon(*context);
    const float* weight = context->parameters->weight();
    const NormSlot &q_norm = slots->q_norm, &k_norm = slots->k_norm;
    const int parts = context->parallel->parts();
    std::vector<float> dq_norm(q_norm.size() * parts, 0.0f), dk_norm(k_norm.size() * parts, 0.0f);
    context->parallel->Run(tokens, [&](int part, int64_t first, int64_t end) {
      for (int64_t t = first; t < end; ++t) {
        float* row = d_in + t * width;
        const int64_t at = t % length * (d / 2);
        for (int64_t h = 0; h < heads; ++h)
          RopeInPlace(row + h * d, &rope->cos[at], &rope->minus_sin[at], d);
        if (q_norm.width == 0) continue;
        NormBackwardRows(q_norm, weight, eps, in + t * width, row, n, row,
                         dq_norm.data() + part * q_norm.size());
        NormBackwardRows(k_norm, weight, eps, in + t * width + n * d, row + n * d, k, row + n * d,
                         dk_norm.data() + part * k_norm.size());
      }
    });
    if (q_norm.width > 0) {
      CommitParts(*context, q_norm.offset, q_norm.size(), dq_norm);
      CommitParts(*context, k_norm.offset, k_norm.size(), dk_norm);
    }
    return {dqkv, at::Tensor()};
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
    const auto* context = Saved<LayerContext>(ctx, "context");
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

RopeTables MakeRopeTables(const ModelConfig& config, int64_t first_position, int64_t length) {
  RopeTables tables;
  const int64_t half = config.head_dim / 2;
  tables.cos.resize(length * half);
  tables.sin.resize(length * half);
  RopeTable(config.rope_theta, config.head_dim, first_position, length, tables.cos.data(),
            tables.sin.data());
  tables.minus_sin.reserve(tables.sin.size());
  for (float s : tables.sin) tables.minus_sin.push_back(-s);
  return tables;
}

at::Tensor AddNorm(const LayerContext& context, const NormSlot& slot, const at::Tensor& a,
                   const at::Tensor& b) {
  return AddNormFunction::apply(a, b.defined() ? std::optional<at::Tensor>(b) : std::nullopt,
                                &context, &slot);
}
at::Tensor AddBias(const LayerContext& context, const ParameterSlot& slot, const at::Tensor& y) {
  return AddBiasFunction::apply(y, &context, &slot);
}
at::Tensor CausalAttention(const LayerContext& context, const AttentionSlots& slots,
                           const RopeTables& rope, SequenceShape shape, const at::Tensor& qkv) {
  return AttentionFunction::apply(qkv, AttentionCall{&context, &slots, &rope, shape});
}
at::Tensor GatedRelu2(const LayerContext& context, const at::Tensor& gate_up) {
  return GatedRelu2Function::apply(gate_up, &context);
}

}  // namespace tritter
