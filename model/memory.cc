#include "model/memory.h"

#include <algorithm>
#include <cmath>

#include "kernels/packing.h"

namespace tritter {
namespace {

constexpr int64_t kKvGroup = 32;      // elements of D that share a scale
constexpr int64_t kKvGroupBytes = 4;  // FP16 scale and minimum

int64_t Elements(const ParameterSpec& p) {
  int64_t n = 1;
  for (const int64_t d : p.shape) n *= d;
  return n;
}

int64_t PlainBytes(int64_t rows, int64_t cols, PlainWidth width) {
  switch (width) {
    case PlainWidth::kF32:
      return 4 * rows * cols;
    case PlainWidth::kBF16:
      return 2 * rows * cols;
    case PlainWidth::kRowInt8:
      return rows * cols + 4 * rows;
  }
  return 0;
}

// A model of the same shape with so few layers that its table is short.
ModelConfig WithLayers(const ModelConfig& config, int64_t layers) {
  ModelConfig out = config;
  out.layers = layers;
  return out;
}

PackedBytes SumTable(const ModelConfig& config, PlainWidth embedding, PlainWidth head) {
  PackedBytes bytes;
  for (const ParameterSpec& p : ParameterTable(config)) {
    switch (p.kind) {
      case ParameterKind::kEmbedding:
        bytes.embedding += PlainBytes(p.shape[0], p.shape[1], embedding);
        break;
      case ParameterKind::kHead:
        bytes.head += PlainBytes(p.shape[0], p.shape[1], head);
        break;
      case ParameterKind::kTernary:
        bytes.codes += TiledBytes(p.shape[0], p.shape[1]);
        bytes.scales += config.granularity == ScaleGranularity::kRow ? 4 * p.shape[0] : 4;
        break;
      case ParameterKind::kNorm:
      case ParameterKind::kBias:
        bytes.norms += 4 * Elements(p);
        break;
      case ParameterKind::kScale:
        break;  // becomes the scale of its matrix, counted there
    }
  }
  return bytes;
}

double ReserveGigabytes(DisplaySystem system, std::optional<int> monitors) {
  switch (system) {
    case DisplaySystem::kWindows:
      return monitors.has_value() ? 0.5 + 0.3 * (std::max(*monitors, 1) - 1) : 1.0;
    case DisplaySystem::kMacOs:
      return 0.8;
    case DisplaySystem::kWayland:
      return 0.5;
    case DisplaySystem::kX11:
      return 0.4;
    case DisplaySystem::kHeadless:
      return 0.1;
    case DisplaySystem::kUnknown:
      return 0.5;
  }
  return 0.5;
}

}  // namespace

int64_t Fp32WeightBytes(const ModelConfig& config) { return 4 * ParameterCount(config); }
int64_t Bf16WeightBytes(const ModelConfig& config) { return 2 * ParameterCount(config); }

PackedBytes PackedWeightBytes(const ModelConfig& config, PlainWidth embedding, PlainWidth head) {
  return SumTable(config, embedding, head);
}

int64_t PackedLayerBytes(const ModelConfig& config) {
  constexpr PlainWidth kAny = PlainWidth::kF32;
  return SumTable(WithLayers(config, 1), kAny, kAny).total() -
         SumTable(WithLayers(config, 0), kAny, kAny).total();
}

int64_t KvCacheBytes(const ModelConfig& c, int64_t positions, int64_t batch, KvType type,
                     bool scales) {
  const int64_t vectors = 2 * c.layers * c.kv_heads * positions * batch;  // of D elements
  switch (type) {
    case KvType::kF32:
      return vectors * c.head_dim * 4;
    case KvType::kBF16:
      return vectors * c.head_dim * 2;
    case KvType::kInt4: {
      const int64_t groups = (c.head_dim + kKvGroup - 1) / kKvGroup;
      return vectors * ((c.head_dim + 1) / 2 + (scales ? groups * kKvGroupBytes : 0));
    }
  }
  return 0;
}

int64_t TrainingBytesPerParameter(const TrainingOptions& o) {
  const int64_t state = (o.moments_8bit ? 2 : 8) + (o.averaged_weights ? 4 : 0);
  return 8 + (o.bf16_compute ? 2 : 0) + (state + o.optimizer_ranks - 1) / o.optimizer_ranks +
         o.cached_code_bytes + 4 * o.hybrid_vectors;
}

int64_t ActivationBytes(const ModelConfig& c, int64_t tokens, int64_t bytes_per_value,
                        ActivationPolicy policy) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const int64_t values = 5 * c.hidden + 4 * inner + 3 * kv + 4 * c.ffn;
  const int64_t layer = tokens * (values * bytes_per_value + 4 * c.heads);
  if (policy == ActivationPolicy::kKeepAll) return c.layers * layer;
  return c.layers * tokens * c.hidden * bytes_per_value + layer;
}

TrainingMemory TrainingMemoryOf(const ModelConfig& config, const TrainingOptions& o,
                                int64_t micro_batch, int64_t length) {
  const int64_t p = ParameterCount(config);
  TrainingMemory m;
  m.weights = p * (o.bf16_compute ? 6 : 4);
  m.gradients = p * 4;
  const int64_t kept = (p + o.optimizer_ranks - 1) / o.optimizer_ranks;
  m.moments = kept * (o.moments_8bit ? 2 : 8);
  m.averages = o.averaged_weights ? kept * 4 : 0;
  m.codes = p * o.cached_code_bytes;
  m.hybrid = p * 4 * o.hybrid_vectors;
  m.activations =
      ActivationBytes(config, micro_batch * length, o.bf16_compute ? 2 : 4, o.activations);
  m.logits = micro_batch * length * config.vocab * 4;  // FP32; their gradient takes their place
  return m;
}

int64_t LoraParameterCount(const ModelConfig& c, int64_t rank, const LoraTargets& targets) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  int64_t sides = 0;  // inputs and outputs of the adapted matrices of a layer
  if (targets.attention) sides += 2 * (c.hidden + inner) + 2 * (c.hidden + kv);
  if (targets.ffn) sides += 3 * (c.hidden + c.ffn);
  return rank * (c.layers * sides + (targets.head ? c.hidden + c.vocab : 0));
}

int64_t SafeGpuBudget(int64_t total_bytes, DisplaySystem system, std::optional<int> monitors) {
  const double usable = std::max(
      0.0, static_cast<double>(total_bytes) / kGigabyte - ReserveGigabytes(system, monitors) - 0.3);
  double budget = usable * 0.9 - 1.0;
  if (budget < 1.0) budget = usable / 2;
  return std::llround(budget * kGigabyte);
}

}  // namespace tritter
