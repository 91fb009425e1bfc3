#include "coordinator/decide/plan.h"

#include <gmock/gmock.h>

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Kind = PlanDecision::Kind;

RunSpec Spec() {
  RunSpec s;
  s.sources = {{"books", "/b", 3.0, 4.0}, {"code", "/c", 1.0, 4.0}};
  s.steps = 1000;
  s.global_batch = 16;
  s.checkpoint_every = 200;
  s.evaluate_every = 100;
  s.schedule = {3e-3, 3e-4, 50, 800, 1000, DecayShape::kLinear};
  return s;
}

PlanInputs Inputs(const RunSpec& spec, int64_t from) {
  PlanInputs in;
  in.spec = &spec;
  in.epoch = 3;
  in.world_size = 2;
  in.micro_batch = 8;
  in.from_step = from;
  return in;
}

std::vector<int64_t> Orders(const v1::Plan& plan) {
  std::vector<int64_t> out;
  for (const auto& c : plan.checkpoints()) out.push_back(c.step());
  return out;
}

TEST(DecideNextPlan, IsShortAsLongAsTheSpeedOfARankIsNotKnown) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 0);
  in.unmeasured = true;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 3);
  in.previous_length = 3;
  in.seconds_per_step = 0.01;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 12) << "no more than four times as long";
  in.seconds_per_step = 1;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 3);
  in.unmeasured = false;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 12);
}

TEST(DecideNextPlan, StartsSmallAndCarriesEverythingWorkersNeed) {
  const RunSpec spec = Spec();
  const PlanDecision d = DecideNextPlan(Inputs(spec, 0));
  ASSERT_EQ(d.kind, Kind::kPlan);
  EXPECT_EQ(d.plan.first_step(), 0);
  EXPECT_EQ(d.plan.end_step(), 8);
  EXPECT_EQ(d.plan.first_slot(), 0);
  EXPECT_EQ(d.plan.global_batch(), 16);
  EXPECT_EQ(d.plan.learning_rate().peak(), 3e-3);
  EXPECT_EQ(d.plan.learning_rate().min(), 3e-4);
  EXPECT_EQ(d.plan.learning_rate().warmup_steps(), 50);
  EXPECT_EQ(d.plan.learning_rate().decay_start_step(), 800);
  EXPECT_EQ(d.plan.learning_rate().total_steps(), 1000);
  EXPECT_EQ(d.plan.learning_rate().shape(), "linear");
  ASSERT_EQ(d.plan.segments_size(), 1);
  EXPECT_EQ(d.plan.segments(0).phase(), v1::PHASE_FULL);
  EXPECT_EQ(d.plan.segments(0).weights(0).source(), "books");
  EXPECT_EQ(d.plan.segments(0).weights(0).weight(), 3.0);
  ASSERT_EQ(d.plan.shares_size(), 2);
  EXPECT_EQ(d.plan.shares(1).first_position(), 8);
  EXPECT_EQ(d.plan.shares(1).count(), 8);
  EXPECT_EQ(d.plan.shares(1).micro_batch(), 8);
  EXPECT_THAT(Orders(d.plan), IsEmpty());
}

TEST(DecideNextPlan, LastsTheTargetByMeasuredStepTimeAndGrowsByBounds) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 8);
  in.seconds_per_step = 0.25;  // 120 steps are 30 s
  in.previous_length = 8;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 8 + 32);
  in.previous_length = 100;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 8 + 120);
  in.seconds_per_step = 1000;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 9);
  in.seconds_per_step = 0.25;
  in.brief = true;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 8 + 8);
  in.brief = false;
  in.seconds_per_step = 1e-12;
  in.previous_length = 0;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 1000);
}

TEST(DecideNextPlan, OrdersCheckpointsAndEvaluationsInsideThePlan) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 150);
  in.seconds_per_step = 0.1;
  const PlanDecision d = DecideNextPlan(in);
  EXPECT_EQ(d.plan.end_step(), 450);
  EXPECT_THAT(Orders(d.plan), ElementsAre(200, 400));
  EXPECT_EQ(d.plan.checkpoints(0).attempt(), "e3");
  EXPECT_THAT(d.plan.evaluate_at(), ElementsAre(200, 300, 400));
  EXPECT_EQ(d.plan.first_slot(), 150 * 16);
}

