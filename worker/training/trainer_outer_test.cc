// The trainers with training.sync: outer: rounds, resume, checkpoints of several ranks, on CPUs, on
// devices and on both together.
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"
#include "worker/counting_collective.h"
#include "worker/testing/device_group.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/recording_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/testing/tiny_training.h"
#include "worker/training/trainer.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

RunSpec Outer(int64_t steps, double rate = 1.0, double momentum = 0.0,
              const std::string& compression = "none") {
  RunSpec spec = TinySpec();
  spec.sync = "outer";
  spec.outer_steps = steps;
  spec.outer_rate = rate;
  spec.outer_momentum = momentum;
  spec.outer_compression = compression;
  return spec;
}

enum class Members { kCpus, kDevices, kBoth };
constexpr Members kEvery[] = {Members::kCpus, Members::kDevices, Members::kBoth};
const char* NameOf(Members members) {
  return members == Members::kCpus ? "cpus" : members == Members::kDevices ? "devices" : "both";
}
TrainerKind KindOf(Members members, int rank) {
  const bool on_device =
      members == Members::kDevices || (members == Members::kBoth && rank % 2 == 1);
  return on_device ? TrainerKind::kDevice : TrainerKind::kCpu;
}

struct Outcome {
  std::vector<StepLoss> steps;      // the group's, as rank 0 has them
  std::vector<std::string> hashes;  // by rank: of its own state
  int64_t sent_bytes = 0;           // by rank 0
  std::vector<std::map<std::string, std::string>> weights, averages;  // by rank
  std::vector<std::vector<std::string>> operations;                   // by rank
};

// Steps [from, to) by `world` ranks; from > 0 begins with that checkpoint of the store, which gets
// one at `to`.
Outcome RunRanks(Members members, const RunSpec& spec, int world, int64_t from, int64_t to,
                 CheckpointStore* store, bool commit = true) {
  auto group = MakeFakeGroup(world);
  Outcome out;
  out.hashes.resize(world);
  std::vector<RecordingCollective*> recorded;
  std::vector<std::unique_ptr<Trainer>> trainers(world);
  std::vector<std::unique_ptr<CountingCollective>> counted;
  for (auto& member : group) {
    auto recording = std::make_unique<RecordingCollective>(std::move(member));
    recorded.push_back(recording.get());
    counted.push_back(std::make_unique<CountingCollective>(std::move(recording)));
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      auto trainer = MakeTrainerOf(KindOf(members, rank), spec, counted[rank].get());
      if (from > 0) {
        const auto checkpoint = store->Open(from);
        ASSERT_OK(checkpoint.status());
        ASSERT_OK(trainer->Load(**checkpoint));
      }
      const int64_t count = spec.global_batch / world;
      for (int64_t step = from; step < to; ++step) {
        const auto stats = trainer->Step(BatchOf(spec, step, rank * count, count), WeightSum(spec),
                                         count, LrAt(step, spec.schedule));
        ASSERT_OK(stats.status());
        EXPECT_EQ(stats->settled, RoundEnd(spec, step + 1) == step + 1) << step;
        if (rank == 0) out.steps.insert(out.steps.end(), stats->round.begin(), stats->round.end());
      }
      if (rank == 0) out.sent_bytes = counted[0]->sent_bytes();
      out.hashes[rank] = *trainer->StateHash();
      EXPECT_FALSE(trainer->whole());
      trainers[rank] = std::move(trainer);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const RecordingCollective* r : recorded) out.operations.push_back(r->operations());
  const auto take = [&] {
    for (auto& trainer : trainers) {
      out.weights.push_back(TakeTensors(trainer.get(), "weight/"));
      out.averages.push_back(TakeTensors(trainer.get(), "ema/"));
    }
  };
  if (!commit) {
    take();
    return out;
  }
  CheckpointManifest manifest;
  manifest.run_id = "run-test";
  manifest.step = to;
  manifest.attempt = "alone";
  EXPECT_OK(store->Create());
  EXPECT_OK(store->Begin({to, "alone"}));
  for (auto& trainer : trainers) {
    const auto snapshot = trainer->Snapshot();
    EXPECT_OK(snapshot.status());
    const auto files = (*snapshot)->WriteShare(store, {to, "alone"});
    EXPECT_OK(files.status());
    manifest.files.insert(manifest.files.end(), files->begin(), files->end());
  }
  EXPECT_OK(store->Commit(manifest).status());
  take();
  return out;
}

