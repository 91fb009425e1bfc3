// The next range of steps of an epoch: pure functions. Every rank and every repeat must get the
// same plan, so the caller keeps what was handed out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "model/run_spec.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

struct PlanOptions {
  int64_t first_steps = 8;                    // before anything was measured
  absl::Duration target = absl::Seconds(30);  // work of a plan once the step time is known
  // While the batch is divided by speeds that are not all known.
  int64_t unmeasured_steps = 3;
  absl::Duration unmeasured_target = absl::Seconds(3);
  int64_t growth = 4;  // a plan is at most this many times as long as the one before
  absl::Duration retry = absl::Milliseconds(200);  // of a Wait
};

struct PlanInputs {
  const RunSpec* spec = nullptr;
  uint64_t epoch = 0;
  int32_t world_size = 1;
  int64_t micro_batch = 1;
  std::vector<v1::RankShare> shares;  // by rank; empty: equal ones
  int64_t start_step = 0;             // of the epoch
  int64_t from_step = 0;              // the plan begins here
  int64_t previous_length = 0;        // steps of the plan before; 0: none
  double seconds_per_step = 0;        // measured; 0: not yet
  bool unmeasured = false;            // shares go by speed, and that of a rank is not known yet
  int64_t committed_step = 0;         // newest committed checkpoint
  bool checkpoint_ordered = false;  // an earlier plan of the epoch orders a checkpoint at from_step
  std::string stop;                 // not empty: the epoch is to end, and why
  bool brief = false;               // of a few steps: the ranks are about to be told to stop
  bool held = false;                // with `stop`: members keep the state of from_step in memory
  // Due at from_step in an earlier epoch, whose state of that step this one began with.
  bool checkpoint_at_start = false, evaluation_at_start = false;
};

struct PlanDecision {
  enum class Kind { kPlan, kWait, kDone } kind = Kind::kWait;
  v1::Plan plan;               // kPlan
  absl::Duration retry_after;  // kWait
  std::string reason;
};

// With sync outer a plan ends where a round does, and what is due inside a round is due at its end.
// An epoch that begins with the last step in memory gets a closing plan.
PlanDecision DecideNextPlan(const PlanInputs& in, const PlanOptions& options = {});

// The step after which an epoch ends that is asked to stop now and whose plans reach up to
// in.from_step: what DecideNextPlan comes to (in.stop is not looked at).
int64_t StopStep(const PlanInputs& in);

// The plan up to step `end` alone, first_step < end <= end_step: the ranks stopped there.
v1::Plan CutPlan(v1::Plan plan, int64_t end);

// Whether a plan has no steps, and only orders the checkpoint of the run's last one, which an
// epoch that is no more has trained. A rank that has carried it out asks on, and is handed it again
// until the checkpoint is committed.
bool IsClosing(const v1::Plan& plan);

// Plans as they were stored, by first step, without those that were cut away: these have no steps,
// and order nothing.
std::vector<v1::Plan> WithoutCutAway(std::vector<v1::Plan> plans);

// Steps s with first < s <= end at which something done every `every` steps and at the end
// (`total`) is due.
std::vector<int64_t> StepsDue(int64_t first, int64_t end, int64_t every, int64_t total);

// How many those are.
int64_t CountDue(int64_t first, int64_t end, int64_t every, int64_t total);

// Positions of the global batch by rank: contiguous, equal up to one.
std::vector<v1::RankShare> EqualShares(int64_t global_batch, int32_t world_size,
                                       int64_t micro_batch);

// The same of given sizes, each with its own micro-batch.
std::vector<v1::RankShare> SharesOf(const std::vector<int64_t>& sequences,
                                    const std::vector<int64_t>& micro_batches);

// Names the epoch, so that files of different attempts never mix.
std::string AttemptName(uint64_t epoch);

}  // namespace tritter
