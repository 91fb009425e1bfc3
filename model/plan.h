// What `tritterctl plan` answers: what of a model fits a device, at which context, and what it
// would cost. Arithmetic on published figures, not a measurement; the utilisations that it assumes
// are options and part of the answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/devices.h"
#include "model/memory.h"

namespace tritter {

struct DevicePlanOptions {
  DisplaySystem system = DisplaySystem::kHeadless;
  std::optional<int> monitors;
  bool cpu = false;             // the device is this kind of computer's memory
  int64_t workers = 1;          // devices that train together
  int64_t sequence_length = 0;  // of training; 0: the smaller of context and 2048
  int64_t lora_rank = 16;
  LoraTargets lora_targets;
  KvType kv = KvType::kInt4;
  PlainWidth embedding = PlainWidth::kBF16, head = PlainWidth::kBF16;
  int64_t stream_group = 4;            // layers of one buffer
  int64_t prefill_tokens = 512;        // of one block of a prompt
  double compute_utilisation = 0.4;    // of the peak, in training
  double bandwidth_utilisation = 0.8;  // of memory and of the link to the host
};

// One way to train on each device.
struct TrainingPlan {
  std::string name;         // "full training, BF16, 8-bit moments", "LoRA"
  TrainingOptions options;  // recompute_layers: 1 where only that fits
  bool fits = false;
  std::string reason;  // the arithmetic, in a sentence
  int64_t trainable_parameters = 0;
  int64_t base_bytes = 0;   // packed base of LoRA; 0 for full training
  TrainingMemory memory;    // beside the base, at `micro_batch` (at 1 when nothing fits)
  int64_t micro_batch = 0;  // largest power of two that fits, at most 256; 0 when none does
  int64_t sequence_length = 0;
  int64_t tokens = 0;            // 20 · P
  double tokens_per_second = 0;  // of all workers
  double hours = 0;
};

struct InferencePlan {
  bool fits = false;
  std::string reason;
  int64_t weight_bytes =
      0;  // held on the device: all of it, or what streaming keeps and its two buffers
  int64_t activation_bytes = 0;
  int64_t kv_bytes_per_position = 0;
  int64_t context = 0;           // longest that fits, at most the model's
  double seconds_per_token = 0;  // one sequence, nothing cached yet
  double seconds_per_token_at_context = 0;
  bool bound_by_compute = false;  // else by bandwidth
};

struct DevicePlan {
  int64_t budget_bytes = 0;  // SafeGpuBudget, SafeCpuBudget
  // Full training in FP32, in BF16, with 8-bit moments, where there are several workers also with
  // moments and averages shared by them, and LoRA.
  std::vector<TrainingPlan> training;
  InferencePlan resident, streamed;
};

DevicePlan MakeDevicePlan(const ModelConfig& config, const DeviceSpec& device,
                          const DevicePlanOptions& options);

// What `precision: auto` of a run trains in, "fp32" or "bf16": on a GPU always the same; on a CPU
// its instructions decide, and this machine's are asked.
std::string AutoPrecision(bool cpu);

// Operations of training on one token of a sequence: 6 per matrix parameter and 6 · L · N · D per
// layer for causal attention.
double TrainingFlopsPerToken(const ModelConfig& config, int64_t length);

}  // namespace tritter
