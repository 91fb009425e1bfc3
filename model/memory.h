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

// Which activations wait for the backward pass.
enum class ActivationPolicy {
  kKeepAll,
  kKeepLayerInputs,  // each layer's inside is computed again: one layer at a time is whole
};

struct TrainingOptions {
  bool bf16_compute = false;      // + 2 bytes a parameter, activations at 2 bytes
  bool moments_8bit = false;      // - 6 (the scales, 1/32 byte, are not counted)
  int64_t optimizer_ranks = 1;    // moments and averages divided over so many (ZeRO stage 1)
  bool averaged_weights = true;   // + 4
  int64_t cached_code_bytes = 1;  // + 1 (int8 codes) to 4 (FP32)
  int64_t hybrid_vectors = 0;     // + 4 for each stored vector
  ActivationPolicy activations = ActivationPolicy::kKeepAll;
};

// Bytes on one rank.
struct TrainingMemory {
  int64_t weights = 0;  // FP32 masters, and a BF16 copy when that is computed with
  int64_t gradients = 0;
  int64_t moments = 0;
  int64_t averages = 0;
  int64_t codes = 0;
  int64_t hybrid = 0;
  int64_t activations = 0;
  int64_t logits = 0;
  int64_t total() const {
    return weights + gradients + moments + averages + codes + hybrid + activations + logits;
  }
};
TrainingMemory TrainingMemoryOf(const ModelConfig& config, const TrainingOptions& options,
                                int64_t micro_batch, int64_t length);
// Per parameter: 16 for FP32 with FP32 moments, and what the options add or save.
int64_t TrainingBytesPerParameter(const TrainingOptions& options);

// Activations of `tokens` tokens through the blocks: per token and layer
//   5 H (input, its codes, residual, its codes, what the second norm reads) + 4 N·D (q before and
//   after norm and rotation, attention output, its codes) + 3 K·D (k before and after, v) + 4 I
//   (gate, up, their product, its codes), and the FP32 log-sum-exp of every head. An estimate from
//   what the formulas keep.
int64_t ActivationBytes(const ModelConfig& config, int64_t tokens, int64_t bytes_per_value,
                        ActivationPolicy policy);

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

}  // namespace tritter
