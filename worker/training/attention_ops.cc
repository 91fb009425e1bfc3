#include "worker/training/attention_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "kernels/float_ops.h"
#include "kernels/training_attention.h"
#include "worker/training/attention_rule.h"
#include "worker/training/autograd_node.h"
#include "worker/training/layer_gradients.h"

namespace tritter {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// The numbers that both directions of attention need.
struct AttentionCall {
  const LayerContext* context;
  const AttentionSlots* slots;
  const RopeTables* rope;
  SequenceShape shape;
};

// The query heads of key head g in sequence b. rotated [T, (N + K) D], in [T, (N + 2K) D].
AttentionGroup GroupAt(const ModelConfig& config, const float* rotated, const float* in,
                       SequenceShape shape, int64_t b, int64_t g) {
  const int64_t n = config.heads, k = config.kv_heads, d = config.head_dim, row = b * shape.length;
  AttentionGroup group;
  group.heads = n / k;
  group.d = d;
  group.q_stride = group.k_stride = (n + k) * d;
  group.v_stride = (n + 2 * k) * d;
  group.q = rotated + row * group.q_stride + g * group.heads * d;
  group.k = rotated + row * group.k_stride + (n + g) * d;
  group.v = in + row * group.v_stride + (n + k + g) * d;
  const int32_t* documents = shape.document_start;
  group.mask = MaskOf(config, shape.length, documents == nullptr ? nullptr : documents + row);
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
    call.context->parallel->Run(
        call.shape.sequences * k, [&](int part, int64_t first, int64_t end) {
          for (int64_t i = first; i < end; ++i) {
            const int64_t b = i / k, g = i % k, row = b * length;
            AttentionForward(GroupAt(config, rotated, in, call.shape, b, g),
                             buffer.data() + part * scratch,
                             out.mutable_data_ptr<float>() + (row * n + g * group) * d, n * d,
                             lse.mutable_data_ptr<float>() + (b * n + g * group) * length);
          }
        });
    ctx->saved_data["context"] = Address(call.context);
    ctx->saved_data["slots"] = Address(call.slots);
    ctx->saved_data["rope"] = Address(call.rope);
    ctx->saved_data["sequences"] = call.shape.sequences;
    ctx->saved_data["document_start"] = Address(call.shape.document_start);
    ctx->save_for_backward({qkv, qk, out, lse});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto* context = Saved<const LayerContext>(ctx, "context");
    const auto* slots = Saved<const AttentionSlots>(ctx, "slots");
    const auto* rope = Saved<const RopeTables>(ctx, "rope");
    const ModelConfig& config = *context->config;
    const variable_list saved = ctx->get_saved_variables();
    const int64_t n = config.heads, k = config.kv_heads, d = config.head_dim, group = n / k;
    const int64_t tokens = saved[0].size(0), sequences = ctx->saved_data["sequences"].toInt(),
                  length = tokens / sequences;
    const SequenceShape shape{sequences, length, Saved<const int32_t>(ctx, "document_start")};
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
        AttentionBackward(GroupAt(config, rotated, in, shape, b, g), out + at, n * d,
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

at::Tensor Attention(const LayerContext& context, const AttentionSlots& slots,
                     const RopeTables& rope, SequenceShape shape, const at::Tensor& qkv) {
  return AttentionFunction::apply(qkv, AttentionCall{&context, &slots, &rope, shape});
}

}  // namespace tritter
