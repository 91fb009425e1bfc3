// What autograd nodes keep between forward and backward besides tensors. LibTorch.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>

namespace tritter {

// A pointer as autograd keeps it: ctx->saved_data[key] = Address(object). Whoever saves it sees to
// it that the object outlives the backward pass.
template <typename T>
int64_t Address(const T* object) {
  return reinterpret_cast<int64_t>(object);
}
template <typename T>
T* Saved(torch::autograd::AutogradContext* ctx, const char* key) {
  return reinterpret_cast<T*>(ctx->saved_data[key].toInt());
}

}  // namespace tritter
