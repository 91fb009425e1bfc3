#include "coordinator/decide/clone.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using Code = absl::StatusCode;

RunSpec Spec(const std::string& model, const std::string& training) {
  absl::StatusOr<RunSpec> spec = ParseRunSpec(
      absl::StrCat("model: {preset: nano", model,
                   "}\ndata: {sources: [{name: a, shards: /a}]}\ntraining: {", training, "}\n"),
      "run.yaml", "/");
  EXPECT_OK(spec);
  return *spec;
}

RunSpec Clone(RunSpec next, int64_t step = 0) {
  next.clone_run = "base";
  next.clone_step = step;
  return next;
}

TEST(DecideClone, TheNewestCheckpointsComeFirst) {
  const RunSpec base = Spec("", "steps: 100");
  EXPECT_THAT(*DecideClone(base, Clone(Spec("", "steps: 200")), {20, 40}), ElementsAre(40, 20));
  EXPECT_THAT(*DecideClone(base, Clone(Spec("", "steps: 200"), 20), {20, 40}), ElementsAre(20));
}

TEST(DecideClone, ScheduleDataAndWhatHasNoShapeMayChange) {
  const RunSpec base = Spec("", "steps: 100, seed: 1");
  RunSpec next = Spec(", rope_theta: 10000.0",
                      "steps: 50, seed: 2, global_batch: 8, learning_rate: {peak: 1.0e-4}");
  next.sources[0].shards = "/other";
  EXPECT_THAT(*DecideClone(base, Clone(next), {20, 40}), ElementsAre(40, 20));
}

TEST(DecideClone, AStepMustBeLeftToTrain) {
  const RunSpec base = Spec("", "steps: 100");
  EXPECT_THAT(*DecideClone(base, Clone(Spec("", "steps: 50")), {40, 100}), ElementsAre(40));
  EXPECT_THAT(DecideClone(base, Clone(Spec("", "steps: 100")), {100}),
              StatusIs(Code::kFailedPrecondition,
                       HasSubstr("training.steps is 100 and training goes on at the cloned step")));
}

TEST(DecideClone, AParameterOfAnotherShapeIsNamed) {
  const RunSpec base = Spec("", "steps: 100");
  EXPECT_THAT(DecideClone(base, Clone(Spec(", vocab: 1000", "steps: 100")), {20}),
              StatusIs(Code::kInvalidArgument,
                       AllOf(HasSubstr("[512, 128] in run base and [1000, 128] here"),
                             HasSubstr("clone.run: parameter "))));
  EXPECT_THAT(DecideClone(base, Clone(Spec(", layers: 5", "steps: 100")), {20}),
              StatusIs(Code::kInvalidArgument, HasSubstr("run base has no parameter layers.4.")));
  EXPECT_THAT(DecideClone(base, Clone(Spec(", layers: 3", "steps: 100")), {20}),
              StatusIs(Code::kInvalidArgument,
                       AllOf(HasSubstr("parameter layers.3."), HasSubstr("is not in this model"))));
}

TEST(DecideClone, TheOptimiserMustBeTheSame) {
  const RunSpec base = Spec("", "steps: 100");
  const RunSpec next = Spec("", "steps: 100, optimizer: muon");
  EXPECT_THAT(DecideClone(base, Clone(next), {20}),
              StatusIs(Code::kInvalidArgument,
                       HasSubstr("which is adamw with moments in fp32, actual muon")));
}

TEST(DecideClone, OfWeightsAloneOnlyTheParametersMustBeTheSame) {
  const RunSpec base = Spec("", "steps: 100");
  const auto weights = [](RunSpec next, int64_t step = 0) {
    next = Clone(std::move(next), step);
    next.clone_weights_only = true;
    return next;
  };
  struct Case {
    const char* model;
    const char* training;
  };
  const Case cases[] = {
      {"", "steps: 100"},
      {"", "steps: 5"},
      {"", "steps: 100, optimizer: muon"},
      {"", "steps: 100, moments: 8bit, shard_optimizer: true"},
      {", context: 2048", "steps: 7, sequence_length: 2048, global_batch: 3, seed: 9"},
      {"", "steps: 100, sync: outer, outer: {steps: 5}"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(*DecideClone(base, weights(Spec(c.model, c.training)), {20, 100}),
                ElementsAre(100, 20))
        << c.training;
  }
  EXPECT_THAT(*DecideClone(base, weights(Spec("", "steps: 5"), 20), {20, 100}), ElementsAre(20));
  EXPECT_THAT(*DecideClone(base, weights(Spec("", "steps: 5")), {0}), ElementsAre(0))
      << "of one that has not begun itself";
  EXPECT_THAT(DecideClone(base, weights(Spec(", layers: 5", "steps: 5")), {20}),
              StatusIs(Code::kInvalidArgument, HasSubstr("run base has no parameter layers.4.")));
  EXPECT_THAT(DecideClone(base, weights(Spec("", "steps: 5"), 30), {20}),
              StatusIs(Code::kFailedPrecondition, HasSubstr("has no checkpoint of step 30")));
}

TEST(DecideClone, ACheckpointThatIsNotThereIsToldWithThoseThatAre) {
  const RunSpec base = Spec("", "steps: 100"), next = Spec("", "steps: 100");
  EXPECT_THAT(DecideClone(base, Clone(next, 30), {20, 40}),
              StatusIs(Code::kFailedPrecondition,
                       HasSubstr("no checkpoint of step 30; its checkpoints are of steps 20, 40")));
  EXPECT_THAT(DecideClone(base, Clone(next), {}),
              StatusIs(Code::kFailedPrecondition, HasSubstr("it has no checkpoint")));
}

TEST(DecideClone, AJobHasNothingToClone) {
  RunSpec base;
  base.job = "export";
  EXPECT_THAT(DecideClone(base, Clone(Spec("", "steps: 100")), {}),
              StatusIs(Code::kInvalidArgument, HasSubstr("is a job export")));
}

}  // namespace
}  // namespace tritter
