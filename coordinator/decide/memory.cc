#include "coordinator/decide/memory.h"

#include <algorithm>

namespace tritter {

int64_t TrainingBytes(const RunSpec& spec, int64_t parameters, int64_t micro_batch) {
  const ModelConfig& m = spec.model;
  // Per token and layer: inputs and outputs of the seven projections, norms and their quantised
  // forms.
  const int64_t per_layer = 16 * m.hidden + 4 * (m.heads + 2 * m.kv_heads) * m.head_dim + 6 * m.ffn;
  const int64_t logits = 3 * m.vocab;  // logits, their softmax, their gradient
  const int64_t floats = spec.sequence_length * (m.layers * per_layer + logits);
  // A rank copies the tensors it writes: an even part, and at most one tensor more than that.
  const int64_t largest = m.hidden * std::max(m.vocab, m.ffn);
  const int64_t ranks = std::max<int64_t>(1, spec.min_workers);
  const int64_t copied = std::min(parameters, (parameters + ranks - 1) / ranks + largest);
  // Of those tensors, too, a rank of a sharded optimiser keeps moments and averages alone.
  const int64_t state = (spec.moments == "8bit" ? 3 : 8) + 4;
  const int64_t kept = spec.shard_optimizer && ranks > 1 ? copied : parameters;
  return parameters * 8 + kept * state + (ranks == 1 ? parameters : copied) * (4 + state) +
         micro_batch * floats * 4;
}

int64_t DeriveMicroBatch(const RunSpec& spec, int64_t parameters, int64_t memory_bytes) {
  if (spec.micro_batch > 0) return spec.micro_batch;
  int64_t micro = std::max<int64_t>(1, spec.global_batch / std::max<int64_t>(1, spec.max_workers));
  while (memory_bytes > 0 && micro > 1 && TrainingBytes(spec, parameters, micro) > memory_bytes)
    micro /= 2;
  return micro;
}

}  // namespace tritter
