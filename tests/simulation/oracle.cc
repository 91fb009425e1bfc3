#include "tests/simulation/oracle.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/random.h"

namespace tritter::simulation {
namespace {

uint64_t Millionths(double value) { return static_cast<uint64_t>(std::llround(value * 1e9)); }

}  // namespace

std::string RunWish::Yaml() const {
  std::string yaml = absl::StrFormat(
      "name: %s\n"
      "model: {preset: nano, family: tritter, vocab: 264}\n"
      "data:\n"
      "  sources:\n"
      "    - {name: text, shards: /data/text, weight: %g, max_epochs: 1000}\n"
      "    - {name: code, shards: /data/code, weight: %g, max_epochs: 1000}\n"
      "  stages: {decay: {text: %g, code: %g}}\n"
      "training:\n"
      "  steps: %d\n"
      "  sequence_length: 128\n"
      "  global_batch: %d\n"
      "  learning_rate: {peak: %g, min: %g, warmup: %d, decay: %d, shape: %s}\n"
      "workers: {min: %d, max: %d%s}\n"
      "checkpoint: {every: %d, keep: %d}\n"
      "evaluation: {every: %d}\n",
      name, stable_text, stable_code, decay_text, decay_code, steps, global_batch, peak, least,
      warmup, decay, shape, min_workers, max_workers,
      device.empty() ? "" : absl::StrCat(", device: ", device), checkpoint_every, keep,
      evaluate_every);
  if (priority != 0) absl::StrAppend(&yaml, "priority: ", priority, "\n");
  absl::StrAppend(&yaml, "project: ", project, "\n");
  if (exports) absl::StrAppend(&yaml, "export: {format: tpack}\n");
  return yaml;
}

uint64_t AfterStep(uint64_t state, int64_t step, const StepInputs& in) {
  state = MixKey(state, static_cast<uint64_t>(step), static_cast<uint64_t>(in.first_slot),
                 static_cast<uint64_t>(in.slots));
  state = MixKey(state, Millionths(in.learning_rate), Millionths(in.text), Millionths(in.code));
  return MixKey(state, in.full);
}

Oracle::Oracle(const RunWish& wish) : wish_(wish) {
  states_.push_back(kFreshState);
  for (int64_t step = 0; step < wish.steps; ++step)
    states_.push_back(AfterStep(states_.back(), step, Inputs(step)));
}

// Warm-up W, stable, decay of D steps, as docs/reference/run_yaml.md has it.
StepInputs Oracle::Inputs(int64_t step) const {
  constexpr double kPi = 3.14159265358979323846;
  StepInputs in;
  in.first_slot = step * wish_.global_batch;
  in.slots = wish_.global_batch;
  const bool decaying = step >= wish_.steps - wish_.decay;
  in.text = decaying ? wish_.decay_text : wish_.stable_text;
  in.code = decaying ? wish_.decay_code : wish_.stable_code;
  if (step < wish_.warmup) {
    in.learning_rate =
        wish_.peak * static_cast<double>(step + 1) / static_cast<double>(wish_.warmup);
    return in;
  }
  in.learning_rate = wish_.peak;
  if (!decaying) return in;
  const double u = static_cast<double>(step - (wish_.steps - wish_.decay) + 1) /
                   static_cast<double>(wish_.decay);
  if (wish_.shape == "linear") in.learning_rate = wish_.peak - (wish_.peak - wish_.least) * u;
  if (wish_.shape == "cosine") {
    in.learning_rate = wish_.least + (wish_.peak - wish_.least) * (1 + std::cos(kPi * u)) / 2;
  }
  if (wish_.shape == "sqrt")
    in.learning_rate = std::max(wish_.least, wish_.peak * (1 - std::sqrt(u)));
  return in;
}

}  // namespace tritter::simulation
