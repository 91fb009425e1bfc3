#include "worker/cuda/nccl_collective.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>

#include <cstring>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "worker/tcp_rendezvous.h"

namespace tritter {
namespace {

absl::Status FromException(const std::exception& e, absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(what, " (NCCL): ", e.what()));
}

class NcclCollective final : public Collective {
 public:
  NcclCollective(c10::intrusive_ptr<c10d::ProcessGroupNCCL> group, int rank, int world_size,
                 int device)
      : group_(std::move(group)),
        rank_(rank),
        world_size_(world_size),
        device_(at::kCUDA, static_cast<c10::DeviceIndex>(device)) {}

  ~NcclCollective() override {
    try {
      group_->shutdown();
    } catch (const std::exception&) {
      // A peer has gone: there is nobody to say goodbye to.
    }
  }

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }

  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count,
                                                     int device) override {
    if (device != device_.index()) {
      return absl::InvalidArgumentError(
          absl::StrCat("buffer on device ", device,
                       ", the NCCL group is on cuda:", static_cast<int>(device_.index())));
    }
    return Launch(at::from_blob(data, {count}, at::device(device_).dtype(at::kFloat)), "all-reduce",
                  [this](std::vector<at::Tensor>& t) { return group_->allreduce(t); });
  }

  absl::Status AllReduceSum(double* data, int64_t count) override {
    return ThroughDevice(data, at::kDouble, count, "all-reduce",
                         [this](std::vector<at::Tensor>& t) { return group_->allreduce(t); });
  }

  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    if (root < 0 || root >= world_size_) {
      return absl::InvalidArgumentError(
          absl::StrCat("broadcast from rank ", root, " in a group of ", world_size_));
    }
    return ThroughDevice(data, at::kByte, bytes, "broadcast", [&](std::vector<at::Tensor>& t) {
      c10d::BroadcastOptions options;
      options.rootRank = root;
      return group_->broadcast(t, options);
    });
  }

  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    at::Tensor sent;
    return ThroughDevice(all, at::kByte, bytes * world_size_, "all-gather",
                         [&](std::vector<at::Tensor>& t) {
                           sent = at::empty({bytes}, at::dtype(at::kByte));
                           std::memcpy(sent.mutable_data_ptr(), own, bytes);
                           sent = sent.to(device_);
                           return group_->_allgather_base(t.front(), sent);
                         });
  }

  void Abort(absl::string_view reason) override {
    {
      MutexLock lock(&mu_);
      if (!broken_.ok()) return;
      broken_ = absl::AbortedError(reason);
    }
    group_->abort();
  }

 private:
  class NcclWork final : public Work {
   public:
    NcclWork(NcclCollective* owner, c10::intrusive_ptr<c10d::Work> work, at::Tensor tensor,
             const char* what)
        : owner_(owner), work_(std::move(work)), tensor_(std::move(tensor)), what_(what) {}
    absl::Status Wait() override {
      try {
        work_->wait();
        // wait() orders the streams only; the optimiser reads the result from the host's point of
        // view too.
        work_->synchronize();
      } catch (const std::exception& e) {
        absl::Status broken = owner_->Broken();
        return broken.ok() ? FromException(e, what_) : broken;
      }
      return owner_->Broken();
    }

   private:
    NcclCollective* const owner_;
    const c10::intrusive_ptr<c10d::Work> work_;
    const at::Tensor tensor_;
    const char* const what_;
  };

  absl::Status Broken() {
    MutexLock lock(&mu_);
    return broken_;
  }

  template <typename Operation>
  absl::StatusOr<std::unique_ptr<Work>> Launch(at::Tensor tensor, const char* what,
                                               Operation operation) {
    if (absl::Status s = Broken(); !s.ok()) return s;
    try {
      const c10::cuda::CUDAGuard guard(device_);
      std::vector<at::Tensor> tensors{tensor};
      auto work = operation(tensors);
      return std::unique_ptr<Work>(
          std::make_unique<NcclWork>(this, std::move(work), std::move(tensor), what));
    } catch (const std::exception& e) {
      return FromException(e, what);
    }
  }

  template <typename Operation>
  absl::Status ThroughDevice(void* data, at::ScalarType type, int64_t count, const char* what,
                             Operation operation) {
    try {
      at::Tensor host = at::from_blob(data, {count}, at::dtype(type));
      at::Tensor on_device = host.to(device_);
      auto work = Launch(on_device, what, operation);
      if (!work.ok()) return work.status();
      if (absl::Status s = (*work)->Wait(); !s.ok()) return s;
      host.copy_(on_device);
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return FromException(e, what);
    }
  }

  const c10::intrusive_ptr<c10d::ProcessGroupNCCL> group_;
  const int rank_;
  const int world_size_;
  const c10::Device device_;
  Mutex mu_;
  absl::Status broken_ GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> ConnectNcclCollective(const std::string& address,
                                                                  const std::string& prefix,
                                                                  int rank, int world_size,
                                                                  int device,
                                                                  absl::Duration timeout) {
  if (rank < 0 || rank >= world_size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " in a group of ", world_size));
  }
  auto store = ConnectStore(address, timeout);
  if (!store.ok()) return store.status();
  try {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(absl::ToInt64Milliseconds(timeout));
    auto prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, *std::move(store));
    auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(std::move(prefixed), rank, world_size,
                                                             std::move(options));
    return std::unique_ptr<Collective>(
        std::make_unique<NcclCollective>(std::move(group), rank, world_size, device));
  } catch (const std::exception& e) {
    return FromException(e,
                         absl::StrCat("rank ", rank, " of ", world_size, " joining at ", address));
  }
}

}  // namespace tritter
