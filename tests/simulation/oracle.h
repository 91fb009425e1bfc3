// What a run must come to, computed from what was asked for alone: no code of the coordinator, of
// plans, of schedules or of run.yaml takes part.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tritter::simulation {

// A run as its user wrote it.
struct RunWish {
  std::string name;
  int64_t steps = 1;
  int64_t global_batch = 4;
  int64_t warmup = 1, decay = 1;
  std::string shape = "cosine";
  double peak = 3e-3, least = 3e-4;
  double stable_text = 1, stable_code = 1;  // weights of the two sources
  double decay_text = 1, decay_code = 0;
  int64_t checkpoint_every = 5, keep = 2, evaluate_every = 5;
  int64_t min_workers = 1, max_workers = 1;
  std::string device;  // of workers; empty: not said
  int64_t priority = 0;
  std::string project = "default";
  bool exports = false;
  std::string Yaml() const;
};

// What went into one optimiser step.
struct StepInputs {
  int64_t first_slot = 0, slots = 0;
  double learning_rate = 0;
  double text = 0, code = 0;  // weights of the sources
  bool full = true;           // phase
};

// The state of training is the chain of everything that went into it: two states are equal where
// every step had the same samples, rate, weights and phase in the same order.
uint64_t AfterStep(uint64_t state, int64_t step, const StepInputs& inputs);
inline constexpr uint64_t kFreshState = 0x7121;

class Oracle {
 public:
  explicit Oracle(const RunWish& wish);

  const RunWish& wish() const { return wish_; }
  StepInputs Inputs(int64_t step) const;  // of the step that follows `step` steps
  uint64_t StateAfter(int64_t steps) const { return states_.at(static_cast<size_t>(steps)); }
  // Reported of the state after so many steps.
  static double Loss(uint64_t state) { return static_cast<double>(state >> 40) * 1e-6; }
  bool EvaluationDue(int64_t step) const { return Due(step, wish_.evaluate_every); }
  bool CheckpointDue(int64_t step) const { return Due(step, wish_.checkpoint_every); }

 private:
  bool Due(int64_t step, int64_t every) const {
    return step > 0 && (step == wish_.steps || step % every == 0);
  }

  const RunWish wish_;
  std::vector<uint64_t> states_;
};

}  // namespace tritter::simulation
