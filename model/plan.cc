#include "model/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/gemm.h"

namespace tritter {
namespace {

constexpr int64_t kMaxMicroBatch = 256;
constexpr int64_t kTokensPerParameter = 20;

std::string Gb(int64_t bytes) {
  return absl::StrFormat("%.2f GB", static_cast<double>(bytes) / kGigabyte);
}

std::string Fits(bool fits, int64_t needed, int64_t budget) {
  return absl::StrCat("needs ", Gb(needed), fits ? " of " : ", the safe budget is ", Gb(budget));
}

// LoRA trains the adapters only; of the network it needs what a pass needs.
TrainingMemory MemoryOf(const ModelConfig& config, const TrainingOptions& options, int64_t adapters,
                        int64_t micro_batch, int64_t length) {
  TrainingMemory m = TrainingMemoryOf(config, options, micro_batch, length);
  if (adapters == 0) return m;
  m.weights = adapters * (options.bf16_compute && options.gpu ? 6 : 4);
  m.gradients = adapters * 4;
  m.moments = adapters * 8;
  m.averages = m.codes = m.hybrid = 0;
  m.checkpoint = options.gpu ? 0 : adapters * 12;
  return m;
}

// The largest micro-batch that fits, keeping all activations rather than not.
void Fit(const ModelConfig& config, int64_t adapters, int64_t budget, TrainingPlan* plan) {
  for (const int64_t recompute_layers : {0, 1}) {
    plan->options.recompute_layers = recompute_layers;
    for (int64_t batch = kMaxMicroBatch; batch >= 1; batch /= 2) {
      plan->memory = MemoryOf(config, plan->options, adapters, batch, plan->sequence_length);
      plan->fits = plan->base_bytes + plan->memory.total() <= budget;
      if (plan->fits) {
        plan->micro_batch = batch;
        return;
      }
    }
  }
}

TrainingPlan PlanTraining(const ModelConfig& config, const DeviceSpec& device,
                          const DevicePlanOptions& options, const std::string& name,
                          const TrainingOptions& training, int64_t adapters, int64_t budget) {
  TrainingPlan plan;
  plan.name = name;
  plan.options = training;
  plan.options.gpu = !options.cpu;
  plan.options.ranks = options.workers;
  plan.options.copies_gradients = options.cpu && options.workers > 1;
  plan.options.evaluated_weights = options.cpu ? 2 : 0;  // averaged and raw
  plan.trainable_parameters = adapters > 0 ? adapters : ParameterCount(config);
  plan.base_bytes =
      adapters > 0 ? PackedWeightBytes(config, options.embedding, options.head).total() : 0;
  plan.sequence_length = options.sequence_length > 0 ? options.sequence_length
                                                     : std::min<int64_t>(config.context, 2048);
  Fit(config, adapters, budget, &plan);
  plan.reason = Fits(plan.fits, plan.base_bytes + plan.memory.total(), budget);

  const double peak =
      (training.bf16_compute ? device.bf16 : device.fp32) * static_cast<double>(options.workers);
  // A frozen base has no weight gradients: two thirds of the work.
  const double flops =
      TrainingFlopsPerToken(config, plan.sequence_length) * (adapters > 0 ? 2.0 / 3 : 1);
  plan.tokens = kTokensPerParameter * ParameterCount(config);
  if (peak > 0) plan.tokens_per_second = peak * options.compute_utilisation / flops;
  if (plan.tokens_per_second > 0)
    plan.hours = static_cast<double>(plan.tokens) / plan.tokens_per_second / 3600;
  return plan;
}

// Bytes that one decoded token reads on the device: everything but the embedding, of which it reads
// a row (a tied embedding is read whole, as the head).
int64_t ReadPerToken(const ModelConfig& config, const PackedBytes& packed) {
  return packed.total() - (config.tied_embeddings ? 0 : packed.embedding);
}

void Time(const ModelConfig& config, const DeviceSpec& device, const DevicePlanOptions& options,
          int64_t read_bytes, int64_t link_bytes, InferencePlan* plan) {
  const double compute = device.int8 > 0 ? 2.0 * MatrixParameterCount(config) / device.int8 : 0;
  const auto seconds = [&](int64_t kv_bytes) {
    const double memory =
        (read_bytes + kv_bytes) / (device.bandwidth * options.bandwidth_utilisation);
    const double link = link_bytes / (device.host_bandwidth * options.bandwidth_utilisation);
    return std::max(memory, link_bytes > 0 ? link : 0.0);
  };
  plan->seconds_per_token = std::max(seconds(0), compute);
  plan->seconds_per_token_at_context =
      std::max(seconds(plan->context * plan->kv_bytes_per_position), compute);
  plan->bound_by_compute = compute > seconds(0);
}

// Of one block of a prompt, all activations of a layer, and the logits of a position.
int64_t PrefillBytes(const ModelConfig& c, int64_t tokens) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const int64_t values = 5 * c.hidden + 4 * inner + 3 * kv + 4 * c.ffn + c.heads;
  return 4 * (tokens * values + c.vocab);
}

void FitContext(const ModelConfig& config, const DevicePlanOptions& options, int64_t budget,
                InferencePlan* plan) {
  plan->activation_bytes = PrefillBytes(config, options.prefill_tokens);
  plan->kv_bytes_per_position = KvCacheBytes(config, 1, 1, options.kv);
  const int64_t fixed = plan->weight_bytes + plan->activation_bytes;
  const int64_t positions = (budget - fixed) / plan->kv_bytes_per_position;
  plan->fits = budget > fixed && positions >= 1;
  plan->context = plan->fits ? std::min(config.context, positions) : 0;
  plan->reason = plan->fits
                     ? absl::StrCat("needs ", Gb(fixed), " and ", plan->kv_bytes_per_position,
                                    " bytes a position of ", Gb(budget))
                     : Fits(false, fixed + plan->kv_bytes_per_position, budget);
}

InferencePlan PlanResident(const ModelConfig& config, const DeviceSpec& device,
                           const DevicePlanOptions& options, int64_t budget) {
  const PackedBytes packed = PackedWeightBytes(config, options.embedding, options.head);
  InferencePlan plan;
  plan.weight_bytes = packed.total();
  FitContext(config, options, budget, &plan);
  Time(config, device, options, ReadPerToken(config, packed), 0, &plan);
  return plan;
}

// Embedding, final norm, head and cache stay; groups of layers pass through two buffers.
InferencePlan PlanStreamed(const ModelConfig& config, const DeviceSpec& device,
                           const DevicePlanOptions& options, int64_t budget) {
  const PackedBytes packed = PackedWeightBytes(config, options.embedding, options.head);
  const int64_t layer = PackedLayerBytes(config), layers = layer * config.layers;
  InferencePlan plan;
  plan.weight_bytes =
      packed.total() - layers + 2 * std::min(options.stream_group, config.layers) * layer;
  FitContext(config, options, budget, &plan);
  Time(config, device, options, ReadPerToken(config, packed), layers, &plan);
  return plan;
}

}  // namespace

