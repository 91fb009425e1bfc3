#include <cstring>
#include <utility>

#include "common/mutex.h"
#include "worker/collective.h"

namespace tritter {
namespace {

// The group of one: every sum is the value itself. Abort still counts, so that a lone worker leaves
// its epoch like any other.
class SingleProcess final : public Collective {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }

  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float*, int64_t, int) override {
    if (absl::Status s = state(); !s.ok()) return s;
    return std::unique_ptr<Work>(std::make_unique<Finished>(this));
  }
  absl::Status AllReduceSum(double*, int64_t) override { return state(); }
  absl::Status Broadcast(void*, int64_t, int root) override {
    if (root != 0)
      return absl::InvalidArgumentError("broadcast from a rank other than 0 in a group of one");
    return state();
  }
  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    if (absl::Status s = state(); !s.ok()) return s;
    std::memcpy(all, own, bytes);
    return absl::OkStatus();
  }
  void Abort(absl::string_view reason) override {
    MutexLock lock(&mu_);
    if (state_.ok()) state_ = absl::AbortedError(reason);
  }

 private:
  class Finished final : public Work {
   public:
    explicit Finished(SingleProcess* owner) : owner_(owner) {}
    absl::Status Wait() override { return owner_->state(); }

   private:
    SingleProcess* const owner_;
  };

  absl::Status state() {
    MutexLock lock(&mu_);
    return state_;
  }

  Mutex mu_;
  absl::Status state_ GUARDED_BY(mu_);
};

}  // namespace

std::unique_ptr<Collective> SingleProcessCollective() { return std::make_unique<SingleProcess>(); }

}  // namespace tritter
