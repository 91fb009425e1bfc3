#include "worker/plan_cursor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

absl::Status Expected(absl::string_view field, int64_t actual, int64_t expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("plan refused: ", field, " is ", actual, ", expected ", expected));
}

absl::Status CheckSegments(const Plan& plan) {
  int64_t next = plan.first_step;
  for (const PlanSegment& segment : plan.segments) {
    if (segment.first_step != next)
      return Expected("first_step of a segment", segment.first_step, next);
    if (segment.end_step <= segment.first_step)
      return Expected("end_step of a segment", segment.end_step, segment.first_step + 1);
    if (segment.phase != TrainingPhase::kFull) {
      return absl::UnimplementedError(absl::StrCat(
          "plan refused: this worker knows phase full only, steps ", segment.first_step, " to ",
          segment.end_step, " are of phase ", TrainingPhaseName(segment.phase)));
    }
    next = segment.end_step;
  }
  return next == plan.end_step ? absl::OkStatus()
                               : Expected("end_step of the last segment", next, plan.end_step);
}

// One share a rank, in rank order, without gap or overlap over the global batch.
absl::Status CheckShares(const Plan& plan, int world_size) {
  if (static_cast<int64_t>(plan.shares.size()) != world_size) {
    return Expected("number of shares", static_cast<int64_t>(plan.shares.size()), world_size);
  }
  int64_t next = 0;
  for (int r = 0; r < world_size; ++r) {
    const RankShare& share = plan.shares[r];
    if (share.rank != r) return Expected("rank of a share", share.rank, r);
    if (share.first_position != next)
      return Expected(absl::StrCat("first_position of rank ", r), share.first_position, next);
    if (share.count < 0) return Expected(absl::StrCat("count of rank ", r), share.count, 0);
    if (share.micro_batch < 1)
      return Expected(absl::StrCat("micro_batch of rank ", r), share.micro_batch, 1);
    next += share.count;
  }
  return next == plan.global_batch ? absl::OkStatus()
                                   : Expected("sum of the shares", next, plan.global_batch);
}

// With sync outer ranks differ inside a round: nothing may end or be looked at there.
absl::Status CheckRounds(const Plan& plan, const RunSpec& spec) {
  const auto check = [&](absl::string_view field, int64_t step) {
    const int64_t end = RoundEnd(spec, step);
    return step == plan.first_step || end == step ? absl::OkStatus() : Expected(field, step, end);
  };
  RETURN_IF_ERROR(check("end_step", plan.end_step));
  for (const CheckpointOrder& order : plan.checkpoints)
    RETURN_IF_ERROR(check("step of a checkpoint", order.step));
  for (const int64_t step : plan.evaluate_at) RETURN_IF_ERROR(check("step of an evaluation", step));
  return absl::OkStatus();
}

}  // namespace

bool IsClosing(const Plan& plan) {
  return plan.end_step == plan.first_step && plan.end_step == plan.learning_rate.total_steps &&
         !plan.checkpoints.empty();
}

absl::Status CheckPlan(const Plan& plan, int64_t next_step, const RunSpec& spec, int rank,
                       int world_size) {
  if (plan.first_step != next_step) return Expected("first_step", plan.first_step, next_step);
  if (plan.end_step <= plan.first_step && !IsClosing(plan))
    return Expected("end_step", plan.end_step, plan.first_step + 1);
  if (plan.end_step > plan.learning_rate.total_steps)
    return Expected("end_step", plan.end_step, plan.learning_rate.total_steps);
  if (plan.global_batch != spec.global_batch)
    return Expected("global_batch", plan.global_batch, spec.global_batch);
  if (plan.first_slot != plan.first_step * plan.global_batch) {
    return Expected("first_slot", plan.first_slot, plan.first_step * plan.global_batch);
  }
  if (rank < 0 || rank >= world_size) return Expected("own rank", rank, world_size - 1);
  RETURN_IF_ERROR(CheckSegments(plan));
  RETURN_IF_ERROR(CheckShares(plan, world_size));
  for (const CheckpointOrder& order : plan.checkpoints) {
    if (order.step < plan.first_step || order.step > plan.end_step)
      return Expected("step of a checkpoint", order.step, plan.end_step);
    if (order.attempt.empty() || order.attempt.find('/') != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("plan refused: attempt '", order.attempt,
                                                     "' of checkpoint ", order.step,
                                                     " is not a name"));
    }
  }
  for (const int64_t step : plan.evaluate_at) {
    if (step < plan.first_step || step > plan.end_step)
      return Expected("step of an evaluation", step, plan.end_step);
  }
  return CheckRounds(plan, spec);
}

