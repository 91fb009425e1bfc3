// From a plan to actions, as pure functions: what may be executed, what each step needs, when to
// ask for more.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "model/run_spec.h"
#include "worker/plan.h"

namespace tritter {

// One optimiser step of one rank.
struct StepAction {
  int64_t step = 0;  // 0-based index of the step
  double learning_rate = 0;
  TrainingPhase phase = TrainingPhase::kFull;
  int64_t first_slot = 0;      // global slot of position 0 of this step's batch
  int64_t first_position = 0;  // of this rank
  int64_t count = 0;           // sequences of this rank; 0 is allowed (more ranks than sequences)
  int64_t micro_batch = 0;
};

// What a plan orders once a number of steps is done: evaluation first, then the checkpoint.
struct DueWork {
  bool evaluate = false;
  std::optional<CheckpointOrder> checkpoint;
};

// Whether a plan has no steps, and only orders the checkpoint of the run's last one, which an
// earlier epoch has trained. Whoever has carried it out is handed it again until that is committed.
bool IsClosing(const Plan& plan);

// Refuses what this worker could not execute exactly as ordered. Errors: InvalidArgument naming
// field, actual and expected; Unimplemented for a phase other than FULL.
absl::Status CheckPlan(const Plan& plan, int64_t next_step, const RunSpec& spec, int rank,
                       int world_size);

// `plan` has passed CheckPlan and step lies in [plan.first_step, plan.end_step).
StepAction ActionAt(const Plan& plan, int64_t step, int rank);

// `steps_done` lies in [plan.first_step, plan.end_step].
DueWork DueAt(const Plan& plan, int64_t steps_done);

// What of an evaluation a rank of `plan`, which has passed CheckPlan, does: as much as of a batch,
// so that all are done at the same time. Where shares of a batch are equal (up to one sequence),
// every window whose number divided by the number of ranks leaves `rank`.
WindowShare WindowShareOf(const Plan& plan, int rank);

// Whether to ask for the plan after this one, `steps_done` being the run's steps done: in its last
// quarter, and never later than before its last step. Late enough that pauses and checkpoint orders
// are fresh, early enough that nobody waits.
bool ShouldPrefetch(const Plan& plan, int64_t steps_done);

// Where in an epoch something went wrong.
enum class EpochStage {
  kConfiguration,  // the run's is read
  kSetUp,
  kCheckpointRead,
  kGroup,
  kMemoryStart,
  kPlan,
  kStep,
  kEvaluation,
  kCheckpointWrite
};
const char* EpochStageName(EpochStage stage);

// Repeating the epoch from its checkpoint cannot help: the run's data or configuration are at
// fault. Groups, disks and checkpoints may be better next time, on this machine or another.
bool IsPermanentFailure(EpochStage stage, const absl::Status& status);

// nats / (ln 2 · raw bytes); 0 when there are no bytes.
double BitsPerByte(double nats, int64_t raw_bytes);

}  // namespace tritter
