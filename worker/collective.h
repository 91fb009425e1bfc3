// The collective operations training needs, over an existing engine (Gloo, and NCCL in worker/cuda,
// both through LibTorch's c10d; one process alone needs none). LibTorch stays out of this header.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tritter {

// One member's view of a group of ranks. Sum of two ranks' values is one float addition, so two
// ranks equal one rank that accumulates the same two micro-batches. With more than two the engine's
// ring adds, and the order is a function of (element index, count, world size) alone: element e of
// a buffer cut into world_size blocks is summed along the ring from the rank after its block's
// owner; every rank gets the same bits, and a repetition gives them again.
//
// Operations are started by one thread, in the same order on every rank; Abort may come from any
// thread. A failed operation leaves the group unusable: destroy it and form another. Owned by the
// epoch. The destructor waits at most two seconds for the other ranks to have finished theirs, and
// not at all after a failure or Abort.
class Collective {
 public:
  // A started operation. Wait blocks; Unavailable when a peer died, Aborted after Abort,
  // DeadlineExceeded on timeout. Destroying it without Wait leaves the buffer as it was.
  class Work {
   public:
    virtual ~Work() = default;
    virtual absl::Status Wait() = 0;
  };
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  // In-place sum over the ranks; the buffer must live until Wait returns. device: -1 CPU, else CUDA
  // ordinal.
  virtual absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count,
                                                             int device = -1) = 0;
  virtual absl::Status AllReduceSum(double* data, int64_t count) = 0;       // blocking, CPU
  virtual absl::Status Broadcast(void* data, int64_t bytes, int root) = 0;  // blocking, CPU
  // Every rank's `bytes` bytes at `own`, as many on each, to `all` [world_size, bytes] in the order
  // of the ranks. `own` must not lie in `all`. Blocking, CPU.
  virtual absl::Status AllGather(const void* own, int64_t bytes, void* all) = 0;
  // From any thread: every pending and later operation fails with Aborted within seconds.
  virtual void Abort(absl::string_view reason) = 0;
};

std::unique_ptr<Collective> SingleProcessCollective();

// Where rank 0's store listens; the others connect to it. Keys are prefixed run/epoch.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  virtual std::string address() const = 0;  // host:port
};
// Rank 0: opens a TCPStore on `host` (that address only), port 0.
// Errors: InvalidArgument (host does not resolve), Unavailable (cannot listen there).
absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(const std::string& host, int world_size);
// Every rank (rank 0 passes its own Rendezvous, the others null). Blocks until all have joined or
// the timeout is over; `timeout` then also bounds each operation. The group's traffic goes through
// the interface that has `own_host`
// ("": the host of `address`, right when all ranks are on one machine).
// Errors: DeadlineExceeded (not everyone came), Unavailable (no store there, or a peer died
// meanwhile).
absl::StatusOr<std::unique_ptr<Collective>> ConnectCollective(
    const std::string& address, Rendezvous* own, const std::string& prefix, int rank,
    int world_size, absl::Duration timeout, const std::string& own_host = "");

}  // namespace tritter
