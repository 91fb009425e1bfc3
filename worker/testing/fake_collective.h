// A group of ranks inside one process: every rank runs on a thread of its own, sums are formed in
// rank order.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "worker/collective.h"

namespace tritter {

// What the members share: operations by their number, in the order in which each rank starts them.
class FakeGroup {
 public:
  explicit FakeGroup(int world_size)
      : world_size_(world_size), next_(world_size, 0), status_(world_size) {}

  int world_size() const { return world_size_; }
  // Rank `rank` joins its next operation; the rank that comes last carries it out with `run` over
  // all buffers by rank.
  using Run = void (*)(const std::vector<void*>& buffers, int64_t count, int root);
  int64_t Join(int rank, void* buffer, int64_t count, int root, Run run);
  absl::Status Wait(int rank, int64_t operation);
  // From now on incomplete operations fail: with Aborted on this rank, with Unavailable on the
  // others.
  void Abort(int rank, const std::string& reason);
  // A member is gone: operations that are not complete fail with Unavailable.
  void Leave(int rank);

 private:
  struct Operation {
    std::vector<void*> buffers;
    int arrived = 0;
    bool done = false;
  };
  void Break(const std::string& reason) REQUIRES(mu_);

  const int world_size_;
  Mutex mu_;
  CondVar changed_;
  std::vector<int64_t> next_ GUARDED_BY(mu_);
  std::map<int64_t, Operation> operations_ GUARDED_BY(mu_);
  std::vector<absl::Status> status_ GUARDED_BY(mu_);  // by rank
  bool broken_ GUARDED_BY(mu_) = false;
};

// All members of a fresh group, by rank. Each may be used by one thread (Abort by any).
std::vector<std::unique_ptr<Collective>> MakeFakeGroup(int world_size);

}  // namespace tritter
