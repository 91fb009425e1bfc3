// What an epoch needs of the coordinator. The real form speaks gRPC (coordinator_client.h); tests
// hand in a fake.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint_manifest.h"
#include "worker/plan.h"

namespace tritter {

// Thread-safe. Each call is one attempt with a deadline; the caller repeats it. Errors of every
// call:
//   Unavailable, DeadlineExceeded, ResourceExhausted  the coordinator is away or slow, or its disk
//     is full: repeat the call
//   FailedPrecondition with IsStaleEpoch()  the epoch is over for us: leave it
//   anything else  a refusal: repeating cannot help
class CoordinatorLink {
 public:
  virtual ~CoordinatorLink() = default;
  virtual absl::Status PublishRendezvous(const EpochId& id, const std::string& address) = 0;
  virtual absl::StatusOr<PlanAnswer> NextPlan(const EpochId& id, int rank,
                                              const PlanQuestion& question) = 0;
  virtual absl::Status Report(const EpochId& id, const Progress& progress) = 0;
  // True when the checkpoint is committed, false while shares of other ranks are missing.
  virtual absl::StatusOr<bool> CommitShare(const EpochId& id, const CheckpointOrder& order,
                                           int rank, const std::vector<ManifestFile>& files) = 0;
};

absl::Status StaleEpochError(absl::string_view message);
bool IsStaleEpoch(const absl::Status& status);
// The call may be repeated with hope: the coordinator is away, late, or its disk is full.
bool IsRetryable(const absl::Status& status);

}  // namespace tritter
