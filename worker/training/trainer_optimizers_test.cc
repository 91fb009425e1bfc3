// Every optimiser, form of moments and sharding through the trainer: splits, ranks, resume.
#include <cmath>
#include <map>
#include <string>
#include <thread>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"
#include "model/start_checkpoint.h"
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

// `world` ranks train steps [from, to): a fresh state, which they commit to `store` at the end when
// there is one, or the checkpoint of step `from`.
Outcome RunRanks(const RunSpec& spec, int world, int64_t from, int64_t to,
                 CheckpointStore* store = nullptr) {
  std::vector<Outcome> outcomes(world);
  std::vector<std::vector<ManifestFile>> written(world);
  CheckpointManifest manifest;
  manifest.step = to;
  manifest.attempt = absl::StrCat("w", world);
  const CheckpointAttempt attempt{to, manifest.attempt};
  std::unique_ptr<CheckpointReader> start;
  if (from > 0) start = *store->Open(from);
  const bool commits = from == 0 && store != nullptr;
  OnEveryRank(world, [&](int rank, Collective* collective) {
    auto trainer = MakeTrainer(spec, collective);
    if (start != nullptr) ASSERT_OK(trainer->Load(*start));
    Outcome& out = outcomes[rank];
    out.losses = TrainShare(trainer.get(), spec, from, to, rank, world);
    out.held_out = HeldOut(trainer.get());
    ASSERT_OK_AND_ASSIGN(out.hash, trainer->StateHash());
    if (!commits) return;
    ASSERT_OK(store->Create());
    ASSERT_OK(store->Begin(attempt));
    ASSERT_OK_AND_ASSIGN(auto snapshot, trainer->Snapshot());
    ASSERT_OK_AND_ASSIGN(written[rank], snapshot->WriteShare(store, attempt));
  });
  for (const auto& files : written)
    manifest.files.insert(manifest.files.end(), files.begin(), files.end());
  if (commits) EXPECT_OK(store->Commit(manifest).status());
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
  const Outcome two = RunRanks(spec(), 2, 0, 20);
  EXPECT_EQ(two.losses, want);
  EXPECT_EQ(two.hash, *single->StateHash());
  EXPECT_EQ(two.held_out, HeldOut(single.get()));
}

TEST_P(TrainerOptimizers, AnyNumberOfRanksGivesTheBitsOfTheSameNumberUnsharded) {
  RunSpec plain = spec();
  plain.shard_optimizer = false;
  const Outcome want = RunRanks(plain, 4, 0, 5), got = RunRanks(spec(), 4, 0, 5);
  EXPECT_EQ(got.losses, want.losses);
  EXPECT_EQ(got.hash, want.hash);
  EXPECT_EQ(got.held_out, want.held_out);
}

TEST_P(TrainerOptimizers, StoppedAndResumedEqualsUndisturbed) {
  for (const auto& [precision, world] :
       std::vector<std::pair<const char*, int>>{{"fp32", 1}, {"fp32", 2}, {"bf16", 2}}) {
    RunSpec run = spec();
    run.precision = precision;
    MemoryEnv env;
    const auto store = CheckpointsOfRun(&env, "/run");
    const Outcome whole = RunRanks(run, world, 0, 12);
    const Outcome first = RunRanks(run, world, 0, 7, store.get());
    const Outcome second = RunRanks(run, world, 7, 12, store.get());
    EXPECT_EQ(second.hash, whole.hash) << precision << " " << world;
    EXPECT_EQ(second.held_out, whole.held_out);
    std::vector<double> losses = first.losses;
    losses.insert(losses.end(), second.losses.begin(), second.losses.end());
    EXPECT_EQ(losses, whole.losses);
  }
}

TEST_P(TrainerOptimizers, TheStateIsTheSameWhateverTheNumberOfRanksThatReadIt) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  const Outcome wrote = RunRanks(spec(), 4, 0, 3, store.get());
  for (int world : {1, 2, 4})
    EXPECT_EQ(RunRanks(spec(), world, 3, 3, store.get()).hash, wrote.hash);
}

INSTANTIATE_TEST_SUITE_P(Combinations, TrainerOptimizers,
                         testing::Combine(testing::Values("adamw", "muon"),
                                          testing::Values("fp32", "8bit"), testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               std::get<1>(info.param),
                                               std::get<2>(info.param) ? "_sharded" : "");
                         });

