// Full-precision weights of which ternary codes and scales are the quantised form: for whoever
// wants weights where codes are stored.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "model/weight_source.h"

namespace tritter {

// Weights whose absmean quantisation gives back exactly these codes and this scale: ±c with
// c = scale · n / nonzero, some of them one float apart. All zero when every code is. Errors:
// FailedPrecondition (a scale below 1e-5, which no mean has; too few nonzero codes to reach it).
absl::Status MasterWeights(const int8_t* q, int64_t n, float scale, float* w);

// The same of a matrix, row by row where each has its scale.
absl::Status MasterWeights(const TernaryCodes& codes, int64_t rows, int64_t cols,
                           std::vector<float>* w);

}  // namespace tritter
