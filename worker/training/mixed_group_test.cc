// CPUs and GPUs in one group: the CPU's trainer and the device trainer (on the CPU with the plain
// formulas, which round otherwise) over real Gloo, with buffers of the latter staged, and shares of
// the batch that are not equal.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/folder_checkpoint_store.h"
#include "model/schedule.h"
#include "worker/host_staged_collective.h"
#include "worker/testing/commit_state.h"
#include "worker/testing/device_group.h"
#include "worker/testing/gloo_group.h"
#include "worker/testing/recording_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/testing/tiny_training.h"
#include "worker/training/gradient_reducer.h"
#include "worker/training/trainer.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

constexpr TrainerKind kCpu = TrainerKind::kCpu, kDevice = TrainerKind::kDevice;

struct Member {
  TrainerKind kind;
  int64_t sequences;  // of every batch of 8
  int64_t micro_batch;
};
using Members = std::vector<Member>;
const Members kTwo = {{kCpu, 2, 1}, {kDevice, 6, 4}};
const Members kThree = {{kDevice, 5, 5}, {kCpu, 1, 1}, {kCpu, 2, 2}};

RunSpec Sharded() {
  RunSpec spec = TinySpec();
  spec.shard_optimizer = true;
  return spec;
}
// Without codes of activations, of which a last bit may flip one.
RunSpec Smooth() {
  RunSpec spec = Sharded();
  spec.model.activations = ActivationRule::kNone;
  return spec;
}

struct Outcome {
  std::vector<double> losses, norms;  // the same on every rank
  std::vector<std::string> hashes;    // by rank
  double held_out = 0;
  std::vector<std::string> operations;  // the same on every rank
  std::vector<ManifestFile> files;      // that the rank wrote
};

double HeldOut(Trainer* trainer, int rank, bool averaged) {
  bool given = false;
  const auto result = trainer->Evaluate(
      [&](std::vector<int64_t>* window) {
        *window = TinyTokens(77 + rank, 17);
        return !std::exchange(given, true);
      },
      averaged);
  EXPECT_OK(result.status());
  return result.ok() ? result->nats / static_cast<double>(result->tokens) : 0;
}

using Weights = std::map<std::string, std::string>;

// The part of one rank, which has the sequences from `first` on; RunGroup says the rest.
void TrainRank(const Member& member, int64_t first, int rank, const RunSpec& spec, int64_t from,
               int64_t to, CheckpointStore* store, bool mixed, Collective* collective,
               std::vector<Weights>* weights, Outcome* out) {
  auto trainer = MakeTrainerOf(member.kind, spec, collective, mixed);
  if (from > 0) {
    ASSERT_OK_AND_ASSIGN(const auto checkpoint, store->Open(from));
    ASSERT_OK(trainer->Load(*checkpoint));
  }
  for (int64_t step = from; step < to; ++step) {
    ASSERT_OK_AND_ASSIGN(
        const StepStats stats,
        trainer->Step(BatchOf(spec, step, first, member.sequences), WeightSum(spec),
                      member.micro_batch, LrAt(step, spec.schedule)));
    out->losses.push_back(stats.loss);
    out->norms.push_back(stats.grad_norm);
    weights->push_back(TakeTensors(trainer.get(), "weight/"));
    trainer->Rebind(collective);
  }
  for (const bool averaged : {true, true, false})
    out->held_out = HeldOut(trainer.get(), rank, averaged);
  out->hashes = {*trainer->StateHash()};
  EXPECT_FALSE(trainer->whole()) << "no rank has all of it";
  if (store == nullptr || from > 0) return;
  const CheckpointAttempt attempt{to, "mixed"};
  ASSERT_OK(store->Create());
  ASSERT_OK(store->Begin(attempt));
  ASSERT_OK_AND_ASSIGN(const auto snapshot, trainer->Snapshot());
  ASSERT_OK_AND_ASSIGN(out->files, snapshot->WriteShare(store, attempt));
}

