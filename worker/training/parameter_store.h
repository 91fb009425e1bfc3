// Weights and gradients of one rank, each one flat array in the canonical order of the parameter
// table. Neighbours in the table are neighbours in memory, so that projections that share an input
// (q, k, v; gate, up) are one matrix and gradient buckets are ranges. Moments and averages are the
// optimiser's (optimizer_state.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/config.h"
#include "worker/training/float_buffer.h"

namespace tritter {

// Floats [offset, offset + size) of every flat array.
struct ParameterSlot {
  ParameterSpec spec;
  int64_t offset = 0;
  int64_t size = 0;
};

// Owned by the trainer; not thread-safe. Holds no LibTorch type.
class ParameterStore {
 public:
  explicit ParameterStore(const ModelConfig& config);
  // Without the arrays: a network of any size can be built on it and its shapes be looked at.
  static ParameterStore TableOnly(const ModelConfig& config);

  const std::vector<ParameterSlot>& slots() const { return slots_; }
  int64_t size() const { return weight_.size(); }
  // Errors: NotFound.
  absl::StatusOr<const ParameterSlot*> Find(absl::string_view name) const;
  // The range of several parameters that follow each other in the table. Errors: NotFound,
  // FailedPrecondition (a gap).
  absl::StatusOr<ParameterSlot> FindAdjacent(const std::vector<std::string>& names) const;

  // To write: what is derived from the weights (ternary codes) is stale from here on, and pointers
  // are not kept for later.
  float* MutableWeights() {
    ++version_;
    return weight_.data();
  }
  float* gradient() { return gradient_.data(); }
  const float* weight() const { return weight_.data(); }
  const float* gradient() const { return gradient_.data(); }

  // Counts the accesses to write: what was derived from the weights is valid for one version only.
  uint64_t version() const { return version_; }

 private:
  ParameterStore() = default;

  std::vector<ParameterSlot> slots_;
  FloatBuffer weight_, gradient_;
  uint64_t version_ = 1;
};

}  // namespace tritter
