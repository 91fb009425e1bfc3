#include "worker/plan_cursor.h"

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::HasSubstr;

RunSpec Spec() {
  RunSpec spec;
  spec.global_batch = 6;
  spec.sequence_length = 8;
  return spec;
}

// Steps 20 to 40 of 100, two ranks.
Plan TwoRankPlan() {
  Plan plan;
  plan.first_step = 20;
  plan.end_step = 40;
  plan.segments = {{20, 30, TrainingPhase::kFull, {}}, {30, 40, TrainingPhase::kFull, {}}};
  plan.learning_rate = {
      .peak = 1.0, .min = 0.1, .warmup_steps = 10, .decay_start_step = 35, .total_steps = 100};
  plan.first_slot = 120;
  plan.global_batch = 6;
  plan.shares = {{0, 0, 4, 2}, {1, 4, 2, 2}};
  plan.checkpoints = {{30, "1-a"}, {40, "1-b"}};
  plan.evaluate_at = {25, 40};
  return plan;
}

TEST(CheckPlan, AcceptsAPlanThatFits) { EXPECT_OK(CheckPlan(TwoRankPlan(), 20, Spec(), 1, 2)); }

TEST(CheckPlan, AcceptsARankWithoutSequences) {
  Plan plan = TwoRankPlan();
  plan.shares = {{0, 0, 6, 2}, {1, 6, 0, 2}};
  EXPECT_OK(CheckPlan(plan, 20, Spec(), 1, 2));
}

TEST(CheckPlan, WithSyncOuterNothingStandsInsideARound) {
  RunSpec spec = Spec();
  spec.sync = "outer";
  spec.steps = 100;
  spec.outer_steps = 10;
  Plan plan = TwoRankPlan();
  EXPECT_THAT(CheckPlan(plan, 20, spec, 1, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("step of an evaluation is 25, expected 30")));
  plan.evaluate_at = {20, 30, 40};
  EXPECT_OK(CheckPlan(plan, 20, spec, 1, 2));
  spec.outer_steps = 15;
  EXPECT_THAT(CheckPlan(plan, 20, spec, 1, 2), StatusIs(absl::StatusCode::kInvalidArgument,
                                                        HasSubstr("end_step is 40, expected 45")));
  spec.outer_steps = 20;
  EXPECT_THAT(CheckPlan(plan, 20, spec, 1, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("step of a checkpoint is 30, expected 40")));
}

TEST(CheckPlan, RefusesWhatDoesNotFitAndSaysWhatWould) {
  struct Case {
    const char* name;
    std::function<void(Plan*)> spoil;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"repeats steps", [](Plan* p) { p->first_step = 19; }, "first_step is 19, expected 20"},
      {"skips steps", [](Plan* p) { p->first_step = 21; }, "first_step is 21, expected 20"},
      {"is empty", [](Plan* p) { p->end_step = 20; }, "end_step is 20, expected 21"},
      {"goes past the end", [](Plan* p) { p->end_step = 101; }, "end_step is 101, expected 100"},
      {"has another batch", [](Plan* p) { p->global_batch = 8; }, "global_batch is 8, expected 6"},
      {"has a shifted cursor", [](Plan* p) { p->first_slot = 126; },
       "first_slot is 126, expected 120"},
      {"has a gap between segments", [](Plan* p) { p->segments[1].first_step = 31; },
       "segment is 31, expected 30"},
      {"has an empty segment", [](Plan* p) { p->segments[0].end_step = 20; },
       "end_step of a segment is 20"},
      {"ends its segments early", [](Plan* p) { p->segments[1].end_step = 39; },
       "last segment is 39, expected 40"},
      {"has no segments", [](Plan* p) { p->segments.clear(); }, "last segment is 20, expected 40"},
      {"lacks a share", [](Plan* p) { p->shares.pop_back(); }, "number of shares is 1, expected 2"},
      {"swaps ranks", [](Plan* p) { std::swap(p->shares[0], p->shares[1]); },
       "rank of a share is 1, expected 0"},
      {"overlaps shares", [](Plan* p) { p->shares[1].first_position = 3; },
       "of rank 1 is 3, expected 4"},
      {"covers too little", [](Plan* p) { p->shares[1].count = 1; },
       "sum of the shares is 5, expected 6"},
      {"has a negative share", [](Plan* p) { p->shares[1].count = -2; }, "count of rank 1 is -2"},
      {"has no micro-batch", [](Plan* p) { p->shares[0].micro_batch = 0; },
       "micro_batch of rank 0 is 0"},
      {"orders a past checkpoint", [](Plan* p) { p->checkpoints[0].step = 19; },
       "step of a checkpoint is 19"},
      {"orders a later checkpoint", [](Plan* p) { p->checkpoints[1].step = 41; },
       "step of a checkpoint is 41"},
      {"evaluates the past", [](Plan* p) { p->evaluate_at = {19}; }, "an evaluation is 19"},
      {"evaluates what it does not train", [](Plan* p) { p->evaluate_at = {41}; },
       "step of an evaluation is 41, expected 40"},
      {"leads out of the folder", [](Plan* p) { p->checkpoints[0].attempt = "../x"; }, "'../x'"},
  };
  for (const Case& c : cases) {
    Plan plan = TwoRankPlan();
    c.spoil(&plan);
    EXPECT_THAT(CheckPlan(plan, 20, Spec(), 0, 2),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << c.name;
  }
}