std::vector<double> Losses(const Outcome& o) {
  std::vector<double> losses;
  for (const StepLoss& s : o.steps) losses.push_back(s.loss);
  return losses;
}

// Test 9 of the specification of the predictive phase.
TEST(OuterTraining, OneWorkerWithRoundsOfOneStepIsPlainAdamWBitForBit) {
  const RunSpec plain = TinySpec(), outer = Outer(1);
  auto alone = SingleProcessCollective();
  for (const TrainerKind kind : {TrainerKind::kCpu, TrainerKind::kDevice}) {
    auto a = MakeTrainerOf(kind, plain, alone.get()), b = MakeTrainerOf(kind, outer, alone.get());
    EXPECT_EQ(Train(a.get(), plain, 0, 40, 4), Train(b.get(), outer, 0, 40, 4));
    // The averages of a round are formed by the host, which rounds otherwise than a device.
    if (kind == TrainerKind::kCpu)
      EXPECT_EQ(*a->StateHash(), *b->StateHash()) << "weights, moments and averages";
    EXPECT_EQ(TakeTensors(a.get(), "weight/"), TakeTensors(b.get(), "weight/"));
  }
}

TEST(OuterTraining, OneWorkerTrainsAsAlwaysWhateverTheRound) {
  // The plain mean of one is itself; only the averages follow in coarser steps.
  const RunSpec plain = TinySpec(), outer = Outer(5);
  auto alone = SingleProcessCollective();
  for (const TrainerKind kind : {TrainerKind::kCpu, TrainerKind::kDevice}) {
    auto a = MakeTrainerOf(kind, plain, alone.get()), b = MakeTrainerOf(kind, outer, alone.get());
    EXPECT_EQ(Train(a.get(), plain, 0, 20, 8), Train(b.get(), outer, 0, 20, 8));
    EXPECT_EQ(*a->Logits({1, 2, 3}, false), *b->Logits({1, 2, 3}, false));
  }
}

// Whatever the ranks compute with, they exchange the same in the same order, and after a round
// their weights and averages have the same bits; what differs is what they trained with.
TEST(OuterTraining, RanksOfEveryKindExchangeTheSameAndAgree) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  for (const char* compression : {"none", "int8"}) {
    const RunSpec spec = Outer(4, 0.7, 0.9, compression);
    std::vector<Outcome> outcomes;
    for (const Members members : kEvery) {
      for (const int world : {2, 3}) {
        const std::string what = absl::StrCat(NameOf(members), " x", world, " ", compression);
        Outcome out = RunRanks(members, spec, world, 0, 12, store.get(), false);
        for (int rank = 1; rank < world; ++rank) {
          EXPECT_EQ(out.weights[rank], out.weights[0]) << what;
          EXPECT_EQ(out.averages[rank], out.averages[0]) << what;
          EXPECT_EQ(out.operations[rank], out.operations[0]) << what;
        }
        if (world == 2) outcomes.push_back(std::move(out));
      }
    }
    for (const Outcome& other : {outcomes[1], outcomes[2]}) {
      EXPECT_EQ(other.operations[0], outcomes[0].operations[0]);
      ASSERT_EQ(other.steps.size(), 12u);
      for (int step = 0; step < 12; ++step) {
        // As close as two trainers with other roundings are (device_trainer_test).
        EXPECT_NEAR(other.steps[step].loss, outcomes[0].steps[step].loss,
                    1e-2 * outcomes[0].steps[step].loss)
            << step;
      }
    }
  }
}

class OuterResume : public testing::TestWithParam<std::tuple<double, const char*>> {};

