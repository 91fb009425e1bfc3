// The norms of a network over its flat array of parameters: RMSNorm (weight) or LayerNorm (weight
// and bias), the kernels of kernels/float_ops.h forward and kernels/training_ops.h backward. No
// LibTorch.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Where the parameters of one norm lie: weight [width] and, with LayerNorm, bias [width] behind it.
struct NormSlot {
  NormKind kind = NormKind::kRmsNorm;
  int64_t offset = 0;
  int64_t width = 0;  // 0: there is no such norm
  // Floats of weight and bias together.
  int64_t size() const { return kind == NormKind::kLayerNorm ? 2 * width : width; }
};
// The norm called `name` (without ".weight"). Errors: NotFound, FailedPrecondition (bias not behind
// weight).
absl::StatusOr<NormSlot> FindNorm(const ParameterStore& parameters, NormKind kind,
                                  const std::string& name);

// x, y [rows, width]; `parameters` is the flat array that the slot points into. In place allowed.
void NormRows(const NormSlot& slot, const float* parameters, float eps, const float* x,
              int64_t rows, float* y);
// dx [rows, width] is written (it may be dy), dparameters [size()] is accumulated.
void NormBackwardRows(const NormSlot& slot, const float* parameters, float eps, const float* x,
                      const float* dy, int64_t rows, float* dx, float* dparameters);

}  // namespace tritter