TEST(CheckPlan, KnowsPhaseFullOnly) {
  for (const TrainingPhase phase : {TrainingPhase::kUnspecified, TrainingPhase::kWarmup,
                                    TrainingPhase::kPredict, TrainingPhase::kCorrect}) {
    Plan plan = TwoRankPlan();
    plan.segments[1].phase = phase;
    EXPECT_THAT(CheckPlan(plan, 20, Spec(), 0, 2),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(TrainingPhaseName(phase))));
  }
}

TEST(ActionAt, GivesEachRankItsShareOfTheSlots) {
  const Plan plan = TwoRankPlan();
  for (int64_t step = 20; step < 40; ++step) {
    const StepAction first = ActionAt(plan, step, 0), second = ActionAt(plan, step, 1);
    EXPECT_EQ(first.first_slot, step * 6);
    EXPECT_EQ(first.first_position, 0);
    EXPECT_EQ(first.count, 4);
    EXPECT_EQ(second.first_slot, step * 6);
    EXPECT_EQ(second.first_position, 4);
    EXPECT_EQ(second.count, 2);
    EXPECT_EQ(second.micro_batch, 2);
    EXPECT_EQ(first.learning_rate, LrAt(step, plan.learning_rate));
    EXPECT_EQ(first.learning_rate, second.learning_rate);
  }
  EXPECT_EQ(ActionAt(plan, 34, 0).learning_rate, 1.0);
  EXPECT_LT(ActionAt(plan, 39, 0).learning_rate, 1.0);
}

TEST(DueAt, NamesCheckpointsAndEvaluationsAfterTheirStep) {
  const Plan plan = TwoRankPlan();
  std::vector<int64_t> checkpoints, evaluations;
  for (int64_t done = 20; done <= 40; ++done) {
    const DueWork due = DueAt(plan, done);
    if (due.checkpoint.has_value()) checkpoints.push_back(done);
    if (due.evaluate) evaluations.push_back(done);
  }
  EXPECT_EQ(checkpoints, (std::vector<int64_t>{30, 40}));
  EXPECT_EQ(evaluations, (std::vector<int64_t>{25, 40}));
  EXPECT_EQ(DueAt(plan, 40).checkpoint->attempt, "1-b");
}

TEST(DueAt, KnowsWhatWasDueWhenAnEarlierEpochEnded) {
  Plan plan = TwoRankPlan();
  plan.checkpoints = {{20, "1-a"}};
  plan.evaluate_at = {20};
  EXPECT_OK(CheckPlan(plan, 20, Spec(), 0, 2));
  EXPECT_TRUE(DueAt(plan, 20).evaluate);
  EXPECT_EQ(DueAt(plan, 20).checkpoint->attempt, "1-a");
}

TEST(ShouldPrefetch, AsksInTheLastQuarterAndBeforeTheLastStep) {
  Plan plan = TwoRankPlan();
  EXPECT_FALSE(ShouldPrefetch(plan, 21));
  EXPECT_FALSE(ShouldPrefetch(plan, 34));
  EXPECT_TRUE(ShouldPrefetch(plan, 35));
  EXPECT_TRUE(ShouldPrefetch(plan, 40));
  plan.end_step = 22;  // two steps
  EXPECT_FALSE(ShouldPrefetch(plan, 20));
  EXPECT_TRUE(ShouldPrefetch(plan, 21));
  plan.end_step = 21;  // one step
  EXPECT_TRUE(ShouldPrefetch(plan, 20));
}

