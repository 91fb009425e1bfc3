// The collective operations training needs, over an existing engine (Gloo on CPU, NCCL on GPU, both through LibTorch's
// c10d; one process alone needs none). LibTorch stays out of this header.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tritter {

// Sum of two ranks' values is one float addition, so two ranks equal one rank that accumulates the same two micro-batches.
class Collective {
 public:
  // A started operation. Wait blocks; Unavailable when a peer died, Aborted after Abort, DeadlineExceeded on timeout.
  class Work {
   public:
    virtual ~Work() = default;
    virtual absl::Status Wait() = 0;
  };
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  // In-place sum over the ranks; the buffer must live until Wait returns. device: -1 CPU, else CUDA ordinal.
  virtual absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count, int device = -1) = 0;
  virtual absl::Status AllReduceSum(double* data, int64_t count) = 0;  // blocking, CPU
  virtual absl::Status Broadcast(void* data, int64_t bytes, int root) = 0;  // blocking, CPU
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
// Rank 0: opens a TCPStore on `host`, port 0.
absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(const std::string& host, int world_size);
// Every rank (rank 0 passes its own Rendezvous, the others null). Blocks until all have joined or the timeout is over.
absl::StatusOr<std::unique_ptr<Collective>> ConnectCollective(const std::string& address, Rendezvous* own, const std::string& prefix,
                                                              int rank, int world_size, absl::Duration timeout);

}  // namespace tritter
