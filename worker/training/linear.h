// The seam between the network and how its matrices are parametrised and multiplied. LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tritter {

// y = x Wᵀ for some parametrisation of W. Owned by its block; one thread.
class Linear {
 public:
  virtual ~Linear() = default;
  // x [tokens, in] float -> [tokens, out], differentiable in x; the gradients of its own parameters
  // go to its sink.
  virtual at::Tensor Forward(const at::Tensor& x) = 0;
};

// Matrices that share one input, stacked by rows: their names in the parameter table, which follow
// each other there.
struct LinearRequest {
  std::vector<std::string> names;
};

// How a network makes each of its linear layers. Adapters and other parametrisations attach here.
using LinearFactory = std::function<absl::StatusOr<std::unique_ptr<Linear>>(const LinearRequest&)>;

}  // namespace tritter