TEST(WindowShareOf, IsThatOfABatchWhereSharesDiffer) {
  Plan plan;
  plan.global_batch = 8;
  plan.shares = {{0, 0, 3, 1}, {1, 3, 3, 1}, {2, 6, 2, 1}};
  for (int rank = 0; rank < 3; ++rank) {
    const WindowShare equal = WindowShareOf(plan, rank);
    for (int64_t k = 0; k < 12; ++k) EXPECT_EQ(equal.Has(k), k % 3 == rank) << k;
  }
  plan.shares = {{0, 0, 1, 1}, {1, 1, 7, 4}};
  for (int64_t k = 0; k < 24; ++k) {
    EXPECT_EQ(WindowShareOf(plan, 0).Has(k), k % 8 == 0) << k;
    EXPECT_EQ(WindowShareOf(plan, 1).Has(k), k % 8 != 0) << k;
  }
}

// However few windows there are, who has a quarter of the batch has about a quarter of them.
TEST(WindowShareOf, SpreadsFewWindowsOverAllRanks) {
  for (const int64_t batch : {4, 16, 96, 100, 255, 256, 1000}) {
    Plan plan;
    plan.global_batch = batch;
    const int64_t part = batch / 4;
    plan.shares = {{0, 0, part, 1}, {1, part, batch - part, 1}};
    const WindowShare first = WindowShareOf(plan, 0), second = WindowShareOf(plan, 1);
    int64_t has = 0;
    for (int64_t k = 0; k < 3 * batch; ++k) {
      EXPECT_NE(first.Has(k), second.Has(k)) << k;
      has += first.Has(k);
      EXPECT_NEAR(has, 0.25 * (k + 1), k < 64 ? 2.0 : 10.0)
          << "of " << k + 1 << ", batch " << batch;
    }
    EXPECT_EQ(has, 3 * part) << batch;
  }
}

TEST(IsPermanentFailure, BlamesTheRunOnlyForWhatIsItsOwn) {
  const absl::Status bad_data = absl::DataLossError("shard"),
                     full = absl::ResourceExhaustedError("disk"),
                     nan = absl::InternalError("loss is NaN"),
                     gone = absl::UnavailableError("peer");
  EXPECT_TRUE(IsPermanentFailure(EpochStage::kSetUp, absl::InvalidArgumentError("spec")));
  EXPECT_FALSE(IsPermanentFailure(EpochStage::kConfiguration, absl::InvalidArgumentError("key")))
      << "a worker of another version may read it";
  EXPECT_TRUE(IsPermanentFailure(EpochStage::kSetUp, absl::NotFoundError("shard")));
  EXPECT_TRUE(IsPermanentFailure(EpochStage::kStep, bad_data));
  EXPECT_TRUE(IsPermanentFailure(EpochStage::kStep, nan));
  EXPECT_TRUE(IsPermanentFailure(EpochStage::kPlan, absl::UnimplementedError("phase")));
  EXPECT_FALSE(
      IsPermanentFailure(EpochStage::kCheckpointRead, bad_data));  // an older one may be whole
  EXPECT_FALSE(
      IsPermanentFailure(EpochStage::kCheckpointWrite, absl::InternalError("input/output error")));
  EXPECT_TRUE(IsPermanentFailure(EpochStage::kMemoryStart, bad_data));
  EXPECT_FALSE(IsPermanentFailure(EpochStage::kMemoryStart, absl::NotFoundError("no state")));
  EXPECT_FALSE(IsPermanentFailure(EpochStage::kStep, gone));
  EXPECT_FALSE(IsPermanentFailure(EpochStage::kSetUp, full));
  EXPECT_FALSE(IsPermanentFailure(EpochStage::kGroup, absl::InvalidArgumentError("no such host")));
}

TEST(BitsPerByte, CountsNatsOverBytes) {
  EXPECT_DOUBLE_EQ(BitsPerByte(std::log(2.0) * 300, 100), 3.0);
  EXPECT_EQ(BitsPerByte(1.0, 0), 0.0);
}

}  // namespace
}  // namespace tritter
