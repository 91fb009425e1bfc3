#include "worker/testing/tiny_training.h"

#include "common/testing/status_matchers.h"
#include "model/schedule.h"
#include "worker/testing/tiny_model.h"

namespace tritter {

Batch BatchOf(const RunSpec& spec, int64_t step, int64_t first, int64_t count, bool mixed) {
  Batch batch;
  batch.sequences = count;
  for (int64_t i = first; i < first + count; ++i) {
    const std::vector<int64_t> tokens = TinyTokens(1000 * step + i, spec.sequence_length + 1);
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    for (int64_t t = 0; t < spec.sequence_length; ++t) {
      const int64_t document = mixed ? (i * spec.sequence_length + t) / 11 : i;
      batch.weights.push_back(1.0f + 0.25f * static_cast<float>(document % 3));
    }
  }
  return batch;
}

double WeightSum(const RunSpec& spec, bool mixed) {
  double sum = 0;
  for (float w : BatchOf(spec, 0, 0, spec.global_batch, mixed).weights) sum += w;
  return sum;
}

std::unique_ptr<Trainer> MakeTrainer(const RunSpec& spec, Collective* collective) {
  Trainer::Options options;
  options.spec = spec;
  options.collective = collective;
  auto trainer = Trainer::Create(options);
  EXPECT_OK(trainer.status());
  EXPECT_OK((*trainer)->InitialiseFresh());
  return *std::move(trainer);
}

namespace {
// Sequences [first, first + count) of every global batch.
std::vector<double> TrainPart(Trainer* trainer, const RunSpec& spec, int64_t from, int64_t to,
                              int64_t first, int64_t count, int64_t micro) {
  std::vector<double> losses;
  for (int64_t step = from; step < to; ++step) {
    auto stats = trainer->Step(BatchOf(spec, step, first, count), WeightSum(spec), micro,
                               LrAt(step, spec.schedule));
    EXPECT_OK(stats.status());
    if (!stats.ok()) break;
    losses.push_back(stats->loss);
  }
  return losses;
}
}  // namespace

std::vector<double> Train(Trainer* trainer, const RunSpec& spec, int64_t from, int64_t to,
                          int64_t micro) {
  return TrainPart(trainer, spec, from, to, 0, spec.global_batch, micro);
}

std::vector<double> TrainShare(Trainer* trainer, const RunSpec& spec, int64_t from, int64_t to,
                               int rank, int world) {
  const int64_t count = spec.global_batch / world;
  return TrainPart(trainer, spec, from, to, rank * count, count, count);
}

}  // namespace tritter
