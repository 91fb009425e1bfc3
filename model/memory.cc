#include "model/memory.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "kernels/packing.h"
#include "kernels/reference/moment_map.h"
#include "model/parameter_groups.h"
#include "model/parameter_shares.h"
#include "model/run_spec.h"

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

// Program, LibTorch and threads of a worker before it has allocated anything: measured.
constexpr int64_t kProcessBytes = 150'000'000;

// What training keeps of every parameter, on the rank that holds most.
struct StateBytes {
  int64_t moments = 0, averages = 0, checkpoint = 0;
  int64_t share = 0;  // parameters
  int64_t total() const { return moments + averages + checkpoint; }
};
StateBytes LargestState(const ModelConfig& c, const TrainingOptions& o) {
  RunSpec rules;  // the part of a run that says how a parameter is trained
  rules.optimizer = o.muon ? "muon" : "adamw";
  rules.moments = o.moments_8bit ? "8bit" : "fp32";
  const std::vector<ParameterSpec> table = ParameterTable(c);
  std::vector<int64_t> sizes;
  for (const ParameterSpec& p : table) sizes.push_back(Elements(p));
  const int64_t ranks = std::max<int64_t>(1, o.ranks);
  const std::vector<int> owners = AssignShares(sizes, ranks);
  std::vector<StateBytes> all(ranks);
  StateBytes whole;
  int64_t own_of_all = 0;  // of every parameter, on every rank
  for (size_t i = 0; i < table.size(); ++i) {
    const ParameterGroup group = GroupOf(rules, table[i]);
    const int64_t moments = group.moments_8bit
                                ? 2 * sizes[i] + 2 * 4 * MomentBlocks(sizes[i])
                                : (group.optimizer == OptimizerKind::kMuon ? 4 : 8) * sizes[i];
    const int64_t average = o.averaged_weights ? 4 * sizes[i] : 0;
    whole.moments += moments;
    whole.averages += average;
    StateBytes& own = all[owners[i]];
    own.share += sizes[i];
    own.moments += moments;
    own.averages += average;
    if (o.gpu) continue;
    own.checkpoint += 4 * sizes[i] + average + (o.outer_momentum ? 4 * sizes[i] : 0);
    (o.outer_ranks > 0 ? own_of_all : own.checkpoint) +=
        moments + (o.outer_residual ? 4 * sizes[i] : 0);
  }
  StateBytes largest = *std::max_element(
      all.begin(), all.end(), [](const auto& a, const auto& b) { return a.total() < b.total(); });
  largest.checkpoint += own_of_all;
  if (!o.shard_optimizer) {
    largest.moments = whole.moments;
    largest.averages = whole.averages;
  }
  return largest;
}

// Weights of the projections that share an input, as one matrix: rows, columns.
struct MatrixShape {
  int64_t out, in;
  int64_t size() const { return out * in; }
};
std::vector<MatrixShape> BlockMatrices(const ModelConfig& c) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  return {{inner + 2 * kv, c.hidden}, {c.hidden, inner}, {2 * c.ffn, c.hidden}, {c.hidden, c.ffn}};
}

// Tokens whose logits are held at once (worker/training/loss.cc).
int64_t LossChunk(const ModelConfig& c) {
  constexpr int64_t kChunkFloats = int64_t{4} << 20;
  return std::max<int64_t>(64, kChunkFloats / c.vocab);
}