TEST_P(OuterResume, StoppedAndResumedEqualsUndisturbedBitForBit) {
  for (const auto& [members, moments] :
       std::vector<std::pair<Members, const char*>>{{Members::kCpus, "fp32"},
                                                    {Members::kCpus, "8bit"},
                                                    {Members::kDevices, "fp32"},
                                                    {Members::kDevices, "8bit"},
                                                    {Members::kBoth, "fp32"}}) {
    const double momentum = std::get<0>(GetParam());
    RunSpec spec = Outer(4, momentum > 0 ? 0.7 : 1.0, momentum, std::get<1>(GetParam()));
    spec.moments = moments;
    MemoryEnv env;
    const auto store = CheckpointsOfRun(&env, "/run");
    const Outcome whole = RunRanks(members, spec, 2, 0, 16, store.get(), false);
    const Outcome first = RunRanks(members, spec, 2, 0, 8, store.get());
    const Outcome second = RunRanks(members, spec, 2, 8, 16, store.get());
    EXPECT_EQ(second.hashes, whole.hashes) << NameOf(members) << " " << moments;
    EXPECT_NE(second.hashes[0], second.hashes[1]) << "moments are each rank's own";
    std::vector<double> losses = Losses(first);
    const std::vector<double> rest = Losses(second);
    losses.insert(losses.end(), rest.begin(), rest.end());
    EXPECT_EQ(losses.size(), 16u);
    EXPECT_EQ(losses, Losses(whole));
  }
}

INSTANTIATE_TEST_SUITE_P(All, OuterResume,
                         testing::Combine(testing::Values(0.0, 0.9),
                                          testing::Values("none", "int8")),
                         [](const auto& info) {
                           return std::string(std::get<1>(info.param)) +
                                  (std::get<0>(info.param) > 0 ? "_nesterov" : "_mean");
                         });

// The tensors of a checkpoint by name, whichever share has them.
std::map<std::string, std::string> Tensors(CheckpointStore* store, int64_t step) {
  std::map<std::string, std::string> out;
  const auto checkpoint = store->Open(step);
  EXPECT_OK(checkpoint.status());
  for (const ManifestFile& file : (*checkpoint)->manifest().files) {
    auto share = SafetensorsFile::Open(*(*checkpoint)->Open(file.name), file.name);
    EXPECT_OK(share.status());
    for (const std::string& name : (*share)->names()) {
      const TensorView tensor = *(*share)->Get(name);
      EXPECT_TRUE(out.emplace(name, std::string(tensor.bytes.begin(), tensor.bytes.end())).second)
          << name << " is there twice";
    }
  }
  return out;
}

TEST(OuterTraining, ACheckpointHasWeightsOnceAndEveryRanksOwnMoments) {
  const RunSpec spec = Outer(2, 0.7, 0.9, "int8");
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  RunRanks(Members::kBoth, spec, 2, 0, 2, store.get());
  std::map<std::string, int> kinds;
  for (const auto& [name, bytes] : Tensors(store.get(), 2)) ++kinds[name.substr(0, name.find('/'))];
  const int parameters = kinds["weight"];
  EXPECT_GT(parameters, 0);
  EXPECT_EQ(kinds, (std::map<std::string, int>{{"weight", parameters},
                                               {"ema", parameters},
                                               {"outer_momentum", parameters},
                                               {"adam_m@0", parameters},
                                               {"adam_m@1", parameters},
                                               {"adam_v@0", parameters},
                                               {"adam_v@1", parameters},
                                               {"outer_residual@0", parameters},
                                               {"outer_residual@1", parameters}}));
}

TEST(OuterTraining, AnotherNumberOfRanksTakesTheSharesInTurn) {
  const RunSpec spec = Outer(2, 1.0, 0.0, "int8");
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  const Outcome two = RunRanks(Members::kCpus, spec, 2, 0, 2, store.get());
  const Outcome four = RunRanks(Members::kBoth, spec, 4, 2, 2, store.get(), false);
  EXPECT_EQ(four.hashes,
            (std::vector<std::string>{two.hashes[0], two.hashes[1], two.hashes[0], two.hashes[1]}));
  const Outcome one = RunRanks(Members::kDevices, spec, 1, 2, 2, store.get(), false);
  EXPECT_EQ(one.hashes[0], two.hashes[0]);
}

