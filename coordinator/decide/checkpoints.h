// Which checkpoints stay, and from which one training goes on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "coordinator/decide/wait_cause.h"

namespace tritter {

struct RetentionRule {
  int64_t keep = 1;         // newest
  int64_t keep_every = 0;   // and the first at or after every multiple of so many steps; 0: none
  bool keep_best = true;    // and the one with the lowest held-out loss
  int64_t extensible = -1;  // and the newest up to this step, from which the run may be extended
};

struct RetainedCheckpoint {
  int64_t step = 0;
  std::optional<double> held_out_loss = {};  // of its weights, where they were evaluated
};

// The steps to drop of those in `checkpoints`, oldest first; never the last checkpoint there is,
// nor `newest_verified` (-1: none). Of equally good ones the newest is the best.
std::vector<int64_t> DecideRetention(absl::Span<const RetainedCheckpoint> checkpoints,
                                     const RetentionRule& rule, int64_t newest_verified);

// A committed checkpoint that was looked at, newest first, up to and including the first good one.
struct CheckedCheckpoint {
  int64_t step = 0;
  absl::Status status;
};

struct ResumeDecision {
  int64_t step = 0;                       // without a checkpoint 0: from the beginning
  bool wait = false;                      // nothing can be decided now: look again later
  WaitCause cause = WaitCause::kNone;     // with `wait`
  std::vector<int64_t> skipped;           // damaged, newest first: their records may go
  std::vector<std::string> holders = {};  // not empty: from the memory of these, no checkpoint
  uint64_t state_epoch = 0;               // then: of the state in it
  std::string reason;                     // names the skipped ones and why; with `wait` what to do
};

// A checkpoint is damaged when it says DataLoss or NotFound. Any other error says nothing about it
// (an unmounted folder, a transient error of input or output), and work is never given up for that:
// the run waits. So it does when there are checkpoints and all are damaged.
ResumeDecision DecideResume(absl::Span<const CheckedCheckpoint> checked);

}  // namespace tritter