TEST(DecideNextPlan, SplitsSegmentsWhereTheCurriculumChanges) {
  RunSpec spec = Spec();
  spec.stages = {{.from = 800, .weights = {{"code", 2.0}}},
                 {.from = 2000, .weights = {{"text", 1.0}}}};
  PlanInputs in = Inputs(spec, 790);
  in.seconds_per_step = 1.0;
  const v1::Plan plan = DecideNextPlan(in).plan;
  ASSERT_EQ(plan.segments_size(), 2);
  EXPECT_EQ(plan.segments(0).end_step(), 800);
  EXPECT_EQ(plan.segments(1).first_step(), 800);
  EXPECT_EQ(plan.segments(1).end_step(), plan.end_step());
  EXPECT_EQ(plan.segments(1).weights(0).weight(), 0.0);
  EXPECT_EQ(plan.segments(1).weights(1).weight(), 2.0);
  in.from_step = 800;
  EXPECT_EQ(DecideNextPlan(in).plan.segments_size(), 1);
}

TEST(DecideNextPlan, EndsAtTheLastStepWithACheckpointAndAnEvaluation) {
  RunSpec spec = Spec();
  spec.checkpoint_every = 0;
  spec.evaluate_every = 0;
  const v1::Plan plan = DecideNextPlan(Inputs(spec, 995)).plan;
  EXPECT_EQ(plan.end_step(), 1000);
  EXPECT_THAT(Orders(plan), ElementsAre(1000));
  EXPECT_THAT(plan.evaluate_at(), ElementsAre(1000));
}

TEST(DecideNextPlan, WaitsForTheLastCheckpointAndIsThenDone) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 1000);
  in.checkpoint_ordered = true;
  in.committed_step = 800;
  PlanDecision d = DecideNextPlan(in);
  EXPECT_EQ(d.kind, Kind::kWait);
  EXPECT_GT(d.retry_after, absl::ZeroDuration());
  EXPECT_THAT(d.reason, HasSubstr("checkpoint of step 1000 is being written"));
  in.committed_step = 1000;
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kDone);
}

TEST(DecideNextPlan, StopsAfterOneMoreStepWithACheckpoint) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 123);
  in.stop = "pause asked for";
  in.seconds_per_step = 0.001;
  PlanDecision d = DecideNextPlan(in);
  ASSERT_EQ(d.kind, Kind::kPlan);
  EXPECT_EQ(d.plan.end_step(), 124);
  EXPECT_THAT(Orders(d.plan), ElementsAre(124));
  in.from_step = 124;
  in.checkpoint_ordered = true;
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kWait);
  in.committed_step = 124;
  d = DecideNextPlan(in);
  EXPECT_EQ(d.kind, Kind::kDone);
  EXPECT_EQ(d.reason, "pause asked for");
}

TEST(DecideNextPlan, StopsAtOnceWhereTheStateIsSafeAlready) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 200);
  in.stop = "cancel asked for";
  in.committed_step = 200;
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kDone);
  EXPECT_EQ(DecideNextPlan([&] {
              PlanInputs fresh = Inputs(spec, 0);
              fresh.stop = "x";
              return fresh;
            }())
                .kind,
            Kind::kDone);
  in.committed_step = 0;
  in.checkpoint_ordered = true;  // the plan before ordered one here
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kWait);
}

TEST(DecideNextPlan, PlansOfAnyLengthsTileTheRunAndOrderEachCheckpointOnce) {
  const RunSpec spec = Spec();
  for (const double seconds : {0.0, 0.07, 0.9, 5.0}) {
    std::vector<int64_t> orders, evaluations;
    PlanInputs in = Inputs(spec, 0);
    in.seconds_per_step = seconds;
    while (in.from_step < spec.steps) {
      const v1::Plan plan = DecideNextPlan(in).plan;
      ASSERT_EQ(plan.first_step(), in.from_step);
      ASSERT_GT(plan.end_step(), plan.first_step());
      for (const int64_t s : Orders(plan)) orders.push_back(s);
      for (const int64_t s : plan.evaluate_at()) evaluations.push_back(s);
      in.previous_length = plan.end_step() - plan.first_step();
      in.from_step = plan.end_step();
    }
    EXPECT_THAT(orders, ElementsAre(200, 400, 600, 800, 1000));
    EXPECT_EQ(evaluations.size(), 10u);
  }
}

