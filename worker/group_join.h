// Joining the ranks of an epoch into a collective, in a way that can be given up at any moment.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/cancellation.h"
#include "worker/epoch_parts.h"

namespace tritter {

// A formed group. Destroy the collective before the rendezvous: rank 0's store serves the farewell.
struct Group {
  std::unique_ptr<Rendezvous> rendezvous;  // rank 0 of a group of several
  std::unique_ptr<Collective> collective;
};

// Rank 0: opens the rendezvous and makes it known through `publish`. The others get the address
// from `await_address`, which blocks and gives Aborted when cancelled. A cancelled join returns
// Aborted at once; the connection attempt, which cannot be interrupted, ends by itself on a
// detached thread within `timeout`. `parts` lives as long as the process.
absl::StatusOr<Group> JoinGroup(
    EpochParts* parts, const GroupPlace& place, const Cancellation& cancellation,
    const std::function<absl::Status(const std::string& address)>& publish,
    const std::function<absl::StatusOr<std::string>()>& await_address);

}  // namespace tritter
