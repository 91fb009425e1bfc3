#include "model/cuda_limits.h"

#include "absl/strings/str_cat.h"

namespace tritter {

std::optional<std::string> NotOnCuda(const RunSpec& spec) {
  if (spec.model.head_dim > kWidestHeadOnCuda) {
    return absl::StrCat("model.head_dim is ", spec.model.head_dim, ", at most ", kWidestHeadOnCuda,
                        " on a GPU");
  }
  return std::nullopt;
}

}  // namespace tritter
