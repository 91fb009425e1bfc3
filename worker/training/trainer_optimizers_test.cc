// Every optimiser, form of moments and sharding through the trainer: splits, ranks, resume.
#include <string>
#include <thread>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/testing/tiny_training.h"

namespace tritter {
namespace {

RunSpec SpecOf(const std::string& optimizer, const std::string& moments, bool shard = false) {
  RunSpec spec = TinySpec();
  spec.optimizer = optimizer;
  spec.moments = moments;
  spec.shard_optimizer = shard;
  return spec;
}

// Runs `body` for every rank of a fresh group, each on a thread of its own.
void OnEveryRank(int world, const std::function<void(int rank, Collective* collective)>& body) {
  auto group = MakeFakeGroup(world);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank)
    threads.emplace_back([&, rank] { body(rank, group[rank].get()); });
  for (std::thread& thread : threads) thread.join();
}

struct Outcome {
  std::vector<double> losses;
  std::string hash;
  double held_out = 0;  // nats of the averaged weights
};

double HeldOut(Trainer* trainer) {
  bool given = false;
  auto result = trainer->Evaluate(
      [&](std::vector<int64_t>* window) {
        *window = TinyTokens(77, 17);
        return !std::exchange(given, true);
      },
      true);
  EXPECT_OK(result.status());
  return result->nats / static_cast<double>(result->tokens);
}

// `world` ranks train steps [from, to), first loading `start` (of step `from`) when there is one,
// and write their state to `end` when there is one.
Outcome RunRanks(const RunSpec& spec, int world, int64_t from, int64_t to, Env* env,
                 const std::string& start = "", const std::string& end = "") {
  std::vector<Outcome> outcomes(world);
  std::vector<std::vector<ManifestFile>> written(world);
  if (!end.empty()) EXPECT_OK(env->CreateDirs(end));
  CheckpointManifest manifest;
  if (!start.empty()) {
    manifest.step = from;
    const std::vector<std::string> names = *env->ListDir(start);
    for (const std::string& name : names) manifest.files.push_back({name, 0, ""});
  }
  OnEveryRank(world, [&](int rank, Collective* collective) {
    auto trainer = MakeTrainer(spec, collective);
    if (!start.empty()) ASSERT_OK(trainer->Load(env, start, manifest));
    Outcome& out = outcomes[rank];
    out.losses = TrainShare(trainer.get(), spec, from, to, rank, world);
    out.held_out = HeldOut(trainer.get());
    ASSERT_OK_AND_ASSIGN(out.hash, trainer->StateHash());
    if (end.empty()) return;
    ASSERT_OK_AND_ASSIGN(auto snapshot, trainer->Snapshot());
    ASSERT_OK_AND_ASSIGN(written[rank], snapshot->WriteShare(env, end));
  });
  for (int rank = 1; rank < world; ++rank) {
    EXPECT_EQ(outcomes[rank].losses, outcomes[0].losses);
    EXPECT_EQ(outcomes[rank].hash, outcomes[0].hash);
    EXPECT_EQ(outcomes[rank].held_out, outcomes[0].held_out);
  }
  return outcomes[0];
}

// Optimiser, moments, sharded.
class TrainerOptimizers
    : public testing::TestWithParam<std::tuple<const char*, const char*, bool>> {
 protected:
  RunSpec spec() const {
    const auto& [optimizer, moments, shard] = GetParam();
    return SpecOf(optimizer, moments, shard);
  }
};

TEST_P(TrainerOptimizers, TwoRanksEqualOneThatAccumulatesBitForBit) {
  RunSpec plain = spec();
  plain.shard_optimizer = false;
  auto alone = SingleProcessCollective();
  auto single = MakeTrainer(plain, alone.get());
  const std::vector<double> want = Train(single.get(), plain, 0, 20, 4);
  const Outcome two = RunRanks(spec(), 2, 0, 20, nullptr);
  EXPECT_EQ(two.losses, want);
  EXPECT_EQ(two.hash, *single->StateHash());
  EXPECT_EQ(two.held_out, HeldOut(single.get()));
}

TEST_P(TrainerOptimizers, AnyNumberOfRanksGivesTheBitsOfTheSameNumberUnsharded) {
  RunSpec plain = spec();
  plain.shard_optimizer = false;
  const Outcome want = RunRanks(plain, 4, 0, 5, nullptr), got = RunRanks(spec(), 4, 0, 5, nullptr);
  EXPECT_EQ(got.losses, want.losses);
  EXPECT_EQ(got.hash, want.hash);
  EXPECT_EQ(got.held_out, want.held_out);
}

TEST_P(TrainerOptimizers, StoppedAndResumedEqualsUndisturbed) {
  MemoryEnv env;
  for (int world : {1, 2}) {
    const Outcome whole = RunRanks(spec(), world, 0, 12, nullptr);
    const std::string folder = absl::StrCat("/at-7-of-", world);
    const Outcome first = RunRanks(spec(), world, 0, 7, &env, "", folder);
    const Outcome second = RunRanks(spec(), world, 7, 12, &env, folder);
    EXPECT_EQ(second.hash, whole.hash);
    EXPECT_EQ(second.held_out, whole.held_out);
    std::vector<double> losses = first.losses;
    losses.insert(losses.end(), second.losses.begin(), second.losses.end());
    EXPECT_EQ(losses, whole.losses);
  }
}

TEST_P(TrainerOptimizers, TheStateIsTheSameWhateverTheNumberOfRanksThatReadIt) {
  MemoryEnv env;
  const Outcome wrote = RunRanks(spec(), 4, 0, 3, &env, "", "/four");
  for (int world : {1, 2, 4})
    EXPECT_EQ(RunRanks(spec(), world, 3, 3, &env, "/four").hash, wrote.hash);
}

INSTANTIATE_TEST_SUITE_P(Combinations, TrainerOptimizers,
                         testing::Combine(testing::Values("adamw", "muon"),
                                          testing::Values("fp32", "8bit"), testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               std::get<1>(info.param),
                                               std::get<2>(info.param) ? "_sharded" : "");
                         });

