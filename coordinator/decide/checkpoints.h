// Which checkpoints stay, and from which one training goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace tritter {

// The steps to drop: keeps the newest `keep` (at least one) of the steps, oldest first, and always
// `newest_verified` (0: none).
std::vector<int64_t> DecideRetention(absl::Span<const int64_t> steps, int64_t keep,
                                     int64_t newest_verified);

// A committed checkpoint that was looked at, newest first, up to and including the first good one.
struct CheckedCheckpoint {
  int64_t step = 0;
  absl::Status status;
};

struct ResumeDecision {
  int64_t step = 0;              // 0: from the beginning
  bool wait = false;             // nothing can be decided now: look again later
  std::vector<int64_t> skipped;  // damaged, newest first: their records may go
  std::string reason;            // names the skipped ones and why; with `wait` what to do
};

// A checkpoint is damaged when it says DataLoss or NotFound. Any other error says nothing about it
// (an unmounted folder, a transient error of input or output), and work is never given up for that:
// the run waits. So it does when there are checkpoints and all are damaged.
ResumeDecision DecideResume(absl::Span<const CheckedCheckpoint> checked);

}  // namespace tritter
