// What a rank needs to train, as a pure function: for admission, for the choice of workers and for
// the micro-batch.
#pragma once

#include <cstdint>

#include "model/memory.h"
#include "model/run_spec.h"

namespace tritter {

// What a run asks of each rank in the smallest world that it allows, where a rank's share of the
// batch and of what it writes is largest.
TrainingOptions TrainingOptionsOf(const RunSpec& spec, int64_t micro_batch);

// Bytes of one rank at this micro-batch (sequences per pass): TrainingMemoryOf, and a tenth more,
// by which a process may be larger than predicted.
int64_t TrainingBytes(const RunSpec& spec, int64_t micro_batch);

// How many sequences of a batch a rank may be given that has `memory_bytes` (0: unknown) and trains
// `micro_batch` at a time: one pass, where adding the gradients of several needs more than it has.
int64_t MostSequences(const RunSpec& spec, int64_t micro_batch, int64_t memory_bytes);

// spec.micro_batch, or global_batch / max_workers (at least 1), halved until it fits into
// `memory_bytes` (0: unknown, fits). It does not depend on how many workers an epoch has, so that
// every split of the batch adds the same partial sums.
int64_t DeriveMicroBatch(const RunSpec& spec, int64_t memory_bytes);

}  // namespace tritter
