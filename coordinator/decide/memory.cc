#include "coordinator/decide/memory.h"

#include <algorithm>

namespace tritter {

TrainingOptions TrainingOptionsOf(const RunSpec& spec, int64_t micro_batch) {
  TrainingOptions options;
  options.ranks = std::max<int64_t>(1, spec.min_workers);
  options.gpu = spec.device == "cuda";
  // auto: on a CPU its instructions decide, and FP32 needs more.
  options.bf16_compute = spec.precision == "bf16" || (options.gpu && spec.precision == "auto");
  options.muon = spec.optimizer == "muon";
  options.moments_8bit = spec.moments == "8bit";
  options.shard_optimizer = spec.shard_optimizer;
  options.copies_gradients = !options.gpu && !IsOuter(spec) && spec.max_workers > 1;
  if (IsOuter(spec)) options.outer_ranks = std::max<int64_t>(1, spec.max_workers);
  options.outer_residual = KeepsResidual(spec);
  options.outer_momentum = KeepsOuterMomentum(spec);
  options.recompute_layers = spec.activation_checkpointing;
  options.accumulates = (spec.global_batch + options.ranks - 1) / options.ranks > micro_batch;
  // At the end at the latest. A GPU evaluates with what it trains with.
  if (!options.gpu) options.evaluated_weights = EvaluatesRawWeights(spec) ? 2 : 1;
  return options;
}

namespace {

int64_t BytesWith(const RunSpec& spec, const TrainingOptions& options, int64_t micro_batch) {
  const TrainingMemory memory =
      TrainingMemoryOf(spec.model, options, micro_batch, spec.sequence_length);
  return memory.total() + memory.total() / 10;
}

}  // namespace

int64_t TrainingBytes(const RunSpec& spec, int64_t micro_batch) {
  return BytesWith(spec, TrainingOptionsOf(spec, micro_batch), micro_batch);
}

int64_t MostSequences(const RunSpec& spec, int64_t micro_batch, int64_t memory_bytes) {
  TrainingOptions options = TrainingOptionsOf(spec, micro_batch);
  if (memory_bytes <= 0 || options.accumulates) return spec.global_batch;
  options.accumulates = true;
  return BytesWith(spec, options, micro_batch) <= memory_bytes ? spec.global_batch : micro_batch;
}

int64_t DeriveMicroBatch(const RunSpec& spec, int64_t memory_bytes) {
  if (spec.micro_batch > 0) return spec.micro_batch;
  int64_t micro = std::max<int64_t>(1, spec.global_batch / std::max<int64_t>(1, spec.max_workers));
  while (memory_bytes > 0 && micro > 1 && TrainingBytes(spec, micro) > memory_bytes) micro /= 2;
  return micro;
}

}  // namespace tritter
