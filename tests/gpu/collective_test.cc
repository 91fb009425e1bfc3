// NCCL held to what every collective must do, in a group of one: there is one GPU.
#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/cuda_loader.h"
#include "worker/testing/collective_conformance.h"

namespace tritter {
namespace {

// Sums of floats in host memory through a collective that wants them on its device.
class OverHostMemory final : public Collective {
 public:
  explicit OverHostMemory(std::unique_ptr<Collective> on_device)
      : on_device_(std::move(on_device)) {}
  int rank() const override { return on_device_->rank(); }
  int world_size() const override { return on_device_->world_size(); }
  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count, int) override {
    at::Tensor host = at::from_blob(data, {count});
    at::Tensor device = host.to(at::kCUDA);
    auto work = on_device_->AllReduceSum(device.mutable_data_ptr<float>(), count, 0);
    if (!work.ok()) return work.status();
    return std::make_unique<Pending>(*std::move(work), std::move(device), std::move(host));
  }
  absl::Status AllReduceSum(double* data, int64_t count) override {
    return on_device_->AllReduceSum(data, count);
  }
  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    return on_device_->Broadcast(data, bytes, root);
  }
  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    return on_device_->AllGather(own, bytes, all);
  }
  void Abort(absl::string_view reason) override { on_device_->Abort(reason); }

 private:
  class Pending final : public Work {
   public:
    Pending(std::unique_ptr<Work> work, at::Tensor device, at::Tensor host)
        : work_(std::move(work)), device_(std::move(device)), host_(std::move(host)) {}
    absl::Status Wait() override {
      const absl::Status done = work_->Wait();
      if (done.ok()) host_.copy_(device_);
      return done;
    }

   private:
    const std::unique_ptr<Work> work_;
    const at::Tensor device_;
    at::Tensor host_;
  };
  const std::unique_ptr<Collective> on_device_;
};

std::vector<std::unique_ptr<Collective>> MakeNcclAlone() {
  std::vector<std::unique_ptr<Collective>> group(1);
  auto rendezvous = OpenRendezvous("127.0.0.1", 1);
  EXPECT_OK(rendezvous);
  if (!rendezvous.ok()) return group;
  auto nccl = FindCudaDevices().backend->connect((*rendezvous)->address(), "run/7", 0, 1, 0,
                                                 absl::Seconds(60));
  EXPECT_OK(nccl);
  if (nccl.ok()) group[0] = std::make_unique<OverHostMemory>(*std::move(nccl));
  return group;
}

INSTANTIATE_TEST_SUITE_P(All, CollectiveConformance,
                         testing::Values(GroupFactory{"NcclAlone", 1, MakeNcclAlone}),
                         [](const auto& info) { return info.param.name; });

TEST(NcclCollective, RefusesABufferOnAnotherDevice) {
  auto rendezvous = OpenRendezvous("127.0.0.1", 1);
  ASSERT_OK(rendezvous);
  ASSERT_OK_AND_ASSIGN(
      auto nccl, FindCudaDevices().backend->connect((*rendezvous)->address(), "run/8", 0, 1, 0,
                                                    absl::Seconds(60)));
  float value = 1;
  EXPECT_THAT(nccl->AllReduceSum(&value, 1, -1).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("cuda:0")));
}

}  // namespace
}  // namespace tritter
