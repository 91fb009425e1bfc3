#include "model/schedule.h"

#include <algorithm>
#include <cmath>

namespace tritter {
namespace {
constexpr double kPi = 3.14159265358979323846;
}  // namespace

double LrAt(int64_t step, const ScheduleSpec& spec) {
  // Steps outside the run take the value at its nearest end.
  const int64_t t = std::max<int64_t>(0, std::min(step, spec.total_steps - 1));
  if (t < spec.warmup_steps) {
    return spec.peak * static_cast<double>(t + 1) / static_cast<double>(spec.warmup_steps);
  }
  if (t < spec.decay_start_step) return spec.peak;
  const double u = static_cast<double>(t - spec.decay_start_step + 1) /
                   static_cast<double>(spec.total_steps - spec.decay_start_step);
  const double range = spec.peak - spec.min;
  switch (spec.shape) {
    case DecayShape::kCosine:
      return spec.min + range * 0.5 * (1.0 + std::cos(kPi * u));
    case DecayShape::kLinear:
      return spec.peak - range * u;
    case DecayShape::kSqrt:
      return std::max(spec.min, spec.peak * (1.0 - std::sqrt(u)));
  }
  return spec.peak;
}

ScheduleSpec WithTotalSteps(const ScheduleSpec& spec, int64_t total_steps) {
  ScheduleSpec out = spec;
  out.total_steps = total_steps;
  out.decay_start_step = total_steps - (spec.total_steps - spec.decay_start_step);
  return out;
}

const char* DecayShapeName(DecayShape shape) {
  switch (shape) {
    case DecayShape::kCosine:
      return "cosine";
    case DecayShape::kLinear:
      return "linear";
    case DecayShape::kSqrt:
      return "sqrt";
  }
  return "?";
}

std::optional<DecayShape> ParseDecayShape(const std::string& name) {
  for (const DecayShape shape : kDecayShapes) {
    if (name == DecayShapeName(shape)) return shape;
  }
  return std::nullopt;
}

}  // namespace tritter
