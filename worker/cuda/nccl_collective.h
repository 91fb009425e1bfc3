// Collective over c10d's ProcessGroupNCCL. Only in CUDA builds.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/collective.h"

namespace tritter {

// See CudaBackend::connect. Errors: Unavailable (a peer is gone), DeadlineExceeded,
// FailedPrecondition (no such device). With two ranks every sum is one float addition; with more
// the order is that of NCCL's algorithm for the topology.
absl::StatusOr<std::unique_ptr<Collective>> ConnectNcclCollective(const std::string& address,
                                                                  const std::string& prefix,
                                                                  int rank, int world_size,
                                                                  int device,
                                                                  absl::Duration timeout);

}  // namespace tritter