// Tensors of a checkpoint that one rank wrote.
std::map<std::string, std::string> TensorsOf(CheckpointStore* store, int64_t step) {
  std::map<std::string, std::string> out;
  const auto checkpoint = store->Open(step);
  EXPECT_OK(checkpoint.status());
  EXPECT_OK(VerifyCheckpoint(**checkpoint));
  const std::string name = (*checkpoint)->manifest().files[0].name;
  auto file = SafetensorsFile::Open(*(*checkpoint)->Open(name), name);
  EXPECT_OK(file.status());
  for (const std::string& tensor : (*file)->names()) {
    const auto view = (*file)->Get(tensor);
    out[tensor] =
        std::string(reinterpret_cast<const char*>(view->bytes.data()), view->bytes.size());
  }
  return out;
}

// What the coordinator writes for a clone of weights alone (model/start_checkpoint.h) is what a
// trainer would write that was given these weights before its first step.
TEST(StartCheckpoint, IsTheStateOfAFreshTrainerWithTheWeightsOfAnother) {
  MemoryEnv env;
  const auto base = CheckpointsOfRun(&env, "/base");
  RunRanks(SpecOf("adamw", "fp32"), 1, 0, 6, base.get());
  const auto trained = TensorsOf(base.get(), 6);
  ASSERT_OK_AND_ASSIGN(const auto origin, base->Open(6));
  std::vector<RunSpec> specs = {SpecOf("adamw", "fp32"), SpecOf("adamw", "8bit"),
                                SpecOf("muon", "fp32"), SpecOf("muon", "8bit"),
                                SpecOf("muon", "8bit", /*shard=*/true)};
  RunSpec& outer = specs.emplace_back(SpecOf("adamw", "fp32"));
  outer.sync = "outer";
  outer.outer_momentum = 0.9;
  outer.outer_compression = "int8";
  for (size_t i = 0; i < specs.size(); ++i) {
    SCOPED_TRACE(absl::StrCat(i, ": ", specs[i].optimizer, " ", specs[i].moments));
    const auto store = CheckpointsOfRun(&env, absl::StrCat("/start-", i)),
               again = CheckpointsOfRun(&env, absl::StrCat("/again-", i));
    const auto fresh = CheckpointsOfRun(&env, absl::StrCat("/fresh-", i));
    CheckpointManifest manifest;
    manifest.attempt = "e0";
    ASSERT_OK(store->Create());
    ASSERT_OK(WriteStartCheckpoint(*origin, /*averaged=*/false, specs[i], manifest, store.get())
                  .status());
    auto alone = SingleProcessCollective();
    const auto write = [&](Trainer* trainer, CheckpointStore* to) {
      ASSERT_OK(to->Create());
      ASSERT_OK(to->Begin({0, "e0"}));
      ASSERT_OK_AND_ASSIGN(auto snapshot, trainer->Snapshot());
      CheckpointManifest of = manifest;
      ASSERT_OK_AND_ASSIGN(of.files, snapshot->WriteShare(to, {0, "e0"}));
      ASSERT_OK(to->Commit(of).status());
    };
    auto trainer = MakeTrainer(specs[i], alone.get());
    write(trainer.get(), fresh.get());
    ASSERT_OK_AND_ASSIGN(const auto start, store->Open(0));
    ASSERT_OK(trainer->Load(*start));
    EXPECT_EQ(trainer->step(), 0);
    write(trainer.get(), again.get());
    std::map<std::string, std::string> want = TensorsOf(fresh.get(), 0);
    for (auto& [name, bytes] : want) {
      if (name.starts_with("weight/") || name.starts_with("ema/")) bytes = trained.at(name);
    }
    EXPECT_EQ(TensorsOf(again.get(), 0) == want, true);
    auto next = TrainShare(trainer.get(), specs[i], 0, 2, 0, 1);
    EXPECT_LT(next[0], std::log(264.0)) << "it knows something";
  }
}

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
    const auto store = CheckpointsOfRun(&env, "/run");
    const Outcome first = RunRanks(before, 1, 0, 60, store.get());
    const Outcome second = RunRanks(after, 1, 60, 90, store.get());
    const Outcome whole = RunRanks(after, 1, 0, 90);
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
  const auto store = CheckpointsOfRun(&env, "/run");
  RunRanks(SpecOf("adamw", "fp32"), 1, 0, 1, store.get());
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, store->Open(1));
  auto alone = SingleProcessCollective();
  for (const RunSpec& other : {SpecOf("muon", "fp32"), SpecOf("adamw", "8bit")}) {
    auto trainer = MakeTrainer(other, alone.get());
    EXPECT_THAT(trainer->Load(*checkpoint),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         testing::HasSubstr("model and optimiser of this run")));
  }
}

}  // namespace
}  // namespace tritter
