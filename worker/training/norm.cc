#include "worker/training/norm.h"

#include <vector>

#include "common/status_macros.h"
#include "kernels/float_ops.h"
#include "kernels/training_ops.h"

namespace tritter {

absl::StatusOr<NormSlot> FindNorm(const ParameterStore& parameters, NormKind kind,
                                  const std::string& name) {
  std::vector<std::string> names = {name + ".weight"};
  if (kind == NormKind::kLayerNorm) names.push_back(name + ".bias");
  ASSIGN_OR_RETURN(const ParameterSlot* weight, parameters.Find(names.front()));
  ASSIGN_OR_RETURN(const ParameterSlot all, parameters.FindAdjacent(names));
  return NormSlot{kind, all.offset, weight->size};
}

void NormRows(const NormSlot& slot, const float* parameters, float eps, const float* x,
              int64_t rows, float* y) {
  const float* w = parameters + slot.offset;
  if (slot.kind == NormKind::kLayerNorm) {
    LayerNormRows(x, w, w + slot.width, eps, rows, slot.width, y);
  } else {
    RmsNormRows(x, w, eps, rows, slot.width, y);
  }
}

void NormBackwardRows(const NormSlot& slot, const float* parameters, float eps, const float* x,
                      const float* dy, int64_t rows, float* dx, float* dparameters) {
  const float* w = parameters + slot.offset;
  if (slot.kind == NormKind::kLayerNorm) {
    LayerNormBackwardRows(x, w, dy, eps, rows, slot.width, dx, dparameters,
                          dparameters + slot.width);
  } else {
    RmsNormBackwardRows(x, w, dy, eps, rows, slot.width, dx, dparameters);
  }
}

}  // namespace tritter
