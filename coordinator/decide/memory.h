// What a rank needs to train, as a pure function: for admission, for the choice of workers and for
// the micro-batch.
#pragma once

#include <cstdint>

#include "model/run_spec.h"

namespace tritter {

// Bytes of one rank at this micro-batch (sequences per pass): FP32 weights, gradients, two moments
// and the average (20 per parameter; 15 with 8-bit moments; of a sharded optimiser moments and
// average of this rank's part alone), the copy a checkpoint is written from (16, or 11, for each
// parameter this rank writes), in the smallest world the run allows, activations of the pass and
// its logits. An estimate from above.
int64_t TrainingBytes(const RunSpec& spec, int64_t parameters, int64_t micro_batch);

// spec.micro_batch, or global_batch / max_workers (at least 1), halved until it fits into
// `memory_bytes` (0: unknown, fits). It does not depend on how many workers an epoch has, so that
// every split of the batch adds the same partial sums.
int64_t DeriveMicroBatch(const RunSpec& spec, int64_t parameters, int64_t memory_bytes);

}  // namespace tritter
