// Training of the tiny model in a test: batches, a trainer, steps.
#pragma once

#include <memory>
#include <vector>

#include "model/run_spec.h"
#include "worker/collective.h"
#include "worker/training/trainer.h"

namespace tritter {

// Sequences [first, first + count) of the global batch of `step`, of uneven weights. mixed: in most
// of them a document ends and one of another weight begins.
Batch BatchOf(const RunSpec& spec, int64_t step, int64_t first, int64_t count, bool mixed = false);
// Σw over the predicted tokens of the global batch, the same at every step.
double WeightSum(const RunSpec& spec, bool mixed = false);
// Fresh; one thread. Failures are the test's.
std::unique_ptr<Trainer> MakeTrainer(const RunSpec& spec, Collective* collective);
// Trains steps [from, to) alone in micro-batches of `micro`; gives the losses.
std::vector<double> Train(Trainer* trainer, const RunSpec& spec, int64_t from, int64_t to,
                          int64_t micro);
// The same as rank `rank` of `world`, which divides the batch: a micro-batch is the rank's share.
std::vector<double> TrainShare(Trainer* trainer, const RunSpec& spec, int64_t from, int64_t to,
                               int rank, int world);

}  // namespace tritter
