// A run that begins with a checkpoint of another one: may it, and with which checkpoints? Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/run_spec.h"

namespace tritter {

// `next` begins with the whole state of a checkpoint of `base`: every parameter must have the same
// shape, the optimiser must keep the same moments, and a step must be left to train. Of one that
// takes weights only the parameters alone are compared. Returns the
// steps of the checkpoints that will do, newest first: next.clone_step alone when it is given.
// `committed`: the steps of base's checkpoints, oldest first.
// Errors: InvalidArgument (a parameter or the optimiser differs, naming both), FailedPrecondition
// (there is no such checkpoint).
absl::StatusOr<std::vector<int64_t>> DecideClone(const RunSpec& base, const RunSpec& next,
                                                 absl::Span<const int64_t> committed);

}  // namespace tritter