// Beside the tensors, kept from the first step on: the operand of a product that is made of codes
// first (worker/training/matrix_products.cc); where gradients are added, those of one range and of
// the head or the embedding (worker/training/gradient_sink.h); a matrix's direction a thread
// (of two) with Muon; the copies in which Gloo sums gradients, all of a step's at once
// (worker/gloo_collective.cc); the piece of the weights that travels between the ranks of a sharded
// optimiser, and its copies, of whole pieces and of the last ones (worker/training/state_share.h).
int64_t KeptWorkspace(const ModelConfig& c, const TrainingOptions& o, int64_t tokens,
                      int64_t share) {
  int64_t operand = 0, range = 0;
  for (const MatrixShape& m : BlockMatrices(c)) {
    operand = std::max({operand, m.size(), tokens * m.in});
    range = std::max(range, m.size());
  }
  if (o.bf16_compute || c.weight_rule == WeightRule::kNone) operand = 0;
  const int64_t head = c.vocab * c.hidden;
  if (c.lm_head_ternary) range = std::max(range, head);
  int64_t floats = operand + (o.accumulates ? range + head : c.lm_head_ternary ? range : 0);
  if (o.muon) floats += 2 * c.hidden * std::max(c.ffn, c.heads * c.head_dim);
  if (o.copies_gradients) floats += ParameterCount(c);
  if (o.shard_optimizer && o.ranks > 1) {
    constexpr int64_t kPiece = int64_t{4} << 20;
    floats += share > kPiece ? 4 * kPiece : 3 * share;
  }
  return 4 * floats;
}

// Tensors that live for a moment. Their memory is used again for the same size alone
// (worker/training/block_pool.h): of every size, as many as any one moment has.
class Moments {
 public:
  void Add(const std::vector<int64_t>& sizes) {
    std::map<int64_t, int64_t> now;
    for (const int64_t size : sizes) ++now[size];
    for (const auto& [size, count] : now) most_[size] = std::max(most_[size], count);
  }
  int64_t bytes() const {
    int64_t sum = 0;
    for (const auto& [size, count] : most_) sum += size * count;
    return sum;
  }

 private:
  std::map<int64_t, int64_t> most_;
};

// What a step holds for a moment beside what waits for the backward pass.
int64_t MomentaryWorkspace(const ModelConfig& c, const TrainingOptions& o, int64_t tokens,
                           int64_t value) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const int64_t h = tokens * c.hidden * value, a = tokens * inner * value,
                qkv = tokens * (inner + 2 * kv) * value, g = tokens * c.ffn * value;
  Moments moments;
  // Forward: sums of the integer products, by two threads, beside norms and the residual.
  const bool integer =
      c.activations == ActivationRule::kInt8 && !o.gpu && c.weight_rule != WeightRule::kNone;
  const auto sums = [&](int64_t bytes) { return integer ? bytes / 2 : 0; };
  moments.Add({h, sums(qkv), sums(qkv)});
  moments.Add({a, h, sums(h), sums(h)});
  moments.Add({h, h, sums(2 * g), sums(2 * g)});
  moments.Add({h, h, g, sums(h), sums(h)});
  // Backward: gradients of what an operation gave and took, beside that of the residual.
  moments.Add({h, h, h});
  moments.Add({h, h, g});
  moments.Add({h, g, 2 * g});
  moments.Add({h, h, 2 * g});
  moments.Add({h, a, qkv});
  // Logits of a chunk, whose gradient takes their place, and of the shorter last one.
  const int64_t chunk = LossChunk(c);
  moments.Add({4 * std::min(tokens, chunk) * c.vocab});
  if (tokens > chunk) moments.Add({4 * (tokens % chunk) * c.vocab});
  if (o.muon) {  // worker/training/newton_schulz.cc, by two threads
    for (const int64_t out : {inner, kv, c.ffn}) {
      const int64_t small = std::min(out, c.hidden), x = 4 * out * c.hidden;
      const int64_t product = 4 * small * small;
      moments.Add({x, x, x, x, product, product, product, product});
    }
  }
  return moments.bytes();
}

// Packed weights, one window of activations and all of its logits (worker/training/evaluation.cc).
int64_t EvaluationBytes(const ModelConfig& c, const TrainingOptions& o, int64_t length) {
  constexpr PlainWidth kNone = PlainWidth::kF32;  // embedding and head are read where they are
  const PackedBytes packed = SumTable(c, kNone, kNone);
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  // Kept by each forward; the head's sums and logits by the one at work.
  const int64_t kept = 4 * (3 * c.hidden + 2 * inner + 4 * kv + 2 * c.ffn) + c.ffn;
  return o.evaluated_weights * (packed.codes + packed.scales + length * kept) +
         length * 4 * std::max(2 * c.ffn, c.vocab);
}

