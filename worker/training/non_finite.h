// Where a NaN or an infinity came from: looked for once, when the loss or the norm of the gradient
// is not finite.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Follows a forward pass and keeps the first tensor that is not finite: weights in the order of the
// parameter table, which is that of the pass, each layer's output behind its weights.
class NonFiniteSearch {
 public:
  // `parameters` outlives it.
  explicit NonFiniteSearch(const ParameterStore& parameters) : parameters_(parameters) {}

  // The output of the part of the network that holds the parameters "<name>.…": looks at the
  // weights up to the last of them, then at the values.
  void Output(absl::string_view name, const float* values, int64_t size);
  // Looks at the weights that are left. "weight layers.1.attn.q.weight (element 3 is nan)", "output
  // of layers.1 (element 5 is inf)", "" when everything was finite.
  std::string Finish();

 private:
  // Weights of slots [next_, end).
  void Weights(size_t end);

  const ParameterStore& parameters_;
  size_t next_ = 0;
  std::string found_;
};

// The gradient that is not finite and was made first by the backward pass, the last in the table:
// "gradient of head.weight (element 2 is nan)", "" for none.
std::string FirstNonFiniteGradient(const ParameterStore& parameters);

}  // namespace tritter
