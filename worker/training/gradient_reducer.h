// Sums gradients over the ranks in buckets, each started as soon as the backward pass has completed
// it, or all of them in one order.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "worker/collective.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Of a group of CPUs and GPUs, 4 MiB: they agree on it.
inline constexpr int64_t kMixedBucketFloats = int64_t{1} << 20;

// Owned by the trainer; used by the thread that runs the backward pass. With one rank it does
// nothing.
class GradientReducer {
 public:
  struct Buckets {
    int64_t floats = kMixedBucketFloats;  // about so many each
    // Started from the last one to the first, whatever the order of completion: for ranks that do
    // not complete them in the same order.
    bool in_order = false;
  };
  // Buckets are ranges of the flat `gradient`, cut at the borders of `slots`. device: -1 CPU, else
  // the CUDA ordinal that `gradient` is on.
  GradientReducer(const std::vector<ParameterSlot>& slots, float* gradient, Collective* collective,
                  const Buckets& buckets, int device = -1);

  // Sums over another group from now on (null: none yet); what was under way is given up.
  void Rebind(Collective* collective);

  void BeginStep();
  // The gradient of [offset, offset + size) is complete on this rank. Every rank calls in the same
  // order, unless buckets are started in theirs.
  void Ready(int64_t offset, int64_t size);
  // Waits for every bucket. Errors: the collective's; Internal when a bucket was never completed.
  absl::Status Finish();

 private:
  struct Bucket {
    int64_t offset = 0, size = 0, missing = 0;
    std::unique_ptr<Collective::Work> work;
  };
  void Start(Bucket* bucket);

  float* const gradient_;
  Collective* collective_;
  const bool in_order_;
  const int device_;
  std::vector<Bucket> buckets_;
  size_t left_ = 0;  // buckets that are not started yet, the first ones, where they have an order
  absl::Status status_;
};

}  // namespace tritter
