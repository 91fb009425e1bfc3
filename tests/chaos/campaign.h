// Kill −9, again and again: runs of training one after the other on the same few processes, each
// compared with the undisturbed one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace tritter::chaos {

struct CampaignOptions {
  std::string folder;
  uint64_t seed = 1;
  int64_t kills = 6;      // processes ended by SIGKILL, in all
  int64_t steps = 100;    // of each run; a checkpoint every 10
  int64_t most_gap = 40;  // a blow falls 1 to this many steps after training has begun again
};

struct CampaignTally {
  int64_t runs = 0;
  int64_t worker_kills = 0, coordinator_kills = 0;
  int64_t epochs_lost = 0;
  int64_t steps_that_differ = 0;   // from the undisturbed run, over all runs
  int64_t states_that_differ = 0;  // runs whose final state or evaluations differ
  std::string first_difference;
  int64_t kills() const { return worker_kills + coordinator_kills; }
};

// Every process that is killed is started again at once, as a supervisor does. Errors: a run that
// does not complete, with its reason and the ends of all logs; the seed is in the message.
absl::StatusOr<CampaignTally> RunCampaign(
    const CampaignOptions& options,
    const std::function<void(const CampaignTally&)>& after_run = {});

}  // namespace tritter::chaos
