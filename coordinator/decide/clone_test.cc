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
