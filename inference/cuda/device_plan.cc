#include "inference/cuda/device_plan.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/ternary_layout.h"

namespace tritter {
namespace {

constexpr int64_t kAlignment = 256;

}  // namespace

DeviceLayerLayout LayoutOfLayer(const ModelConfig& c) {
  const int64_t query = c.heads * c.head_dim, key = c.kv_heads * c.head_dim;
  DeviceLayerLayout l;
  const auto place = [&](int64_t bytes) {
    const int64_t at = l.bytes;
    l.bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  };
  const auto matrix = [&](int64_t rows, int64_t cols) {
    const int64_t words = place(4 * cuda::GpuTernaryWords(rows, cols));
    return DeviceLayerLayout::Matrix{rows, cols, words, place(4 * cuda::GpuTernaryScales(rows))};
  };
  l.norm_in = place(4 * c.hidden);
  l.norm_post = place(4 * c.hidden);
  if (c.qk_norm()) {
    l.q_norm = place(4 * c.head_dim);
    l.k_norm = place(4 * c.head_dim);
  }
  if (c.sub_norms()) {
    l.attn_sub_norm = place(4 * query);
    l.ffn_sub_norm = place(4 * c.ffn);
  }
  l.qkv = matrix(query + 2 * key, c.hidden);
  l.o = matrix(c.hidden, query);
  l.gate_up = matrix(cuda::GpuHalvesRows(c.ffn), c.hidden);
  l.down = matrix(c.hidden, c.ffn);
  return l;
}

cuda::RowType DeviceRowType(TpackType type) {
  return type == TpackType::kBF16      ? cuda::RowType::kBf16
         : type == TpackType::kRowInt8 ? cuda::RowType::kInt8
         : type == TpackType::kRowInt4 ? cuda::RowType::kInt4
                                       : cuda::RowType::kF32;
}

int64_t DeviceOuterBytes(const ModelConfig& c, TpackType embedding, TpackType head) {
  const auto rows = [&](TpackType type) {
    const int64_t scale = RowFormatOf(type).has_value() ? 4 : 0;
    return c.vocab * (cuda::GpuRowPitch(DeviceRowType(type), c.hidden) + scale);
  };
  const int64_t rotations = 2 * c.context * (c.head_dim / 2) * 4;
  return rows(embedding) + (c.tied_embeddings ? 0 : rows(head)) + 4 * c.hidden + rotations;
}

absl::StatusOr<DevicePlan> PlanDeviceWeights(const ModelConfig& c, int64_t outer_bytes,
                                             const StreamOptions& options) {
  DevicePlan plan;
  plan.layout = LayoutOfLayer(c);
  plan.outer_bytes = outer_bytes;
  plan.layers = plan.resident_layers = c.layers;
  const int64_t limit = options.max_weight_bytes, layer = plan.layout.bytes;
  if (limit == 0 || plan.memory_bytes() <= limit) return plan;
  plan.resident_layers = 0;
  plan.group_layers = std::clamp<int64_t>(options.layers, 1, c.layers);
  if (const int64_t left = limit - plan.memory_bytes(); left >= 0) {
    plan.resident_layers = left / layer;
    return plan;
  }
  std::string message = absl::StrCat(
      "with its layers copied to the GPU in groups the model needs ", plan.memory_bytes(),
      " bytes of the GPU's memory for weights = ", outer_bytes,
      " of embedding, head, final norm and rotations + 2 buffers of ", plan.group_bytes(), " (",
      plan.group_layers, " of ", c.layers, " layers), --max-weight-memory allows ", limit,
      "; raise it to ", plan.memory_bytes());
  if (plan.group_layers > 1) {
    const int64_t smaller = std::max<int64_t>((limit - outer_bytes) / (2 * layer), 1);
    const int64_t needs = outer_bytes + 2 * smaller * layer;
    absl::StrAppend(&message, ", or say --stream-layers ", smaller, " (",
                    needs <= limit ? "" : "and raise it to ", needs, ")");
  }
  return absl::ResourceExhaustedError(message);
}

int64_t HostCopyBytes(const ModelConfig& c, const StreamOptions& options) {
  // Tables of a smaller type leave room for more layers on the GPU.
  const auto plan =
      PlanDeviceWeights(c, DeviceOuterBytes(c, TpackType::kF32, TpackType::kF32), options);
  return plan.ok() ? plan->streamed_bytes() + 2 * plan->group_bytes()
                   : (c.layers + 2 * std::min(options.layers, c.layers)) * LayoutOfLayer(c).bytes;
}

}  // namespace tritter