StepAction ActionAt(const Plan& plan, int64_t step, int rank) {
  StepAction action;
  action.step = step;
  action.learning_rate = LrAt(step, plan.learning_rate);
  for (const PlanSegment& segment : plan.segments) {
    if (step >= segment.first_step && step < segment.end_step) action.phase = segment.phase;
  }
  action.first_slot = plan.first_slot + (step - plan.first_step) * plan.global_batch;
  const RankShare& share = plan.shares[rank];
  action.first_position = share.first_position;
  action.count = share.count;
  action.micro_batch = share.micro_batch;
  return action;
}

namespace {
// Near of / golden ratio: of the multiples of that, any few lie evenly.
int64_t SpreadingStride(int64_t of) {
  int64_t stride = std::max<int64_t>(1, std::llround(static_cast<double>(of) * 0.6180339887498949));
  while (std::gcd(stride, of) != 1) ++stride;
  return stride;
}
}  // namespace

WindowShare WindowShareOf(const Plan& plan, int rank) {
  const auto [least, most] =
      std::minmax_element(plan.shares.begin(), plan.shares.end(),
                          [](const auto& a, const auto& b) { return a.count < b.count; });
  if (most->count - least->count <= 1) return {rank, 1, static_cast<int64_t>(plan.shares.size())};
  const RankShare& own = plan.shares[rank];
  return {own.first_position, own.count, plan.global_batch, SpreadingStride(plan.global_batch)};
}

DueWork DueAt(const Plan& plan, int64_t steps_done) {
  DueWork due;
  due.evaluate = std::find(plan.evaluate_at.begin(), plan.evaluate_at.end(), steps_done) !=
                 plan.evaluate_at.end();
  for (const CheckpointOrder& order : plan.checkpoints) {
    if (order.step == steps_done) due.checkpoint = order;
  }
  return due;
}

bool ShouldPrefetch(const Plan& plan, int64_t steps_done) {
  const int64_t length = plan.end_step - plan.first_step;
  const int64_t last_quarter = std::max<int64_t>(1, length / 4);
  return steps_done >= plan.end_step - last_quarter;
}

const char* EpochStageName(EpochStage stage) {
  switch (stage) {
    case EpochStage::kConfiguration:
      return "reading the configuration";
    case EpochStage::kSetUp:
      return "set-up";
    case EpochStage::kCheckpointRead:
      return "reading the checkpoint";
    case EpochStage::kGroup:
      return "joining the group";
    case EpochStage::kMemoryStart:
      return "starting from the memory of members";
    case EpochStage::kPlan:
      return "plan";
    case EpochStage::kStep:
      return "training";
    case EpochStage::kEvaluation:
      return "evaluation";
    case EpochStage::kCheckpointWrite:
      return "writing a checkpoint";
  }
  return "unknown stage";
}

bool IsPermanentFailure(EpochStage stage, const absl::Status& status) {
  // The coordinator has read it: a worker of its version can.
  if (stage == EpochStage::kConfiguration) return false;
  if (stage == EpochStage::kCheckpointRead || stage == EpochStage::kGroup ||
      stage == EpochStage::kCheckpointWrite)
    return false;
  // States that ought to be equal and are not: whichever was taken, one of them may be wrong.
  if (stage == EpochStage::kMemoryStart) return absl::IsDataLoss(status);
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:  // configuration, or a plan that contradicts it
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kNotFound:            // shards
    case absl::StatusCode::kFailedPrecondition:  // tokenizer of the shards
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:  // truncated or damaged shards
    case absl::StatusCode::kInternal:  // non-finite loss or gradient: the same again from the same
                                       // state
      return true;
    default:
      return false;
  }
}

double BitsPerByte(double nats, int64_t raw_bytes) {
  return raw_bytes > 0 ? nats / (std::log(2.0) * static_cast<double>(raw_bytes)) : 0.0;
}

}  // namespace tritter