std::string AutoPrecision(bool cpu) { return !cpu || HasBf16Gemm() ? "bf16" : "fp32"; }

double TrainingFlopsPerToken(const ModelConfig& c, int64_t length) {
  const double attention = 6.0 * static_cast<double>(c.layers) * static_cast<double>(length) *
                           static_cast<double>(c.heads * c.head_dim);
  return 6.0 * static_cast<double>(MatrixParameterCount(c)) + attention;
}

DevicePlan MakeDevicePlan(const ModelConfig& config, const DeviceSpec& device,
                          const DevicePlanOptions& options) {
  DevicePlan plan;
  plan.budget_bytes = options.cpu
                          ? SafeCpuBudget(device.memory_bytes)
                          : SafeGpuBudget(device.memory_bytes, options.system, options.monitors);
  const auto train = [&](const std::string& name, const TrainingOptions& training,
                         int64_t adapters) {
    plan.training.push_back(
        PlanTraining(config, device, options, name, training, adapters, plan.budget_bytes));
  };
  const auto shared = [&](const std::string& name, TrainingOptions training) {
    training.shard_optimizer = true;
    if (options.workers > 1)
      train(absl::StrCat(name, ", shared by ", options.workers, " workers"), training, 0);
  };
  train("full training, FP32", {}, 0);
  shared("full training, FP32", {});
  train("full training, BF16", {.bf16_compute = true}, 0);
  const TrainingOptions small = {.bf16_compute = true, .moments_8bit = true};
  train("full training, BF16, 8-bit moments", small, 0);
  shared("full training, BF16, 8-bit moments", small);
  train("LoRA", {.bf16_compute = true},
        LoraParameterCount(config, options.lora_rank, options.lora_targets));
  plan.resident = PlanResident(config, device, options, plan.budget_bytes);
  plan.streamed = PlanStreamed(config, device, options, plan.budget_bytes);
  return plan;
}

}  // namespace tritter