// A clone may change the sync: what the other one lacks is zero, what it has too much is left.
TEST(OuterTraining, BeginsFromACheckpointOfTheOtherSync) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  const RunSpec plain = TinySpec(), outer = Outer(3, 0.7, 0.9, "int8");
  RunRanks(Members::kDevices, outer, 2, 0, 3, store.get());
  ASSERT_OK_AND_ASSIGN(const auto of_outer, store->Open(3));
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(plain, alone.get());
  ASSERT_OK(trainer->Load(*of_outer));
  EXPECT_EQ(trainer->step(), 3);
  Train(trainer.get(), plain, 3, 5, 8);

  CheckpointManifest manifest;
  manifest.run_id = "run-test";
  manifest.step = 5;
  manifest.attempt = "plain";
  ASSERT_OK(store->Create());
  ASSERT_OK(store->Begin({5, "plain"}));
  ASSERT_OK_AND_ASSIGN(const auto snapshot, trainer->Snapshot());
  ASSERT_OK_AND_ASSIGN(manifest.files, snapshot->WriteShare(store.get(), {5, "plain"}));
  ASSERT_OK(store->Commit(manifest).status());
  // Its first round is shorter: 5 to 6.
  const Outcome back = RunRanks(Members::kDevices, outer, 2, 5, 9, store.get());
  EXPECT_EQ(back.steps.size(), 4u);
}

TEST(OuterTraining, RefusesACheckpointInsideARound) {
  const RunSpec spec = Outer(4);
  auto alone = SingleProcessCollective();
  for (const TrainerKind kind : {TrainerKind::kCpu, TrainerKind::kDevice}) {
    auto trainer = MakeTrainerOf(kind, spec, alone.get());
    Train(trainer.get(), spec, 0, 3, 8);
    EXPECT_THAT(trainer->Snapshot().status(),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("ends at 4")));
    Train(trainer.get(), spec, 3, 4, 8);
    EXPECT_OK(trainer->Snapshot().status());
  }
}

TEST(OuterTraining, AWishToYieldCountsAtTheEndOfTheRound) {
  const RunSpec spec = Outer(3);
  auto alone = SingleProcessCollective();
  for (const TrainerKind kind : {TrainerKind::kCpu, TrainerKind::kDevice}) {
    auto trainer = MakeTrainerOf(kind, spec, alone.get());
    trainer->set_yield_wish([] { return true; });
    for (int64_t step = 0; step < 6; ++step) {
      const auto stats = trainer->Step(BatchOf(spec, step, 0, 8), WeightSum(spec), 8, 1e-3);
      ASSERT_OK(stats.status());
      EXPECT_EQ(stats->yield, step % 3 == 2) << step;
      EXPECT_EQ(stats->round.size(), step % 3 == 2 ? 3u : 0u) << step;
    }
  }
}

// Two ranks learn, if less in so short a run, for a small part of the bytes (from 5.6 at the
// start).
TEST(OuterTraining, LearnsForATwentiethOfTheBytes) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  const auto tail = [](const std::vector<double>& losses) {
    double sum = 0;
    for (size_t i = losses.size() - 10; i < losses.size(); ++i) sum += losses[i] / 10;
    return sum;
  };
  const RunSpec plain = TinySpec();
  auto alone = SingleProcessCollective();
  auto every_step = MakeTrainer(plain, alone.get());
  const double want = tail(Train(every_step.get(), plain, 0, 100, 8));
  int64_t parameters = 0;
  for (const ParameterSpec& p : ParameterTable(plain.model)) {
    int64_t size = 1;
    for (const int64_t d : p.shape) size *= d;
    parameters += size;
  }
  for (const char* compression : {"none", "int8"}) {
    for (const Members members : {Members::kCpus, Members::kBoth}) {
      const Outcome two =
          RunRanks(members, Outer(20, 1.0, 0.0, compression), 2, 0, 100, store.get(), false);
      ASSERT_EQ(two.steps.size(), 100u);
      EXPECT_LT(tail(Losses(two)), 1.3 * want) << compression;
      const double every = 100.0 * 4.0 * static_cast<double>(parameters);
      const double ratio = every / static_cast<double>(two.sent_bytes);
      EXPECT_GT(ratio, *compression == 'i' ? 70 : 19.5) << compression;
    }
  }
}

}  // namespace
}  // namespace tritter
