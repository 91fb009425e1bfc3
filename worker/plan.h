// What the coordinator orders and what a worker tells it, as domain types: the words of
// workers.proto without protobuf.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "model/schedule.h"

namespace tritter {

// Names the group of workers whose word counts; everything that is not of the newest epoch is
// stale.
struct EpochId {
  std::string run_id;
  uint64_t epoch = 0;
  bool operator==(const EpochId&) const = default;
};

// An order to join an epoch.
struct Assignment {
  EpochId id;
  int rank = 0;
  int world_size = 1;
  std::string spec_yaml;   // effective configuration
  std::string run_dir;     // shared folder; checkpoints lie in run_dir/checkpoints
  int64_t start_step = 0;  // the state that is begun with: checkpoint step-N
  std::string
      manifest_sha256;  // of that checkpoint's manifest.json, hex; empty at step 0: initialise it
  bool fresh() const { return start_step == 0 && manifest_sha256.empty(); }
  absl::Duration collective_timeout = absl::Minutes(10);
  // The state after start_step steps is in the memory of members and no checkpoint is read: who has
  // it goes on with it, the others get that of `state_rank`.
  bool from_memory = false;
  int state_rank = 0;
  uint64_t state_epoch = 0;  // that trained it: that of another one may have been rounded otherwise
  // CPUs and GPUs together, or others of which each rounds an update in its own way: the
  // optimiser's state is sharded over them, whatever spec_yaml says, and collectives go through
  // host memory.
  bool mixed_devices = false;
  std::vector<std::string> members;  // names of the workers, by rank
};

enum class TrainingPhase { kUnspecified, kWarmup, kFull, kPredict, kCorrect };
const char* TrainingPhaseName(TrainingPhase phase);

struct PlanSegment {
  int64_t first_step = 0;
  int64_t end_step = 0;
  TrainingPhase phase = TrainingPhase::kFull;
  std::map<std::string, double> weights;  // curriculum weights in force, by source
};

// Positions [first_position, first_position + count) of every global batch belong to `rank`.
struct RankShare {
  int rank = 0;
  int64_t first_position = 0;
  int64_t count = 0;
  int64_t micro_batch = 0;  // sequences per forward/backward pass
};

// The held-out windows of a rank: window k where k * stride mod `of` lies in [first, first +
// count). The stride has no factor in common with `of`, and spreads any few windows over all ranks.
struct WindowShare {
  int64_t first = 0, count = 1, of = 1, stride = 1;
  bool Has(int64_t window) const {
    const int64_t at = window % of * stride % of;
    return at >= first && at < first + count;
  }
};

struct CheckpointOrder {
  int64_t step = 0;     // state after this many optimiser steps
  std::string attempt;  // folder step-N.tmp-<attempt>
};

// Steps [first_step, end_step) of the run, counted from 0. Every rank of the epoch gets the same
// plan. A checkpoint or an evaluation at first_step comes before the first step: it was due when an
// earlier epoch ended.
struct Plan {
  int64_t first_step = 0;
  int64_t end_step = 0;
  std::vector<PlanSegment> segments;
  ScheduleSpec learning_rate;
  int64_t first_slot = 0;    // global sample slot of first_step
  int64_t global_batch = 0;  // sequences per optimiser step
  std::vector<RankShare> shares;
  std::vector<CheckpointOrder> checkpoints;
  std::vector<int64_t> evaluate_at;  // after this many steps are done
};

// Asks for the plan from a step on: the end of the plan in hand, or the epoch's first step.
struct PlanQuestion {
  int64_t from_step = 0;
  // The ranks have stopped there, inside the plan in hand, since one of them was told to yield or
  // leaves.
  bool yielded = false;
  bool operator==(const PlanQuestion&) const = default;
};

struct PlanWait {
  absl::Duration retry_after;
  std::string reason;
};
struct PlanDone {
  std::string reason;
};
using PlanAnswer = std::variant<Plan, PlanWait, PlanDone>;

// One optimiser step as it is reported. `step` counts steps done: the first step of a run
// reports 1.
struct StepReport {
  int64_t step = 0;
  uint64_t epoch = 0;  // that trained it
  double loss = 0;
  double grad_norm = 0;
  double learning_rate = 0;
  int64_t tokens = 0;
  TrainingPhase phase = TrainingPhase::kFull;
  // From the end of the step before (or of what came between) to the end of this one.
  double step_seconds = 0;
  double data_seconds = 0;  // waiting for the batch, which is read while the step before computes
  double forward_seconds = 0, backward_seconds = 0, reduce_seconds = 0, optimizer_seconds = 0;
  int64_t sent_bytes = 0;  // payload that this rank sent to the others
  absl::Time time;
  // What none of the parts accounts for.
  double other_seconds() const {
    return std::max(0.0, step_seconds - data_seconds - forward_seconds - backward_seconds -
                             reduce_seconds - optimizer_seconds);
  }
};

struct EvaluationReport {
  int64_t step = 0;
  std::string source;
  bool averaged = true;
  double loss = 0;           // nats per predicted token
  double bits_per_byte = 0;  // nats / (ln 2 · raw bytes)
  int64_t tokens = 0;
  int64_t raw_bytes = 0;
  double seconds = 0;
};

struct LogReport {
  absl::Time time;
  std::string line;
};

// One message of progress. The coordinator counts a request id once, however often it is sent.
struct Progress {
  std::string request_id;
  int64_t step = 0;
  std::vector<StepReport> steps;
  std::vector<EvaluationReport> evaluations;
  std::vector<LogReport> log_lines;
  std::string failure;         // not empty: the epoch failed on this worker, and why
  std::string failure_detail;  // what the libraries below said of it, perhaps in several lines
  bool failure_is_permanent = false;
  bool spec_unreadable = false;  // the failure: one of another version wrote the configuration
  bool empty() const {
    return steps.empty() && evaluations.empty() && log_lines.empty() && failure.empty();
  }
};

}  // namespace tritter