// What OuterSync holds (worker/training/outer_sync.cc): of every parameter, and of the piece at
// work its displacement, the mean, what is sent and what all have sent, twice where the collective
// works on copies. With a GPU those copies alone are the device's, the rest is the host's.
int64_t OuterBytes(int64_t parameters, const TrainingOptions& o) {
  if (o.outer_ranks == 0 || (o.gpu && o.outer_ranks == 1)) return 0;
  const int64_t vectors = 1 + o.outer_residual + o.outer_momentum;
  const int64_t values = std::min(parameters, int64_t{1} << 20);
  const int64_t sent = o.outer_residual ? values + values / 64 : 4 * values;
  if (o.gpu) return (o.outer_ranks + 1) * sent;
  const int64_t copies = o.outer_ranks > 1 ? 2 : 1;
  return 4 * vectors * parameters + 8 * values + copies * (o.outer_ranks + 1) * sent;
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

int64_t ActivationBytes(const ModelConfig& c, int64_t tokens, int64_t bytes_per_value,
                        int64_t recompute_layers) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const int64_t values =
      2 * c.hidden + 3 * inner + 3 * kv + 2 * c.ffn + (c.sub_norms() ? c.ffn : 0);
  const int64_t codes = 2 * c.hidden + inner + c.ffn;
  const int64_t bytes_per_code = c.activations == ActivationRule::kInt8 ? 1 : bytes_per_value;
  const int64_t layer =
      tokens * (values * bytes_per_value + codes * bytes_per_code + 4 * (c.heads + 4));
  if (recompute_layers <= 0) return c.layers * layer;
  const int64_t whole = std::min(recompute_layers, c.layers);
  return (c.layers + whole - 1) / whole * tokens * c.hidden * bytes_per_value + whole * layer;
}

TrainingMemory TrainingMemoryOf(const ModelConfig& c, const TrainingOptions& o, int64_t micro_batch,
                                int64_t length) {
  const int64_t p = ParameterCount(c), tokens = micro_batch * length;
  const bool bf16 = o.bf16_compute && o.gpu;
  const int64_t value = bf16 ? 2 : 4;
  const StateBytes state = LargestState(c, o);
  TrainingMemory m;
  m.weights = p * (bf16 ? 6 : 4);
  m.gradients = p * 4;
  m.moments = state.moments;
  m.averages = state.averages;
  m.checkpoint = state.checkpoint;
  if (c.weight_rule != WeightRule::kNone) {
    const int64_t ternary = MatrixParameterCount(c) - (c.lm_head_ternary ? 0 : c.vocab * c.hidden);
    m.codes = ternary * o.cached_code_bytes;
  }
  m.hybrid = p * 4 * o.hybrid_vectors;
  m.outer = OuterBytes(p, o);
  // Beside the blocks': input and output of the last norm, and the gradient that comes back.
  m.activations =
      ActivationBytes(c, tokens, value, o.recompute_layers) + 3 * tokens * c.hidden * value;
  const int64_t momentary = MomentaryWorkspace(c, o, tokens, value);
  m.workspace = KeptWorkspace(c, o, tokens, state.share) + momentary;
  m.process = o.gpu ? 0 : kProcessBytes;
  if (o.evaluated_weights > 0) {
    // In place of the step's tensors, which are given back before it.
    const int64_t step = m.activations + momentary;
    m.workspace += std::max<int64_t>(0, EvaluationBytes(c, o, length) - step);
  }
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

int64_t SafeCpuBudget(int64_t total_bytes) { return total_bytes / 10 * 9; }

}  // namespace tritter
