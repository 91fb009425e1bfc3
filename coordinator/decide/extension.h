// A run that goes on from a checkpoint of another one with a new number of steps: may it, and from
// which checkpoints? Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/run_spec.h"

namespace tritter {

// `next` is `base` with another number of steps: what shapes training is the same (warm-up, length
// of the decay and window of the average in steps, model, data, batch, seed, optimiser), so that
// its steps up to a checkpoint are those that `base` made. Returns the steps of those checkpoints,
// newest first: next.extend_step alone when it is given. `committed`: the steps of base's
// checkpoints, oldest first.
// Errors: InvalidArgument (something else differs: the first line of both configurations that
// does), FailedPrecondition (the checkpoint lies in the decay phase, is not there, or none is
// there).
absl::StatusOr<std::vector<int64_t>> DecideExtension(const RunSpec& base, const RunSpec& next,
                                                     absl::Span<const int64_t> committed);

// The last step whose checkpoint can be extended by any number of steps: the end of the stable
// phase, or a little before it where the weights of the sources change with the decay.
int64_t LastExtensibleStep(const RunSpec& spec);

}  // namespace tritter
