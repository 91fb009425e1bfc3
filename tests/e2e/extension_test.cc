// A run that is extended ends in the same bits as one that had all its steps from the start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "tests/e2e/cluster.h"

namespace tritter::e2e {
namespace {

using ::testing::HasSubstr;

TEST(Extension, EndsAsTheLongRunDoes) {
  const std::string folder = TempFolder("extension");
  ASSERT_OK(MakeShards(folder));
  Cluster cluster(folder);
  ASSERT_OK(cluster.StartCoordinator());
  ASSERT_OK(cluster.StartWorker("w0"));
  const auto extend = [&](const std::string& steps) {
    return RunCommand({Binary("tritterctl"), "extend", "base", "--steps", steps, "--name", "longer",
                       "--coordinator", cluster.address(), "--output", "name"},
                      absl::Seconds(60));
  };
  const auto train = [&](const std::string& run) {
    auto end = cluster.WaitForEnd(run);
    EXPECT_OK(end.status());
    if (!end.ok()) return v1::Run();
    EXPECT_EQ(end->state(), v1::RUN_STATE_COMPLETED) << end->reason() << cluster.LogTails();
    return *end;
  };
  // The newest checkpoint alone is kept, and that of step 40, the last before the decay.
  ASSERT_OK_AND_ASSIGN(
      const std::string base,
      cluster.Submit(RunYaml(
          "base", {{"steps", "60"}, {"min", "1"}, {"max", "1"}, {"keep", "1"}, {"export", "{}"}})));
  ASSERT_EQ(train(base).committed_step(), 60);
  ASSERT_OK_AND_ASSIGN(const RunResult refused, extend("12"));
  EXPECT_NE(refused.exit.code, 0);
  EXPECT_THAT(refused.output, HasSubstr("--steps: is 12, expected at least 21"));
  ASSERT_OK_AND_ASSIGN(const RunResult extended, extend("90"));
  ASSERT_EQ(extended.exit.code, 0) << extended.output;
  const v1::Run longer = train("longer");
  EXPECT_EQ(longer.committed_step(), 90);
  EXPECT_THAT(longer.spec_yaml(), HasSubstr(absl::StrCat("run: \"", base, "\"\n  step: 40\n")));

  ASSERT_OK_AND_ASSIGN(
      const std::string straight,
      cluster.Submit(absl::StrReplaceAll(
          longer.spec_yaml(), {{absl::StrCat("run: \"", base, "\"\n  step: 40\n"), "step: 0\n"},
                               {"name: \"longer\"", "name: \"straight\""}})));
  const v1::Run whole = train(straight);
  ASSERT_OK_AND_ASSIGN(const State a, ReadState(longer.run_dir(), 90));
  ASSERT_OK_AND_ASSIGN(const State b, ReadState(whole.run_dir(), 90));
  EXPECT_EQ(Difference(a, b), "");
}

}  // namespace
}  // namespace tritter::e2e
