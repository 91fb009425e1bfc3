// The tensors of a committed checkpoint, whichever share each lies in.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/checkpoint_store.h"
#include "model/config.h"
#include "model/safetensors.h"

namespace tritter {

// Memory-maps every share of a checkpoint (checked before with VerifyCheckpoint) and knows where
// each tensor is. Immutable and thread-safe once open; spans live as long as the object.
class CheckpointTensors {
 public:
  // Errors: DataLoss when a share cannot be read as safetensors or two shares hold the same tensor.
  static absl::StatusOr<std::unique_ptr<CheckpointTensors>> Open(
      const CheckpointReader& checkpoint);

  // The values of `prefix` + parameter.name, row by row. `prefix` is "weight/", "ema/", …
  // Errors: NotFound when no share holds it; DataLoss when its type is not F32 or its shape not the
  // parameter's; FailedPrecondition when it holds NaN or infinity (the run had diverged).
  absl::StatusOr<absl::Span<const float>> Get(absl::string_view prefix,
                                              const ParameterSpec& parameter) const;
  // What the first share that has this key says in its metadata; "" when none has it.
  std::string Metadata(const std::string& key) const;

 private:
  explicit CheckpointTensors(std::string location) : location_(std::move(location)) {}

  const std::string location_;
  std::vector<std::unique_ptr<SafetensorsFile>> shares_;
  std::map<std::string, std::pair<std::string, TensorView>> tensors_;  // name -> share's path, view
};

}  // namespace tritter
