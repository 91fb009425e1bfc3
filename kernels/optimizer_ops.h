// Fused arithmetic of the optimisers on a CPU beside AdamW in FP32 (kernels/training_ops.h): Muon's
// passes over a matrix, and AdamW with its moments in 8 bits. One instruction set each like
// training_ops; quantising gives the bits of kernels/reference/moment_map.h everywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/reference/moment_map.h"
#include "kernels/training_ops.h"

namespace tritter {

// Nesterov momentum of Muon (Jordan et al. 2024): g = gradient * gradient_scale;
//   m = momentum m + (1 - momentum) g; direction = momentum m + (1 - momentum) g
void MuonMomentumRows(const float* gradient, int64_t n, float gradient_scale, float momentum,
                      float* m, float* direction);
// w -= learning_rate * weight_decay * w; w -= learning_rate * rate_factor * orthogonal;
// average += (1 - average_decay) * (w - average)
struct MuonStep {
  float learning_rate, rate_factor, weight_decay, average_decay;
};
void MuonApplyRows(const MuonStep& step, const float* orthogonal, int64_t n, float* w,
                   float* average);

// average += (1 - average_decay) * (w - average), with the bits of the steps above and of AdamW.
void AverageRows(float average_decay, const float* w, int64_t n, float* average);

// What AdamW keeps of a parameter in 8 bits: codes [n], scales [MomentBlocks(n)]. The second moment
// is stored by its root, which halves the range of its magnitudes, and what is not 0 never becomes
// 0: no step divides by epsilon alone.
struct Moments8 {
  uint8_t* m_codes;
  float* m_scales;
  uint8_t* root_codes;
  float* root_scales;
};
// AdamWRows with such moments. n begins at a block's border.
void AdamW8Rows(const AdamWStep& step, const float* gradient, int64_t n, float* w,
                const Moments8& moments, float* average);

// The functions above for one instruction set; those above call the best one this CPU runs.
struct OptimizerOps {
  const char* name;  // "baseline", "avx2", "avx512"
  decltype(&tritter::MuonMomentumRows) muon_momentum_rows;
  decltype(&tritter::MuonApplyRows) muon_apply_rows;
  decltype(&tritter::AverageRows) average_rows;
  void (*adamw8_rows)(const MomentMap& first, const MomentMap& root, const AdamWStep& step,
                      const float* gradient, int64_t n, float* w, const Moments8& moments,
                      float* average);
  void (*quantise_moments)(const MomentMap& map, const float* x, int64_t n, bool is_signed,
                           uint8_t* codes, float* scales);
};
// Those that this CPU can run, slowest first. For tests and logs.
std::vector<const OptimizerOps*> SupportedOptimizerOps();

}  // namespace tritter
