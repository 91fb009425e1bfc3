// Tensors of files that others wrote: are the expected ones there, and what are their values as
// floats.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/safetensors_set.h"

namespace tritter {

// Ticks off what a set must hold.
class TensorNames {
 public:
  explicit TensorNames(const SafetensorsSet* set);
  // Errors: DataLoss (no such tensor, or another type or shape than any of those named).
  absl::Status Expect(const std::string& name, const std::vector<DType>& types,
                      const std::vector<int64_t>& shape);
  // Errors: DataLoss naming a tensor that nobody expected.
  absl::Status Finish() const;

 private:
  const SafetensorsSet* const set_;
  std::set<std::string> left_;
};

// Values of an F32, BF16, F16 or F64 tensor: its own bytes where they are aligned F32, else
// converted into `buffer`. Errors: FailedPrecondition naming the first NaN or infinity.
absl::StatusOr<absl::Span<const float>> FiniteFloats(const TensorView& view,
                                                     const std::string& path,
                                                     const std::string& name,
                                                     std::vector<float>* buffer);

}  // namespace tritter
