#include "tritterctl/local/run_difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "common/testing/status_matchers.h"
#include "model/run_spec.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Effective(const std::string& yaml) {
  const absl::StatusOr<RunSpec> spec = ParseRunSpec(yaml, "run.yaml", "/");
  EXPECT_OK(spec);
  return CanonicalYaml(*spec);
}

constexpr char kRun[] =
    "name: one\nmodel: {preset: nano}\n"
    "data: {sources: [{name: plays, shards: /a}, {name: verse, shards: /b, weight: 3}]}\n"
    "training: {steps: 100, ema_window: 10, learning_rate: {warmup: 5, decay: 20}}\n"
    "checkpoint: {every: 10}\nevaluation: {every: 10, prompts: [\"a: b\"]}\n";

TEST(DifferingKeys, NameThePlaceAndBothValues) {
  const std::string before = Effective(kRun);
  EXPECT_THAT(DifferingKeys(before, before), IsEmpty());
  EXPECT_THAT(DifferingKeys(before, Effective(absl::StrReplaceAll(
                                        kRun, {{"steps: 100", "steps: 200"}, {"a: b", "c: d"}}))),
              ElementsAre("training.steps (was 100, is 200)",
                          "evaluation.prompts (was [\"a: b\"], is [\"c: d\"])"));
  EXPECT_THAT(
      DifferingKeys(before, Effective(absl::StrReplaceAll(kRun, {{"weight: 3", "weight: 2"}}))),
      ElementsAre("data.sources[1].weight (was 3.0, is 2.0)"));
}

TEST(DifferingKeys, AreNewOrGoneWhereOnlyOneSideHasThem) {
  EXPECT_THAT(DifferingKeys("a: 1\nb:\n  - x: 1\n    y: 2\n", "b:\n  - x: 1\n  - x: 3\nc: 1\n"),
              ElementsAre("b[1].x (is new)", "c (is new)", "a (is gone)", "b[0].y (is gone)"));
}

TEST(DifferenceText, IsShort) {
  EXPECT_EQ(DifferenceText({"a", "b"}, 2), "a, b");
  EXPECT_EQ(DifferenceText({"a", "b", "c", "d"}, 2), "a, b and 2 more");
}

}  // namespace
}  // namespace tritter