// Steps [from, to) of a group; from > 0 begins with that checkpoint of the store, which gets one at
// `to`. After every step, all ranks must have the same weights.
Outcome RunGroup(const Members& members, const RunSpec& spec, int64_t from, int64_t to,
                 CheckpointStore* store, bool mixed = true) {
  const int world = static_cast<int>(members.size());
  auto gloo = MakeGlooGroup(world);
  std::vector<std::unique_ptr<RecordingCollective>> group;
  for (int rank = 0; rank < world; ++rank) {
    if (members[rank].kind == kDevice) gloo[rank] = HostStagedCollective(std::move(gloo[rank]), -1);
    group.push_back(std::make_unique<RecordingCollective>(std::move(gloo[rank])));
  }
  std::vector<Outcome> outcomes(world);
  std::vector<std::vector<Weights>> weights(world);
  std::vector<std::thread> threads;
  int64_t position = 0;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank, first = position] {
      TrainRank(members[rank], first, rank, spec, from, to, store, mixed, group[rank].get(),
                &weights[rank], &outcomes[rank]);
      outcomes[rank].operations = group[rank]->operations();
      group[rank].reset();  // all together: each waits for the others
    });
    position += members[rank].sequences;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(position, spec.global_batch);
  CheckpointManifest manifest;
  manifest.run_id = "run-test";
  manifest.step = to;
  manifest.attempt = "mixed";
  Outcome out = outcomes[0];
  for (int rank = 0; rank < world; ++rank) {
    const std::vector<ManifestFile>& files = outcomes[rank].files;
    manifest.files.insert(manifest.files.end(), files.begin(), files.end());
    EXPECT_EQ(outcomes[rank].losses, out.losses) << rank;
    EXPECT_EQ(outcomes[rank].norms, out.norms) << rank << ": each clips by the same norm";
    EXPECT_EQ(outcomes[rank].held_out, out.held_out) << rank;
    EXPECT_EQ(outcomes[rank].hashes, out.hashes) << rank;
    EXPECT_EQ(outcomes[rank].operations, out.operations) << rank;
    for (size_t step = 0; step < weights[rank].size(); ++step)
      EXPECT_TRUE(weights[rank][step] == weights[0][step]) << "rank " << rank << ", step " << step;
  }
  if (!manifest.files.empty()) EXPECT_OK(store->Commit(manifest).status());
  return out;
}

std::vector<std::pair<std::string, RunSpec>> Variants() {
  std::vector<std::pair<std::string, RunSpec>> variants;
  const auto add = [&](const char* name, const std::function<void(RunSpec*)>& change) {
    RunSpec spec = Sharded();
    change(&spec);
    variants.push_back({name, spec});
  };
  add("adamw", [](RunSpec*) {});
  add("muon, 8 bits", [](RunSpec* s) { s->optimizer = "muon", s->moments = "8bit"; });
  add("prefix_lm, checkpointing", [](RunSpec* s) {
    s->model.attention = AttentionMode::kPrefixLm;
    s->model.prefix = 6;
    s->activation_checkpointing = 1;
  });
  add("tied, clipped", [](RunSpec* s) { s->model.tied_embeddings = true, s->clip_norm = 0.1; });
  return variants;
}

TEST(MixedGroup, EveryRankHasTheSameBitsAfterEveryStep) {
  for (const auto& [name, spec] : Variants()) {
    SCOPED_TRACE(name);
    for (const Members& members : {kTwo, kThree}) {
      const Outcome mixed = RunGroup(members, spec, 0, 4, nullptr);
      ASSERT_EQ(mixed.losses.size(), 4u);
      EXPECT_LT(mixed.losses.back(), mixed.losses.front());
    }
  }
}

// A matrix of the feed-forward part fills a bucket of gradients by itself. A device completes it
// before the norms beside it, a CPU in the order of the layers. Weights of an owner travel in more
// than one piece.
TEST(MixedGroup, ManyBucketsAreSummedInOneOrder) {
  RunSpec spec = Smooth();
  spec.model.layers = 3;
  spec.model.ffn = kMixedBucketFloats / spec.model.hidden + 32;
  const Outcome mixed = RunGroup(kTwo, spec, 0, 2, nullptr);
  EXPECT_EQ(mixed.losses.size(), 2u);
  EXPECT_GT(std::count_if(mixed.operations.begin(), mixed.operations.end(),
                          [](const std::string& o) { return absl::StrContains(o, "floats"); }),
            2 * 9);
  EXPECT_THAT(mixed.operations, ::testing::Contains("broadcast 16777216 bytes of 0"));
}

// The only differences are roundings: without codes of activations, which jump by a whole code, the
// curve is that of CPUs alone to one in 10^5.
TEST(MixedGroup, TrainsAsCpusAlone) {
  for (const Members& members : {kTwo, kThree}) {
    Members cpus = members;
    for (Member& member : cpus) member.kind = kCpu;
    const Outcome mixed = RunGroup(members, Smooth(), 0, 8, nullptr),
                  alone = RunGroup(cpus, Smooth(), 0, 8, nullptr, /*mixed=*/false);
    for (int step = 0; step < 8; ++step) {
      EXPECT_NEAR(mixed.losses[step], alone.losses[step], 1e-5 * alone.losses[step]) << step;
      EXPECT_NEAR(mixed.norms[step], alone.norms[step], 1e-3 * alone.norms[step]) << step;
    }
    EXPECT_NEAR(mixed.held_out, alone.held_out, 1e-4 * alone.held_out);
    EXPECT_NE(mixed.hashes, alone.hashes) << "the formulas round otherwise, or this shows nothing";
  }
}