TEST(DecideNextPlan, EndsWithoutACheckpointWhereMembersKeepTheState) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 250);
  in.committed_step = 200;
  in.stop = "takes in w-2";
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kPlan) << "a step with a checkpoint";
  in.held = true;
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kDone);
  EXPECT_EQ(DecideNextPlan(in).reason, "takes in w-2");
  EXPECT_EQ(StopStep(in), 250);
  in.checkpoint_ordered = true;  // one that is being written is not thrown away
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kWait);
  in.checkpoint_ordered = false;
  in.stop = "";
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kPlan) << "the wish has gone";
  in.from_step = 1000;  // memory is no end of a run
  EXPECT_EQ(DecideNextPlan(in).kind, Kind::kWait);
}

TEST(DecideNextPlan, OrdersAtItsFirstStepWhatWasDueThere) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 400);
  in.checkpoint_at_start = true;
  in.evaluation_at_start = true;
  const v1::Plan plan = DecideNextPlan(in).plan;
  EXPECT_THAT(Orders(plan), ElementsAre(400));
  EXPECT_EQ(plan.checkpoints(0).attempt(), "e3");
  EXPECT_THAT(plan.evaluate_at(), ElementsAre(400));
}

TEST(CutPlan, EndsWhereTheRanksStopped) {
  RunSpec spec = Spec();
  spec.stages = {{210, false, {{"books", 1.0}}}};
  PlanInputs in = Inputs(spec, 180);
  in.seconds_per_step = 0.1;
  const v1::Plan whole = DecideNextPlan(in).plan;
  ASSERT_EQ(whole.end_step(), 480);
  ASSERT_EQ(whole.segments_size(), 2);
  EXPECT_EQ(CutPlan(whole, 480).SerializeAsString(), whole.SerializeAsString());
  const v1::Plan late = CutPlan(whole, 300);
  EXPECT_EQ(late.first_step(), 180);
  EXPECT_EQ(late.end_step(), 300);
  EXPECT_EQ(late.segments(1).end_step(), 300);
  EXPECT_THAT(Orders(late), ElementsAre(200));
  EXPECT_THAT(late.evaluate_at(), ElementsAre(200, 300));
  const v1::Plan early = CutPlan(whole, 199);
  ASSERT_EQ(early.segments_size(), 1);
  EXPECT_EQ(early.segments(0).end_step(), 199);
  EXPECT_THAT(Orders(early), IsEmpty());
  EXPECT_THAT(early.evaluate_at(), IsEmpty());
  EXPECT_EQ(CutPlan(whole, 210).segments_size(), 1) << "a segment without steps is none";
}

TEST(WithoutCutAway, DropsPlansWithoutSteps) {
  v1::Plan kept, gone;
  kept.set_end_step(5);
  gone.set_first_step(8);
  gone.set_end_step(8);
  EXPECT_EQ(WithoutCutAway({kept, gone}).size(), 1u);
}

TEST(EqualShares, CoverTheBatchContiguously) {
  for (const int world : {1, 2, 3, 5, 16}) {
    int32_t next = 0;
    for (const v1::RankShare& s : EqualShares(16, world, 8)) {
      EXPECT_EQ(s.first_position(), next);
      EXPECT_GE(s.micro_batch(), 1);
      EXPECT_LE(s.micro_batch(), std::max(1, s.count()));
      next += s.count();
    }
    EXPECT_EQ(next, 16);
  }
}

TEST(StopStep, IsWhereTheNextPlansEnd) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 40);
  in.start_step = in.committed_step = 32;
  EXPECT_EQ(StopStep(in), 41) << "one more step, which is saved";
  in.checkpoint_ordered = true;
  EXPECT_EQ(StopStep(in), 40);
  in.checkpoint_ordered = false;
  in.committed_step = 40;
  EXPECT_EQ(StopStep(in), 40);
  EXPECT_EQ(StopStep(Inputs(spec, 0)), 0);
  EXPECT_EQ(StopStep(Inputs(spec, 1000)), 1000);
}

