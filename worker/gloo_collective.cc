// Collective over c10d's ProcessGroupGloo.
//
// Gloo cannot interrupt a pending operation. So every operation works on a copy of the caller's
// buffer, and Wait returns as soon as the operation is done *or* the group is broken (Abort, a dead
// peer). A broken group closes its connections, which the peers notice at once, and is destroyed by
// a thread of its own: Gloo's threads may sit in an operation until its timeout, and nobody has to
// wait for them.
#include <ATen/ATen.h>

#include <cstring>
#include <exception>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "worker/collective.h"
#include "worker/tcp_rendezvous.h"

namespace tritter {
namespace {

constexpr std::chrono::milliseconds kFarewell(2000);

// With all that it says, stack frames too: failure_words.h makes a sentence of it for people.
absl::Status FromException(const std::exception& e, absl::string_view what) {
  const absl::string_view first_line(e.what(), std::strcspn(e.what(), "\n"));
  const std::string message = absl::StrCat(what, ": ", e.what());
  const std::string lower = absl::AsciiStrToLower(first_line);
  if (absl::StrContains(lower, "timed out") || absl::StrContains(lower, "timeout")) {
    return absl::DeadlineExceededError(message);
  }
  return absl::UnavailableError(message);
}

class GlooGroup : public c10d::ProcessGroupGloo {
 public:
  using ProcessGroupGloo::ProcessGroupGloo;
  // Peers see the end of their streams; own pending operations stay until their timeout.
  void CloseConnections() {
    for (auto& context : contexts_) context->closeConnections();
  }
};

// Shared by the collective, its works and Gloo's threads; outlives whoever goes first.
struct GroupState {
  Mutex mu;
  CondVar changed;
  absl::Status broken GUARDED_BY(mu);
};

class GlooCollective final : public Collective {
 public:
  GlooCollective(c10::intrusive_ptr<c10d::Store> store, c10::intrusive_ptr<GlooGroup> group,
                 int rank, int world_size)
      : store_(std::move(store)), group_(std::move(group)), rank_(rank), world_size_(world_size) {}

  ~GlooCollective() override {
    if (Broken().ok()) {
      Farewell();
    }
    std::thread([store = std::move(store_), group = std::move(group_)]() mutable {
      group.reset();  // joins Gloo's threads: at once when nothing is pending, else when the
                      // operation times out
      store.reset();
    }).detach();
  }

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }

  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count,
                                                     int device) override {
    if (device >= 0)
      return absl::InvalidArgumentError(
          "Gloo reduces CPU buffers; a CUDA buffer needs the NCCL collective");
    at::Tensor copy = at::empty({count}, at::kFloat);
    std::memcpy(copy.data_ptr(), data, sizeof(float) * count);
    return Start(data, std::move(copy), "all-reduce",
                 [this](std::vector<at::Tensor>& t) { return group_->allreduce(t); });
  }

