#include "model/master_weights.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/quantise.h"

namespace tritter {

absl::Status MasterWeights(const int8_t* q, int64_t n, float scale, float* w) {
  int64_t nonzero = 0;
  for (int64_t i = 0; i < n; ++i) nonzero += q[i] != 0;
  for (int64_t i = 0; i < n; ++i) w[i] = 0;
  if (nonzero == 0) return absl::OkStatus();
  if (!std::isfinite(scale) || scale < kMinWeightScale) {
    return absl::FailedPreconditionError(
        absl::StrCat("its scale is ", scale, ", expected a number from ", kMinWeightScale));
  }
  // The sum of the magnitudes must be n · scale: most are the nearest float to their share, as many
  // as the rest needs are the next one. Sums of so few binades are exact in double.
  const double wanted = static_cast<double>(scale) * static_cast<double>(n);
  const float c = static_cast<float>(wanted / static_cast<double>(nonzero));
  double rest = wanted - static_cast<double>(c) * static_cast<double>(nonzero);
  const float next = std::nextafter(c, rest < 0 ? 0.0f : std::numeric_limits<float>::infinity());
  int64_t moved = std::llround(rest / (static_cast<double>(next) - static_cast<double>(c)));
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (q[i] == 0) continue;
    const float magnitude = moved-- > 0 ? next : c;
    w[i] = q[i] > 0 ? magnitude : -magnitude;
    sum += magnitude;
  }
  if (ScaleFromAbsSum(sum, n) == scale) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("its scale ", scale, " cannot be kept: only ",
                                                    nonzero, " of its ", n, " codes are not 0"));
}

absl::Status MasterWeights(const TernaryCodes& codes, int64_t rows, int64_t cols,
                           std::vector<float>* w) {
  w->resize(codes.q.size());
  if (codes.scales.size() == 1)
    return MasterWeights(codes.q.data(), rows * cols, codes.scales[0], w->data());
  for (int64_t r = 0; r < rows; ++r) {
    RETURN_IF_ERROR(Annotate(
        MasterWeights(codes.q.data() + r * cols, cols, codes.scales[r], w->data() + r * cols),
        absl::StrCat("row ", r)));
  }
  return absl::OkStatus();
}

}  // namespace tritter
