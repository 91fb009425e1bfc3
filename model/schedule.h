// Learning rate: WSD (warm-up, stable, decay) as a pure function of the optimiser step; never
// stored, always recomputed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tritter {

enum class DecayShape { kCosine, kLinear, kSqrt };

// All in optimiser steps, resolved to integers once, when the run is admitted.
struct ScheduleSpec {
  double peak = 6e-4;
  double min = 6e-5;
  int64_t warmup_steps = 0;      // W
  int64_t decay_start_step = 0;  // S
  int64_t total_steps = 0;       // T
  DecayShape shape = DecayShape::kCosine;
};

// t < W: peak (t+1)/W;  W <= t < S: peak;  t >= S with u = (t-S+1)/(T-S): cosine min +
// (peak-min)(1+cos πu)/2, linear peak - (peak-min)u, sqrt max(min, peak (1-√u)). t in [0, T).
double LrAt(int64_t step, const ScheduleSpec& spec);

// The schedule of the same run with another number of steps: warm-up and decay keep their lengths,
// the new total moves the start of the decay, nothing before the earlier of both starts changes.
ScheduleSpec WithTotalSteps(const ScheduleSpec& spec, int64_t total_steps);

inline constexpr DecayShape kDecayShapes[] = {DecayShape::kCosine, DecayShape::kLinear,
                                              DecayShape::kSqrt};
const char* DecayShapeName(DecayShape shape);  // "cosine", "linear", "sqrt"
std::optional<DecayShape> ParseDecayShape(const std::string& name);

}  // namespace tritter
