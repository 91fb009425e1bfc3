// Notes what a rank starts, so that ranks can be compared.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/collective.h"

namespace tritter {

// Another collective; every operation in turn, as "sum 5 floats", "broadcast 8 bytes of 1". One
// thread starts them, as with every collective.
class RecordingCollective final : public Collective {
 public:
  explicit RecordingCollective(std::unique_ptr<Collective> recorded)
      : recorded_(std::move(recorded)) {}

  const std::vector<std::string>& operations() const { return operations_; }

  int rank() const override { return recorded_->rank(); }
  int world_size() const override { return recorded_->world_size(); }
  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count,
                                                     int device) override {
    operations_.push_back(absl::StrCat("sum ", count, " floats"));
    return recorded_->AllReduceSum(data, count, device);
  }
  absl::Status AllReduceSum(double* data, int64_t count) override {
    operations_.push_back(absl::StrCat("sum ", count, " doubles"));
    return recorded_->AllReduceSum(data, count);
  }
  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    operations_.push_back(absl::StrCat("broadcast ", bytes, " bytes of ", root));
    return recorded_->Broadcast(data, bytes, root);
  }
  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    operations_.push_back(absl::StrCat("gather ", bytes, " bytes"));
    return recorded_->AllGather(own, bytes, all);
  }
  void Abort(absl::string_view reason) override { recorded_->Abort(reason); }

 private:
  const std::unique_ptr<Collective> recorded_;
  std::vector<std::string> operations_;
};

}  // namespace tritter
