#include "worker/training/non_finite.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

// "<what> <name> (element 3 is nan)", or "".
std::string Describe(absl::string_view what, absl::string_view name, const float* values,
                     int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    if (!std::isfinite(values[i]))
      return absl::StrCat(what, " ", name, " (element ", i, " is ", values[i], ")");
  }
  return "";
}

}  // namespace

void NonFiniteSearch::Weights(size_t end) {
  for (; next_ < end && found_.empty(); ++next_) {
    const ParameterSlot& slot = parameters_.slots()[next_];
    found_ = Describe("weight", slot.spec.name, parameters_.weight() + slot.offset, slot.size);
  }
}

void NonFiniteSearch::Output(absl::string_view name, const float* values, int64_t size) {
  size_t end = parameters_.slots().size();
  const std::string prefix = absl::StrCat(name, ".");
  while (end > next_ && !absl::StartsWith(parameters_.slots()[end - 1].spec.name, prefix)) --end;
  Weights(end);
  if (found_.empty()) found_ = Describe("output of", name, values, size);
}

std::string NonFiniteSearch::Finish() {
  Weights(parameters_.slots().size());
  return found_;
}

std::string FirstNonFiniteGradient(const ParameterStore& parameters) {
  for (auto slot = parameters.slots().rbegin(); slot != parameters.slots().rend(); ++slot) {
    std::string found =
        Describe("gradient of", slot->spec.name, parameters.gradient() + slot->offset, slot->size);
    if (!found.empty()) return found;
  }
  return "";
}

}  // namespace tritter
