// Counts what a rank sends to the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "worker/collective.h"

namespace tritter {

// Another collective and the payload bytes that its operations send, without the headers of
// whatever carries them, for N ranks:
//   sum of B bytes    2 (N - 1) / N · B, as a ring sends
//   gather of B       (N - 1) · B
//   broadcast of B    (N - 1) · B, all of it the root's
// An operation counts when it is started. Threads: as the collective's; sent_bytes may be asked
// from any.
class CountingCollective final : public Collective {
 public:
  explicit CountingCollective(std::unique_ptr<Collective> counted) : counted_(std::move(counted)) {}

  int64_t sent_bytes() const { return sent_bytes_; }

  int rank() const override { return counted_->rank(); }
  int world_size() const override { return counted_->world_size(); }
  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count,
                                                     int device) override {
    CountSum(count * static_cast<int64_t>(sizeof(float)));
    return counted_->AllReduceSum(data, count, device);
  }
  absl::Status AllReduceSum(double* data, int64_t count) override {
    CountSum(count * static_cast<int64_t>(sizeof(double)));
    return counted_->AllReduceSum(data, count);
  }
  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    if (root == rank()) sent_bytes_ += (world_size() - 1) * bytes;
    return counted_->Broadcast(data, bytes, root);
  }
  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    sent_bytes_ += (world_size() - 1) * bytes;
    return counted_->AllGather(own, bytes, all);
  }
  void Abort(absl::string_view reason) override { counted_->Abort(reason); }

 private:
  void CountSum(int64_t bytes) { sent_bytes_ += 2 * (world_size() - 1) * bytes / world_size(); }

  const std::unique_ptr<Collective> counted_;
  std::atomic<int64_t> sent_bytes_{0};
};

}  // namespace tritter