// Warm-up, decay and window of the average keep their lengths in steps: nothing before the start of
// the decay knows how long the run is.
TEST(ExtendedRun, HasTheBitsOfOneThatHadTheLongerTotalFromTheStart) {
  for (const char* optimizer : {"adamw", "muon"}) {
    const RunSpec before = SpecOf(optimizer, "fp32");
    RunSpec after = before;
    after.steps = 150;
    after.schedule = WithTotalSteps(before.schedule, after.steps);
    ASSERT_EQ(before.schedule.decay_start_step, 80);
    MemoryEnv env;
    const Outcome first = RunRanks(before, 1, 0, 60, &env, "", "/at-60");
    const Outcome second = RunRanks(after, 1, 60, 90, &env, "/at-60");
    const Outcome whole = RunRanks(after, 1, 0, 90, nullptr);
    std::vector<double> losses = first.losses;
    losses.insert(losses.end(), second.losses.begin(), second.losses.end());
    EXPECT_EQ(losses, whole.losses);
    EXPECT_EQ(second.hash, whole.hash) << "moments and averages included";
  }
}

// Mean loss of the last ten of 100 steps.
double FinalLoss(const RunSpec& spec) {
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  const std::vector<double> losses = Train(trainer.get(), spec, 0, 100, 8);
  double sum = 0;
  for (size_t i = 90; i < 100; ++i) sum += losses[i] / 10;
  return sum;
}

TEST(Moments8, EndWithinTwoPercentOfTheLossOfFp32Moments) {
  const double want = FinalLoss(SpecOf("adamw", "fp32")), got = FinalLoss(SpecOf("adamw", "8bit"));
  EXPECT_NEAR(got, want, 0.02 * want);
}

TEST(Muon, TrainsWithTheLearningRateOfAdamW) {
  const double adamw = FinalLoss(SpecOf("adamw", "fp32")), muon = FinalLoss(SpecOf("muon", "fp32"));
  EXPECT_LT(muon, 1.35 * adamw);
}

TEST(Load, RefusesAStateOfAnotherOptimiserOrOtherMoments) {
  MemoryEnv env;
  RunRanks(SpecOf("adamw", "fp32"), 1, 0, 1, &env, "", "/adamw");
  CheckpointManifest manifest;
  manifest.step = 1;
  manifest.files = {{"share-0-of-1.safetensors", 0, ""}};
  auto alone = SingleProcessCollective();
  for (const RunSpec& other : {SpecOf("muon", "fp32"), SpecOf("adamw", "8bit")}) {
    auto trainer = MakeTrainer(other, alone.get());
    EXPECT_THAT(trainer->Load(&env, "/adamw", manifest),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         testing::HasSubstr("model and optimiser of this run")));
  }
}

}  // namespace
}  // namespace tritter
