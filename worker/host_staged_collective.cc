#include "worker/host_staged_collective.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

// LibTorch and the allocators throw.
template <typename Copy>
absl::Status CatchFailures(const char* what, const Copy& copy) {
  try {
    copy();
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("out of memory in ", what));
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("out of memory in ", what, ": ", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat(what, ": ", error.what_without_backtrace()));
  }
}

class HostStaged final : public Collective {
 public:
  HostStaged(std::unique_ptr<Collective> on_host, int device)
      : on_host_(std::move(on_host)),
        ordinal_(device),
        place_(device < 0 ? at::Device(at::kCPU)
                          : at::Device(at::kCUDA, static_cast<int8_t>(device))) {}

  int rank() const override { return on_host_->rank(); }
  int world_size() const override { return on_host_->world_size(); }

  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count,
                                                     int device) override {
    if (device != ordinal_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "buffer on device ", device, ", this rank's gradients are on device ", ordinal_));
    }
    at::Tensor buffer, host;
    RETURN_IF_ERROR(CatchFailures("copying a gradient to the host", [&] {
      buffer = at::from_blob(data, {count}, at::device(place_).dtype(at::kFloat));
      host = at::empty({count}, at::kFloat);
      host.copy_(buffer);
    }));
    ASSIGN_OR_RETURN(std::unique_ptr<Work> sum,
                     on_host_->AllReduceSum(host.mutable_data_ptr<float>(), count, -1));
    return std::make_unique<Staged>(std::move(buffer), std::move(host), std::move(sum));
  }
  absl::Status AllReduceSum(double* data, int64_t count) override {
    return on_host_->AllReduceSum(data, count);
  }
  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    return on_host_->Broadcast(data, bytes, root);
  }
  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    return on_host_->AllGather(own, bytes, all);
  }
  void Abort(absl::string_view reason) override { on_host_->Abort(reason); }

 private:
  class Staged final : public Work {
   public:
    Staged(at::Tensor buffer, at::Tensor host, std::unique_ptr<Work> sum)
        : buffer_(std::move(buffer)), host_(std::move(host)), sum_(std::move(sum)) {}
    absl::Status Wait() override {
      RETURN_IF_ERROR(sum_->Wait());
      return CatchFailures("copying a gradient to the device", [&] { buffer_.copy_(host_); });
    }

   private:
    const at::Tensor buffer_, host_;
    const std::unique_ptr<Work> sum_;  // of host_: ended before it
  };

  const std::unique_ptr<Collective> on_host_;
  const int ordinal_;
  const at::Device place_;
};

}  // namespace

std::unique_ptr<Collective> HostStagedCollective(std::unique_ptr<Collective> on_host, int device) {
  return std::make_unique<HostStaged>(std::move(on_host), device);
}

}  // namespace tritter