  absl::Status AllReduceSum(double* data, int64_t count) override {
    at::Tensor copy = at::empty({count}, at::kDouble);
    std::memcpy(copy.data_ptr(), data, sizeof(double) * count);
    auto work = Start(data, std::move(copy), "all-reduce",
                      [this](std::vector<at::Tensor>& t) { return group_->allreduce(t); });
    return work.ok() ? (*work)->Wait() : work.status();
  }

  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    if (root < 0 || root >= world_size_) {
      return absl::InvalidArgumentError(
          absl::StrCat("broadcast from rank ", root, " in a group of ", world_size_));
    }
    at::Tensor copy = at::empty({bytes}, at::kByte);
    std::memcpy(copy.data_ptr(), data, bytes);
    auto work = Start(data, std::move(copy), "broadcast", [&](std::vector<at::Tensor>& t) {
      c10d::BroadcastOptions options;
      options.rootRank = root;
      return group_->broadcast(t, options);
    });
    return work.ok() ? (*work)->Wait() : work.status();
  }

  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    at::Tensor gathered = at::empty({bytes * world_size_}, at::kByte);
    at::Tensor sent = at::empty({bytes}, at::kByte);
    std::memcpy(sent.data_ptr(), own, bytes);
    auto work = Start(all, std::move(gathered), "all-gather", [&](std::vector<at::Tensor>& t) {
      return group_->_allgather_base(t.front(), sent);
    });
    return work.ok() ? (*work)->Wait() : work.status();
  }

  void Abort(absl::string_view reason) override {
    (void)Break(state_, group_, absl::AbortedError(reason));
  }

 private:
  class GlooWork final : public Work {
   public:
    GlooWork(std::shared_ptr<GroupState> state, c10::intrusive_ptr<GlooGroup> group,
             c10::intrusive_ptr<c10d::Work> work, void* out, at::Tensor copy, const char* what)
        : state_(std::move(state)),
          group_(std::move(group)),
          future_(work->getFuture()),
          out_(out),
          copy_(std::move(copy)),
          what_(what) {
      future_->addCallback([state = state_](c10::ivalue::Future&) {
        MutexLock lock(&state->mu);  // pairs with the check in Wait, so that no wake-up is lost
        state->changed.NotifyAll();
      });
    }

    absl::Status Wait() override {
      {
        MutexLock lock(&state_->mu);
        while (state_->broken.ok() && !future_->completed()) state_->changed.Wait(&state_->mu);
        if (!state_->broken.ok()) return state_->broken;
      }
      if (future_->hasError()) {
        absl::Status failure = absl::UnavailableError(what_);
        try {
          std::rethrow_exception(future_->exception_ptr());
        } catch (const std::exception& e) {
          failure = FromException(e, what_);
        }
        return Break(state_, group_, failure);
      }
      std::memcpy(out_, copy_.data_ptr(), copy_.nbytes());
      return absl::OkStatus();
    }

   private:
    const std::shared_ptr<GroupState> state_;
    const c10::intrusive_ptr<GlooGroup> group_;
    const c10::intrusive_ptr<c10::ivalue::Future> future_;
    void* const out_;
    const at::Tensor copy_;
    const char* const what_;
  };

  // The first cause stays; returns it.
  static absl::Status Break(const std::shared_ptr<GroupState>& state,
                            const c10::intrusive_ptr<GlooGroup>& group, absl::Status cause) {
    {
      MutexLock lock(&state->mu);
      if (!state->broken.ok()) return state->broken;
      state->broken = cause;
      state->changed.NotifyAll();
    }
    std::thread([group] { group->CloseConnections(); }).detach();
    return cause;
  }

  absl::Status Broken() {
    MutexLock lock(&state_->mu);
    return state_->broken;
  }

  template <typename Launch>
  absl::StatusOr<std::unique_ptr<Work>> Start(void* out, at::Tensor copy, const char* what,
                                              Launch launch) {
    if (absl::Status s = Broken(); !s.ok()) return s;
    try {
      std::vector<at::Tensor> tensors{copy};
      auto work = launch(tensors);
      return std::unique_ptr<Work>(
          std::make_unique<GlooWork>(state_, group_, std::move(work), out, std::move(copy), what));
    } catch (const std::exception& e) {
      return Break(state_, group_, FromException(e, what));
    }
  }

  // A closed connection takes with it what the peer has not yet read: everybody says when his last
  // operation is over.
  void Farewell() {
    try {
      const std::string last = absl::StrCat("farewell/", world_size_);
      if (store_->add("farewell", 1) == world_size_) store_->set(last, std::vector<uint8_t>{1});
      store_->wait({last}, kFarewell);
    } catch (const std::exception&) {
      // A peer or the store has gone already: then nobody waits for us either.
    }
  }

  const std::shared_ptr<GroupState> state_ = std::make_shared<GroupState>();
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<GlooGroup> group_;
  const int rank_;
  const int world_size_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> ConnectCollective(
    const std::string& address, Rendezvous* own, const std::string& prefix, int rank,
    int world_size, absl::Duration timeout, const std::string& own_host) {
  if (rank < 0 || rank >= world_size) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " in a group of ", world_size));
  }
  const auto limit = std::chrono::milliseconds(absl::ToInt64Milliseconds(timeout));
  auto store = own != nullptr ? StoreOf(own) : ConnectStore(address, timeout);
  if (!store.ok()) return store.status();
  const std::string what = absl::StrCat("rank ", rank, " of ", world_size, " joining at ", address);
  try {
    const std::string host = own_host.empty() ? address.substr(0, address.rfind(':')) : own_host;
    auto options = c10d::ProcessGroupGloo::Options::create(limit);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(host));
    c10::intrusive_ptr<c10d::Store> prefixed =
        c10::make_intrusive<c10d::PrefixStore>(prefix, *std::move(store));
    auto group = c10::make_intrusive<GlooGroup>(prefixed, rank, world_size, std::move(options));
    return std::unique_ptr<Collective>(
        std::make_unique<GlooCollective>(std::move(prefixed), std::move(group), rank, world_size));
  } catch (const std::exception& e) {
    return FromException(e, what);
  }
}

}  // namespace tritter
