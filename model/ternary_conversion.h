// A model that was trained without quantised weights becomes the start of a ternary one.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "model/weight_source.h"

namespace tritter {

// Multiplies every row of w [rows, cols] (or with !per_row all of them) by ‖W‖ / ‖s q‖, with q and
// s the codes and scales of rule absmean (kernels/quantise.h): the codes stay, and the effective
// weights have the norm that the plain ones had. Of Gaussian rows the cosine between the two is
// 0.89. Rows whose codes are all 0 stay as they are.
void KeepNormsOfTernary(float* w, int64_t rows, int64_t cols, bool per_row);

// `source`, whose rule is none, with rule absmean and int8 activations: every matrix that the rule
// quantises goes through KeepNormsOfTernary. Errors: InvalidArgument (its weights are quantised
// already).
absl::StatusOr<std::unique_ptr<WeightSource>> AsTernary(std::unique_ptr<WeightSource> source);

}  // namespace tritter
