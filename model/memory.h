// How many bytes a model takes, as pure functions of its configuration. GB is 1e9 bytes everywhere.
#pragma once

#include <cstdint>
#include <optional>

#include "model/config.h"

namespace tritter {

inline constexpr int64_t kGigabyte = 1'000'000'000;

// --- weights -------------------------------------------------------------------------------------

int64_t Fp32WeightBytes(const ModelConfig& config);  // 4 P
int64_t Bf16WeightBytes(const ModelConfig& config);  // 2 P

// How embedding and head are stored in a packed model.
enum class PlainWidth { kF32, kBF16, kRowInt8 };  // int8: a byte each and an FP32 scale per row

// A packed model by part; alignment, header and checksums of the file come on top.
struct PackedBytes {
  int64_t codes = 0;      // tiles of 16 x 16 at two bits, of the blocks (and of a ternary head)
  int64_t scales = 0;     // FP32, per row or per matrix
  int64_t norms = 0;      // norms and biases, FP32
  int64_t embedding = 0;  // when tied also the head
  int64_t head = 0;
  int64_t total() const { return codes + scales + norms + embedding + head; }
};
PackedBytes PackedWeightBytes(const ModelConfig& config, PlainWidth embedding, PlainWidth head);
// Codes, scales and norms of one block: what streaming fetches.
int64_t PackedLayerBytes(const ModelConfig& config);

// --- KV cache ------------------------------------------------------------------------------------

enum class KvType { kF32, kBF16, kInt4 };
// 2 · layers · K · D · positions · batch · bytes per element; `scales` adds, for INT4, an FP16
// scale and minimum per position, head and group of 32 along D.
int64_t KvCacheBytes(const ModelConfig& config, int64_t positions, int64_t batch, KvType type,
                     bool scales = true);

// --- training ------------------------------------------------------------------------------------

// What a rank is asked to hold: the one place that says so, for admission, for the choice of the
// micro-batch and for `tritterctl plan`.
struct TrainingOptions {
  // Products in BF16. On a GPU that is a BF16 copy of the weights and activations at 2 bytes too.
  bool bf16_compute = false;
  bool muon = false;          // matrices of the blocks have one moment instead of two
  bool moments_8bit = false;  // AdamW's, of matrices and embeddings
  int64_t ranks = 1;          // each writes its share of the parameters to a checkpoint
  bool shard_optimizer =
      false;  // … and has moments and averages of that share alone (ZeRO stage 1)
  bool copies_gradients =
      false;  // several CPUs, at times: Gloo sums gradients in copies of its own
  bool averaged_weights = true;
  int64_t cached_code_bytes = 1;  // of every ternary weight: 1 (int8) to 4 (FP32)
  int64_t hybrid_vectors = 0;     // 4 bytes a parameter each
  // With sync outer, 0 without: from how many ranks at most displacements are gathered. Each writes
  // its moments whole to a checkpoint, and holds the anchor and, where the run keeps them, a
  // residual and the outer momentum; with a GPU the host does.
  int64_t outer_ranks = 0;
  bool outer_residual = false, outer_momentum = false;
  // Layers whose activations are computed again together in the backward pass; 0 keeps all.
  int64_t recompute_layers = 0;
  bool accumulates = false;  // several micro-batches a step: gradients are made apart, then added
  int64_t evaluated_weights = 0;  // packed between steps to be evaluated: averaged, raw
  bool gpu = false;  // what the device's allocator holds: no process, and no copy for a checkpoint
};

// Bytes on one rank, the one that holds most, at the moment that needs most.
struct TrainingMemory {
  int64_t weights = 0;  // FP32 masters, and a BF16 copy where that is computed with
  int64_t gradients = 0;
  int64_t moments = 0;
  int64_t averages = 0;
  int64_t codes = 0;  // quantised weights and their scales
  int64_t hybrid = 0;
  int64_t outer = 0;  // anchor, residual and momentum of sync outer, a piece of what is gathered
  int64_t activations = 0;  // that wait for the backward pass
  int64_t workspace = 0;    // of the operation at work, or of an evaluation that needs more
  int64_t checkpoint = 0;   // the copy it is written from, kept from one to the next
  int64_t process = 0;      // program, libraries and threads before anything is trained
  int64_t total() const {
    return weights + gradients + moments + averages + codes + hybrid + outer + activations +
           workspace + checkpoint + process;
  }
};
// Held to the trainer's measured peak by worker/training:memory_test (CPU, 10 %; on a GPU not
// measured).
TrainingMemory TrainingMemoryOf(const ModelConfig& config, const TrainingOptions& options,
                                int64_t micro_batch, int64_t length);

// Activations of `tokens` tokens through the blocks that wait for the backward pass. Per token and
// layer, as values: 2 H (inputs of both norms) + (N + 2K) D (q, k, v) + (N + K) D (q and k normed
// and rotated) + N D (attention's output) + 2 I (gate, up), + I for family bitnet (input of its
// second sub-norm); 2 H + N D + I as codes (a byte each with int8 activations); in FP32 the
// log-sum-exp of every head and four activation scales. With recompute_layers only the inputs of
// the segments wait, and one segment at a time is whole.
int64_t ActivationBytes(const ModelConfig& config, int64_t tokens, int64_t bytes_per_value,
                        int64_t recompute_layers);

// --- adapters ------------------------------------------------------------------------------------

// Trainable parameters of LoRA: rank · (in + out) for every adapted matrix.
struct LoraTargets {
  bool attention = true;  // q, k, v, o
  bool ffn = false;       // gate, up, down
  bool head = false;
};
int64_t LoraParameterCount(const ModelConfig& config, int64_t rank, const LoraTargets& targets);

// --- devices -------------------------------------------------------------------------------------

// What else draws on the device's memory.
enum class DisplaySystem { kWindows, kMacOs, kWayland, kX11, kHeadless, kUnknown };
// (total - reserve - 0.3 GB) · 0.9 - 1 GB; half of (total - reserve - 0.3 GB) when that is below 1
// GB; never negative. Reserve: Windows 0.5 + 0.3 · (monitors - 1) GB, 1.0 when their number is
// unknown; macOS 0.8; Wayland 0.5; X11 0.4; headless 0.1; unknown 0.5.
int64_t SafeGpuBudget(int64_t total_bytes, DisplaySystem system, std::optional<int> monitors = {});

// Of main memory: nine tenths, the rest is the system's and its page cache's.
int64_t SafeCpuBudget(int64_t total_bytes);

}  // namespace tritter
