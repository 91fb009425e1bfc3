// A run that is extended ends in the same bits as one that had all its steps from the start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/env.h"
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

// Trained weights arrive bit for bit, and are evaluated before the first step: what they were worth
// there they are worth here.
TEST(Clone, OfWeightsAloneBeginsWithThemAndWithItsOwnOptimiser) {
  const std::string folder = TempFolder("clone");
  ASSERT_OK(MakeShards(folder));
  Cluster cluster(folder);
  ASSERT_OK(cluster.StartCoordinator());
  ASSERT_OK(cluster.StartWorker("w0"));
  const auto end_of = [&](const std::string& run) {
    auto end = cluster.WaitForEnd(run);
    EXPECT_OK(end.status());
    if (!end.ok()) return v1::Run();
    EXPECT_EQ(end->state(), v1::RUN_STATE_COMPLETED) << end->reason() << cluster.LogTails();
    return *end;
  };
  // Losses by (step, "averaged" or "raw").
  const auto evaluations = [&](const std::string& run) {
    std::map<std::pair<int64_t, std::string>, double> out;
    v1::ListMetricsRequest request;
    request.set_run(run);
    request.set_limit(1000);
    grpc::ClientContext context;
    v1::ListMetricsResponse response;
    EXPECT_TRUE(cluster.runs().ListMetrics(&context, request, &response).ok());
    for (const v1::EvaluationPoint& e : response.evaluations())
      out[{e.step(), e.weights()}] = e.loss();
    return out;
  };
  const std::map<std::string, std::string> small = {
      {"steps", "40"}, {"min", "1"}, {"max", "1"}, {"export", "{}"}, {"keep", "10"}};
  ASSERT_OK_AND_ASSIGN(const std::string base, cluster.Submit(RunYaml("base", small)));
  const v1::Run trained = end_of(base);
  std::map<std::string, std::string> other = small;
  other["steps"] = "20";
  other["sequence_length"] = "32";
  other["training"] = "  optimizer: muon\n";
  WriteFileAtomically(Env::Real(), folder + "/other.yaml", RunYaml("tuned", other)).IgnoreError();
  ASSERT_OK_AND_ASSIGN(
      const RunResult cloned,
      RunCommand({Binary("tritterctl"), "clone", "base", "--weights-only", "--file",
                  folder + "/other.yaml", "--coordinator", cluster.address()},
                 absl::Seconds(60)));
  ASSERT_EQ(cloned.exit.code, 0) << cloned.output;
  EXPECT_THAT(cloned.output,
              HasSubstr("begins at step 0 of 20 with the averaged weights of run base ("));
  const v1::Run tuned = end_of("tuned");

  ASSERT_OK_AND_ASSIGN(const State from, ReadState(trained.run_dir(), 40));
  ASSERT_OK_AND_ASSIGN(const State start, ReadState(tuned.run_dir(), 0));
  for (const auto& [name, bytes] : start) {
    const std::string parameter = name.substr(name.find('/') + 1);
    if (name.starts_with("weight/") || name.starts_with("ema/")) {
      EXPECT_EQ(bytes == from.at("ema/" + parameter), true) << name;
    } else {
      EXPECT_EQ(bytes.find_first_not_of('\0'), std::string::npos) << name;
    }
  }
  EXPECT_TRUE(std::any_of(start.begin(), start.end(),
                          [](const auto& t) { return t.first.starts_with("muon_m/"); }));
  // Held-out text in windows of another length is another task: of the same one.
  other["sequence_length"] = "64";
  ASSERT_OK_AND_ASSIGN(const std::string same,
                       cluster.Submit(absl::StrCat(RunYaml("same", other),
                                                   "clone: {run: base, weights_only: true}\n")));
  end_of(same);
  const auto before = evaluations(base), after = evaluations(same);
  ASSERT_TRUE(after.contains({0, "averaged"}));
  EXPECT_EQ(after.at({0, "averaged"}), before.at({40, "averaged"}));
  EXPECT_LT(after.at({20, "averaged"}), after.at({0, "averaged"})) << "it learns on";
}

}  // namespace
}  // namespace tritter::e2e