// All steps are done, by an epoch that ended before their checkpoint was written.
TEST(DecideNextPlan, ClosesTheRunWhoseLastStepIsInMemory) {
  const RunSpec spec = Spec();
  PlanInputs in = Inputs(spec, 1000);
  in.start_step = 1000;
  in.committed_step = 800;
  in.checkpoint_at_start = in.evaluation_at_start = true;
  const PlanDecision d = DecideNextPlan(in);
  ASSERT_EQ(d.kind, PlanDecision::Kind::kPlan);
  EXPECT_TRUE(IsClosing(d.plan));
  EXPECT_EQ(d.plan.first_step(), 1000);
  EXPECT_EQ(d.plan.end_step(), 1000);
  EXPECT_THAT(Orders(d.plan), ElementsAre(1000));
  EXPECT_THAT(d.plan.evaluate_at(), ElementsAre(1000));
  EXPECT_EQ(d.plan.shares_size(), 2);
  EXPECT_EQ(d.plan.segments_size(), 0);
  EXPECT_THAT(WithoutCutAway({d.plan}), SizeIs(1));
  in.stop = "paused";  // it ends in the same
  EXPECT_TRUE(IsClosing(DecideNextPlan(in).plan));
  in.checkpoint_at_start = false;
  EXPECT_EQ(DecideNextPlan(in).kind, PlanDecision::Kind::kWait);
  in.committed_step = 1000;
  EXPECT_EQ(DecideNextPlan(in).kind, PlanDecision::Kind::kDone);
}

TEST(DecideNextPlan, WithSyncOuterEverythingStandsAtTheEndOfARound) {
  RunSpec spec = Spec();
  spec.sync = "outer";
  spec.outer_steps = 30;
  spec.evaluate_every = 50;
  PlanInputs in = Inputs(spec, 0);
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 30) << "eight steps, rounded up";
  in.from_step = 30;
  in.seconds_per_step = 0.1;
  in.previous_length = 100;
  const v1::Plan long_one = DecideNextPlan(in).plan;
  EXPECT_EQ(long_one.end_step(), 330);
  EXPECT_THAT(Orders(long_one), ElementsAre(210));
  EXPECT_THAT(long_one.evaluate_at(), ElementsAre(60, 120, 150, 210, 270, 300));
  in.from_step = 960;
  const v1::Plan last = DecideNextPlan(in).plan;
  EXPECT_EQ(last.end_step(), 1000) << "the last round may be shorter";
  EXPECT_THAT(Orders(last), ElementsAre(1000));
  EXPECT_THAT(last.evaluate_at(), ElementsAre(1000));
  // A clone may begin anywhere; its first round is shorter.
  in = Inputs(spec, 47);
  in.committed_step = 47;
  EXPECT_EQ(DecideNextPlan(in).plan.end_step(), 60);
  in.from_step = 60;
  in.stop = "pause asked for";
  EXPECT_EQ(StopStep(in), 90);
  const PlanDecision stop = DecideNextPlan(in);
  EXPECT_EQ(stop.plan.end_step(), 90);
  EXPECT_THAT(Orders(stop.plan), ElementsAre(90));
  EXPECT_THAT(stop.reason, HasSubstr("one more round"));
  spec.evaluate_every = 20;
  in = Inputs(spec, 30);
  EXPECT_THAT(DecideNextPlan(in).plan.evaluate_at(), ElementsAre(60)) << "40 and 60 are one";
}

TEST(CountDue, CountsTheStepsDue) {
  for (const int64_t every : {0, 1, 7, 100}) {
    for (const int64_t first : {0, 6, 7, 99, 100}) {
      for (const int64_t end : {0, 7, 50, 99, 100}) {
        EXPECT_EQ(CountDue(first, end, every, 100),
                  static_cast<int64_t>(StepsDue(first, end, every, 100).size()))
            << first << " " << end << " " << every;
      }
    }
  }
}

}  // namespace
}  // namespace tritter
