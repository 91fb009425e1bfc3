// How much of every global batch each rank of a group trains. Pure. The samples and their order are
// the batch's own: rank r has the positions that follow those of the ranks before it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace tritter {

struct SplitOptions {
  // Part of a step's computation that another split must save: figures move, a split should not.
  double worth = 0.1;
};

struct RankSpeed {
  double seconds_per_sequence = 0;                     // own computation; 0: unknown
  int64_t most = std::numeric_limits<int64_t>::max();  // sequences that its memory takes, >= 1
};

// Whether shares go by what the ranks measure. `split`: workers.split; with "auto" that is where
// the devices differ, but for the number of a GPU within its host.
bool IsMeasured(const std::string& split, absl::Span<const std::string> devices);

bool AllMeasured(absl::Span<const RankSpeed> ranks);

// In a group of CPUs and GPUs of which nobody has measured some: those are taken to be as fast as
// the measured ones of their kind, or else a GPU for 16 times as fast as a CPU. An equal split
// would let the GPUs wait for most of every step until then.
void GuessSpeeds(absl::Span<const std::string> devices, std::vector<RankSpeed>* ranks);

// What a rank's speed is taken for, from what it was taken for in the plan before and what it
// measures now (seconds; 0: unknown): half way, as ratios. A processor that is held back for part
// of the time seems faster the less it is given, so that what is measured is not believed at once.
double SmoothedSeconds(double before, double now);

// Sequences of each rank so that the slowest is done as early as can be; at least one each. Empty
// where a speed is unknown or the batch does not fit: fewer sequences than ranks, or more than all
// may have.
std::vector<int64_t> SplitBatch(absl::Span<const RankSpeed> ranks, int64_t global_batch);

// Computation of a step, seconds, of the rank that is done last.
double SlowestSeconds(absl::Span<const RankSpeed> ranks, absl::Span<const int64_t> sequences);

// The split from the next plan on: `current` [ranks] unless another one is worth the change.
std::vector<int64_t> DecideSplit(absl::Span<const RankSpeed> ranks, int64_t global_batch,
                                 const std::vector<int64_t>& current,
                                 const SplitOptions& options = {});

// "a 11, b 5 of 16 sequences"; of many ranks the first few.
std::string SplitWords(absl::Span<const std::string> workers, absl::Span<const int64_t> sequences);

}  // namespace tritter
