#include "coordinator/decide/extension.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// 1000 steps, warm-up 10, decay from 810 on.
RunSpec Base() {
  RunSpec spec;
  spec.name = "base";
  spec.model = *PresetConfig("nano");
  spec.sources = {{"a", "/a", 1.0, 4.0}};
  spec.steps = 1000;
  spec.sequence_length = 128;
  spec.global_batch = 16;
  spec.ema_window = 10;
  spec.schedule = {6e-4, 6e-5, 10, 810, 1000, DecayShape::kCosine};
  return spec;
}
RunSpec Extended(int64_t steps, int64_t from = 0) {
  RunSpec spec = Base();
  spec.extend_run = "base";
  spec.extend_step = from;
  spec.steps = steps;
  spec.schedule = WithTotalSteps(spec.schedule, steps);
  return spec;
}

TEST(DecideExtension, TakesTheCheckpointsOfTheStablePhaseNewestFirst) {
  EXPECT_THAT(*DecideExtension(Base(), Extended(2000), {400, 800, 810, 811, 1000}),
              ElementsAre(810, 800, 400));
  EXPECT_THAT(*DecideExtension(Base(), Extended(2000, 400), {400, 800, 1000}), ElementsAre(400));
}

TEST(DecideExtension, RefusesACheckpointOfTheDecayPhaseWithASentence) {
  EXPECT_THAT(DecideExtension(Base(), Extended(2000, 1000), {800, 1000}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "extend.step: the checkpoint of step 1000 cannot be extended: its decay "
                       "phase begins at step 810; take one of step 810 or before (its checkpoints "
                       "are of steps 800, 1000)"));
  EXPECT_THAT(DecideExtension(Base(), Extended(2000), {900, 1000}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("no checkpoint of step 810 or before")));
  EXPECT_THAT(DecideExtension(Base(), Extended(2000, 300), {800}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("no checkpoint of step 300; its checkpoints are of steps 800")));
  EXPECT_THAT(DecideExtension(Base(), Extended(2000), {}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has no checkpoint")));
}

TEST(DecideExtension, AShorterRunDecaysEarlier) {
  EXPECT_THAT(*DecideExtension(Base(), Extended(700), {400, 510, 600, 800}), ElementsAre(510, 400));
  EXPECT_THAT(DecideExtension(Base(), Extended(700, 600), {400, 600}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("with 700 steps the decay begins at step 510")));
}

TEST(DecideExtension, SaysHowManyStepsWouldDo) {
  EXPECT_THAT(DecideExtension(Base(), Extended(700), {600, 800, 1000}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("from step 600 it can be extended to 790 steps or more")));
  EXPECT_OK(DecideExtension(Base(), Extended(790), {600, 800, 1000}).status());
}

TEST(DecideExtension, WhereWeightsChangeWithTheDecayTheBlockOfSamplesThatIsCutStaysOut) {
  RunSpec base = Base(), next = Extended(2000);
  base.stages = {{.from = 810, .at_decay = true, .weights = {{"a", 1.0}}}};
  next.stages = {{.from = 1810, .at_decay = true, .weights = {{"a", 1.0}}}};
  // 810 steps of 16 are 12960 samples: the block from 12000 on is cut there.
  EXPECT_THAT(*DecideExtension(base, next, {400, 750, 751, 800}), ElementsAre(750, 400));
  next.extend_step = 800;
  EXPECT_THAT(DecideExtension(base, next, {400, 800}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("the order of its samples depends on that from step 750 on")));
  // The same total: nothing moves.
  next = Extended(1000);
  next.stages = base.stages;
  EXPECT_THAT(*DecideExtension(base, next, {800}), ElementsAre(800));
}

TEST(DecideExtension, OtherStagesStayWhereTheyAre) {
  RunSpec base = Base(), next = Extended(2000);
  base.stages = next.stages = {{.from = 300, .weights = {{"a", 1.0}}}};
  EXPECT_THAT(*DecideExtension(base, next, {400, 810}), ElementsAre(810, 400));
  next.stages[0].from = 600;  // 30 % of the steps of each, say
  EXPECT_THAT(DecideExtension(base, next, {400}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("from: 300")));
}

TEST(LastExtensibleStep, IsTheEndOfTheStablePhaseOrOfItsLastWholeBlockOfSamples) {
  RunSpec spec = Base();
  EXPECT_EQ(LastExtensibleStep(spec), 810);
  spec.stages = {{.from = 810, .at_decay = true, .weights = {{"a", 1.0}}}};
  EXPECT_EQ(LastExtensibleStep(spec), 750);
}

TEST(DecideExtension, WhatDoesNotShapeTrainingMayChange) {
  RunSpec next = Extended(2000);
  next.name = "longer";
  next.max_workers = 4;
  next.shard_optimizer = true;
  next.checkpoint_keep = 9;
  next.evaluate_every = 7;
  next.export_format = "tpack";
  next.export_head = "int8";
  next.priority = 3;
  next.sources[0].max_epochs = 8;
  EXPECT_OK(DecideExtension(Base(), next, {800}).status());
  RunSpec clone = Base();  // how it began is in its checkpoint
  clone.clone_run = "other";
  clone.clone_step = 7;
  clone.clone_weights_only = true;
  EXPECT_OK(DecideExtension(clone, next, {800}).status());
}

TEST(DecideExtension, NamesTheFirstThingThatMayNot) {
  struct Case {
    void (*change)(RunSpec*);
    const char* message;
  };
  const Case cases[] = {
      {[](RunSpec* s) { s->seed = 3; }, "has `seed: 0`, this one `seed: 3`"},
      {[](RunSpec* s) { s->schedule.decay_start_step = 1620; },
       "has `decay: 190`, this one `decay: 380`"},
      {[](RunSpec* s) { s->schedule.warmup_steps = 20; },
       "has `warmup: 10`, this one `warmup: 20`"},
      {[](RunSpec* s) { s->ema_window = 20; }, "has `ema_window: 10`, this one `ema_window: 20`"},
      {[](RunSpec* s) { s->model.layers = 3; }, "this one `layers: 3`"},
      {[](RunSpec* s) { s->sources[0].weight = 2; }, "has `weight: 1.0`, this one `weight: 2.0`"},
      {[](RunSpec* s) { s->sources.push_back({"b", "/b", 1.0, 4.0}); }, "this one `- name: \"b\"`"},
      {[](RunSpec* s) { s->moments = "8bit"; }, "has `moments: fp32`, this one `moments: 8bit`"},
  };
  for (const Case& c : cases) {
    RunSpec next = Extended(2000);
    c.change(&next);
    EXPECT_THAT(DecideExtension(Base(), next, {800}).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

// With a schedule without decay the stable phase reaches to the end.
TEST(DecideExtension, LeavesAStepToTrain) {
  const auto constant = [](RunSpec spec) {
    spec.schedule.decay_start_step = spec.steps;
    return spec;
  };
  const RunSpec base = constant(Base());
  EXPECT_THAT(*DecideExtension(base, constant(Extended(2000)), {500, 1000}),
              ElementsAre(1000, 500));
  EXPECT_THAT(*DecideExtension(base, constant(Extended(1000)), {500, 1000}), ElementsAre(500));
  EXPECT_THAT(DecideExtension(base, constant(Extended(500, 500)), {500, 1000}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("the checkpoint of step 500 cannot be extended: with 500 steps it "
                                 "would be at its end; take one of step 499 or before")));
}

TEST(DecideExtension, TheLastRoundOfOuterStepsIsOfTheRunThatEndsThere) {
  const auto outer = [](RunSpec spec) {
    spec.sync = "outer";
    spec.outer_steps = 50;
    spec.schedule.decay_start_step = spec.steps;
    return spec;
  };
  const RunSpec base = outer(Base());
  EXPECT_EQ(LastExtensibleStep(base), 999);
  EXPECT_THAT(*DecideExtension(base, outer(Extended(2000)), {950, 1000}), ElementsAre(950));
  EXPECT_THAT(DecideExtension(base, outer(Extended(2000, 1000)), {950, 1000}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("the last round of")));
}

// What was trained in the warm-up was trained as the longer run would have.
TEST(DecideExtension, GoesOnInsideTheWarmUpWithTheRatesItHad) {
  const RunSpec base = Base(), longer = Extended(2000);
  EXPECT_THAT(*DecideExtension(base, Extended(2000, 5), {5, 10}), ElementsAre(5));
  for (int64_t step = 0; step < base.schedule.decay_start_step; ++step)
    ASSERT_EQ(LrAt(step, base.schedule), LrAt(step, longer.schedule)) << step;
  RunSpec slower = longer;
  slower.schedule.warmup_steps = 20;
  EXPECT_THAT(DecideExtension(base, slower, {5, 10}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("run base has `warmup: 10`, this one `warmup: 20`")));
}

}  // namespace
}  // namespace tritter
