#include "tests/e2e/train.h"

#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter::e2e {

v1::Run Train(const Training& training) {
  const std::string folder = TempFolder(training.name);
  EXPECT_OK(MakeShards(folder));
  Cluster cluster(folder);
  EXPECT_OK(cluster.StartCoordinator());
  for (const NamedLaunch& worker : training.workers)
    EXPECT_OK(cluster.StartWorker(worker.name, worker.launch));
  const auto id = cluster.Submit(RunYaml(training.name, training.overrides));
  EXPECT_OK(id.status());
  if (!id.ok()) return {};
  if (training.disturb) {
    const auto now = cluster.WaitFor(*id, training.under_way);
    EXPECT_OK(now.status());
    if (!now.ok()) return {};
    EXPECT_LT(now->step(), now->total_steps()) << "the run was over before it could be disturbed";
    training.disturb(cluster, *now);
  }
  const auto end = cluster.WaitForEnd(*id);
  EXPECT_OK(end.status());
  if (!end.ok()) return {};
  EXPECT_EQ(end->state(), v1::RUN_STATE_COMPLETED) << end->reason() << "\n" << cluster.LogTails();
  EXPECT_EQ(end->committed_step(), end->total_steps());
  return *end;
}

State FinalState(const v1::Run& run) {
  auto state = ReadState(run.run_dir(), run.total_steps());
  EXPECT_OK(state.status());
  return state.ok() ? *std::move(state) : State{};
}

}  // namespace tritter::e2e
