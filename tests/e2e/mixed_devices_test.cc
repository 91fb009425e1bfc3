// CPUs and GPUs train one run, as real processes: a worker that says that it is a GPU is one
// whose device trainer works on the CPU, with formulas that round otherwise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/testing/status_matchers.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/train.h"

namespace tritter::e2e {
namespace {

using ::testing::HasSubstr;

constexpr int kSteps = 40;

// One thread: two processes share two cores.
Launch Gpu() { return {.environment = {"OMP_NUM_THREADS=1"}, .program = "formula_worker"}; }

// `workers`: of the mapping of that name, behind `min` and `max`.
v1::Run Train(const std::string& name, const std::string& min_workers, const std::string& workers,
              const std::string& training,
              const std::function<void(Cluster&, const v1::Run&)>& disturb = nullptr) {
  return Train(Training{.name = name,
                        .workers = {{"cpu"}, {"gpu", Gpu()}},
                        .overrides = {{"steps", std::to_string(kSteps)},
                                      {"sequence_length", "32"},
                                      {"every", "10"},
                                      {"evaluate", "40"},
                                      {"export", "{}"},
                                      {"min", min_workers},
                                      {"max", "2, device: any" + workers},
                                      {"training", training}},
                        .under_way =
                            [](const v1::Run& r) {
                              return r.members_size() == 2 && r.step() >= 15 &&
                                     r.committed_step() >= 10;
                            },
                        .disturb = disturb});
}

double Loss(const v1::Run& run) {
  EXPECT_EQ(run.last_evaluation_size(), 1);
  return run.last_evaluation_size() == 1 ? run.last_evaluation(0).loss() : 0;
}

void KillTheGpu(Cluster& cluster, const v1::Run&) {
  cluster.KillWorker("gpu");
  EXPECT_OK(cluster.StartWorker("gpu", Gpu()));
}

TEST(MixedDevices, AKilledGpuComesBackAndTheRunEndsInTheSameWeights) {
  for (const char* training : {"", "  sync: outer\n  outer: {steps: 5, compression: int8}\n"}) {
    const v1::Run whole = Train("whole", "2", ", split: equal", training,
                                [](Cluster&, const v1::Run& run) {
                                  ASSERT_EQ(run.members_size(), 2);
                                  EXPECT_THAT(run.members(0).device(), HasSubstr("cpu"));
                                  EXPECT_THAT(run.members(1).device(), HasSubstr("cuda:0"));
                                }),
                  killed = Train("killed", "2", ", split: equal", training, KillTheGpu);
    EXPECT_EQ(whole.epoch(), 1u);
    EXPECT_GE(killed.epoch(), 2u);
    EXPECT_EQ(Difference(FinalState(whole), FinalState(killed)), "");
    EXPECT_LT(Loss(whole), 4.5);  // from 5.6
  }
}

TEST(MixedDevices, ACpuGoesOnAloneFromTheirCheckpoint) {
  const v1::Run both = Train("both", "1", "", ""),
                left = Train("left", "1", "", "",
                             [](Cluster& cluster, const v1::Run&) { cluster.KillWorker("gpu"); });
  EXPECT_GE(left.epoch(), 2u);
  ASSERT_EQ(left.reason().find("failed"), std::string::npos);
  EXPECT_NEAR(Loss(left), Loss(both), 0.03 * Loss(both)) << "whoever trains which sequences";
}

}  // namespace
}  // namespace tritter::e2e
