#include "kernels/optimizer_ops.h"

namespace tritter {

extern const OptimizerOps kBaselineOptimizerOps;
#if defined(__x86_64__)
extern const OptimizerOps kAvx2OptimizerOps;
extern const OptimizerOps kAvx512OptimizerOps;
#endif

std::vector<const OptimizerOps*> SupportedOptimizerOps() {
  std::vector<const OptimizerOps*> ops = {&kBaselineOptimizerOps};
#if defined(__x86_64__)
  const auto sets = SupportedTrainingOps().size();  // the same instruction sets
  if (sets > 1) ops.push_back(&kAvx2OptimizerOps);
  if (sets > 2) ops.push_back(&kAvx512OptimizerOps);
#endif
  return ops;
}

namespace {
const OptimizerOps& Best() {
  static const OptimizerOps* const best = SupportedOptimizerOps().back();
  return *best;
}
}  // namespace

void MuonMomentumRows(const float* gradient, int64_t n, float gradient_scale, float momentum,
                      float* m, float* direction) {
  Best().muon_momentum_rows(gradient, n, gradient_scale, momentum, m, direction);
}
void MuonApplyRows(const MuonStep& step, const float* orthogonal, int64_t n, float* w,
                   float* average) {
  Best().muon_apply_rows(step, orthogonal, n, w, average);
}
void AverageRows(float average_decay, const float* w, int64_t n, float* average) {
  Best().average_rows(average_decay, w, n, average);
}
void AdamW8Rows(const AdamWStep& step, const float* gradient, int64_t n, float* w,
                const Moments8& moments, float* average) {
  Best().adamw8_rows(SignedMomentMap(), UnsignedMomentMap(), step, gradient, n, w, moments,
                     average);
}

}  // namespace tritter
