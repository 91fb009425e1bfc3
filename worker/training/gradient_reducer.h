// Sums gradients over the ranks in buckets, each started as soon as the backward pass has completed
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "worker/collective.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Owned by the trainer; used by the thread that runs the backward pass. With one rank it does
// nothing.
class GradientReducer {
 public:
  // Buckets are ranges of the flat `gradient` of about `bucket_floats`, cut at the borders of
  // `slots`. device: -1 CPU, else the CUDA ordinal that `gradient` is on.
  GradientReducer(const std::vector<ParameterSlot>& slots, float* gradient, Collective* collective,
                  int64_t bucket_floats, int device = -1);

  // Sums over another group from now on (null: none yet); what was under way is given up.
  void Rebind(Collective* collective);

  void BeginStep();
  // The gradient of [offset, offset + size) is complete on this rank. Every rank calls in the same
  // order.
  void Ready(int64_t offset, int64_t size);
  // Waits for every bucket. Errors: the collective's; Internal when a bucket was never completed.
  absl::Status Finish();

 private:
  struct Bucket {
    int64_t offset = 0, size = 0, missing = 0;
    std::unique_ptr<Collective::Work> work;
  };
  float* const gradient_;
  Collective* collective_;
  const int device_;
  std::vector<Bucket> buckets_;
  absl::Status status_;
};

}  // namespace tritter