TEST(MixedGroup, LearnsAsCpusAloneWithCodesOfActivationsToo) {
  Members cpus = kTwo;
  for (Member& member : cpus) member.kind = kCpu;
  const Outcome mixed = RunGroup(kTwo, Sharded(), 0, 40, nullptr),
                alone = RunGroup(cpus, Sharded(), 0, 40, nullptr, /*mixed=*/false);
  double a = 0, b = 0;
  for (int step = 30; step < 40; ++step) a += mixed.losses[step] / 10, b += alone.losses[step] / 10;
  EXPECT_LT(b, alone.losses[0] - 1);
  EXPECT_NEAR(a, b, 0.01 * b);
}

TEST(MixedGroup, StoppedAndResumedEqualsUndisturbedBitForBit) {
  for (const auto& [name, spec] : Variants()) {
    SCOPED_TRACE(name);
    for (const Members& members : {kTwo, kThree}) {
      MemoryEnv env;
      const auto store = CheckpointsOfRun(&env, "/run");
      const Outcome whole = RunGroup(members, spec, 0, 6, nullptr);
      RunGroup(members, spec, 0, 3, store.get());
      const Outcome resumed = RunGroup(members, spec, 3, 6, store.get());
      EXPECT_EQ(resumed.hashes, whole.hashes);
      EXPECT_EQ(resumed.losses, std::vector<double>(whole.losses.begin() + 3, whole.losses.end()));
      EXPECT_EQ(resumed.held_out, whole.held_out);
    }
  }
}

// What a mixed group writes is a checkpoint like any other.
TEST(MixedGroup, AnyOtherGroupGoesOnFromItsCheckpoint) {
  for (const auto& [name, sharded] : Variants()) {
    SCOPED_TRACE(name);
    RunSpec spec = sharded;
    spec.shard_optimizer = false;  // as the run has it
    MemoryEnv env;
    const auto store = CheckpointsOfRun(&env, "/run");
    const Outcome until = RunGroup(kThree, sharded, 0, 3, store.get());
    ASSERT_OK_AND_ASSIGN(const auto checkpoint, store->Open(3));
    const Outcome next = RunGroup(kThree, sharded, 3, 4, store.get());
    for (const TrainerKind kind : {kCpu, kDevice}) {
      const auto alone = SingleProcessCollective();
      auto trainer = MakeTrainerOf(kind, spec, alone.get());
      ASSERT_OK(trainer->Load(*checkpoint));
      EXPECT_EQ(*trainer->StateHash(), until.hashes[0]);
      EXPECT_TRUE(trainer->whole());
      EXPECT_NEAR(Train(trainer.get(), spec, 3, 4, 8)[0], next.losses[0], 1e-3 * next.losses[0]);
    }
  }
}

// And it begins with a checkpoint of any other.
TEST(MixedGroup, GoesOnFromACheckpointOfOneCpu) {
  RunSpec spec = Smooth();
  spec.shard_optimizer = false;
  const auto alone = SingleProcessCollective();
  auto trainer = MakeTrainerOf(kCpu, spec, alone.get());
  Train(trainer.get(), spec, 0, 3, 8);
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  CommitState(trainer.get(), store.get());
  const std::string hash = *trainer->StateHash();
  const std::vector<double> want = Train(trainer.get(), spec, 3, 6, 8);
  EXPECT_EQ(RunGroup(kTwo, Smooth(), 3, 3, store.get()).hashes[0], hash);
  const Outcome mixed = RunGroup(kTwo, Smooth(), 3, 6, store.get());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(mixed.losses[i], want[i], 1e-5 * want[i]) << i;
}

TEST(MixedGroup, ARunWithoutAShardedOptimiserIsRefused) {
  Trainer::Options options;
  options.spec = TinySpec();
  const auto alone = SingleProcessCollective();
  options.collective = alone.get();
  options.mixed_devices = true;
  EXPECT_THAT(Trainer::Create(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("needs a sharded optimiser")));
}

}  // namespace
}  // namespace tritter
