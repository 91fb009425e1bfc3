// What a failed epoch says of itself: one sentence for people, and what the libraries below said
// for whoever looks into it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/plan_cursor.h"

namespace tritter {

struct FailureWords {
  std::string sentence;  // "w1 stopped answering in the gradient exchange of step 413"
  std::string detail;    // empty: the sentence has all of it
};

// The group is broken: another member, or the way to it, is at fault rather than this one.
bool IsGroupFailure(EpochStage stage, const absl::Status& status);

// `step`: optimiser steps done. `others`: the names of the other members of the epoch.
FailureWords DescribeFailure(EpochStage stage, int64_t step, const absl::Status& status,
                             const std::vector<std::string>& others);

}  // namespace tritter
