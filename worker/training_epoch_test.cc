// Epochs with everything real but the coordinator: shards on disk, Gloo, LibTorch, checkpoints.
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "common/sha256.h"
#include "common/testing/status_matchers.h"
#include "curation/shard_writer.h"
#include "model/folder_checkpoint_store.h"
#include "worker/epoch_runner.h"
#include "worker/testing/device_parts.h"
#include "worker/testing/fake_coordinator_link.h"
#include "worker/training_parts.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using Kind = EpochOutcome::Kind;

constexpr int64_t kSteps = 6;

// Dies in the exchange of losses of a step: the gradients of that step were summed.
class DyingCollective final : public Collective {
 public:
  DyingCollective(std::unique_ptr<Collective> real, int exchanges)
      : real_(std::move(real)), left_(exchanges) {}
  int rank() const override { return real_->rank(); }
  int world_size() const override { return real_->world_size(); }
  absl::StatusOr<std::unique_ptr<Work>> AllReduceSum(float* data, int64_t count,
                                                     int device) override {
    return real_->AllReduceSum(data, count, device);
  }
  absl::Status AllReduceSum(double* data, int64_t count) override {
    if (left_-- == 0) real_->Abort("killed");
    return real_->AllReduceSum(data, count);
  }
  absl::Status Broadcast(void* data, int64_t bytes, int root) override {
    return real_->Broadcast(data, bytes, root);
  }
  absl::Status AllGather(const void* own, int64_t bytes, void* all) override {
    return real_->AllGather(own, bytes, all);
  }
  void Abort(absl::string_view reason) override { real_->Abort(reason); }

 private:
  const std::unique_ptr<Collective> real_;
  int left_;
};

// A worker that dies after so many steps.
class DyingParts final : public EpochParts {
 public:
  DyingParts(EpochParts* real, int steps) : real_(real), steps_(steps) {}
  absl::StatusOr<std::unique_ptr<EpochData>> OpenData(const RunSpec& spec) override {
    return real_->OpenData(spec);
  }
  absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(int world_size) override {
    return real_->OpenRendezvous(world_size);
  }
  absl::StatusOr<std::unique_ptr<Collective>> Connect(const std::string& address, Rendezvous* own,
                                                      const GroupPlace& place) override {
    auto group = real_->Connect(address, own, place);
    if (!group.ok()) return group.status();
    return std::make_unique<DyingCollective>(*std::move(group), steps_);
  }
  absl::StatusOr<std::unique_ptr<Trainer>> CreateTrainer(const RunSpec& spec,
                                                         Collective* collective,
                                                         bool mixed_devices) override {
    return real_->CreateTrainer(spec, collective, mixed_devices);
  }

 private:
  EpochParts* const real_;
  const int steps_;
};

class TrainingEpochTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        JoinPath(testing::TempDir(), testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(Env::Real()->RemoveTree(folder_));
    ShardWriterOptions options;
    options.source = "text";
    options.tokenizer_hash = std::string(64, 'a');
    options.vocabulary = 264;
    ASSERT_OK_AND_ASSIGN(auto writer, ShardWriter::Create(Env::Real(), Shards(), options));
    for (int d = 0; d < 60; ++d) {
      std::vector<int32_t> tokens;
      for (int i = 0; i < 20; ++i) tokens.push_back(8 + (d * 7 + i * i) % 200);
      tokens.push_back(2);
      DocumentToWrite document;
      document.tokens = tokens;
      document.raw_bytes = 20;
      document.weight = d % 3 == 0 ? 0.5f : 1.0f;
      ASSERT_OK(writer->Add(d < 50 ? Split::kTrain : Split::kHeldOut, document));
    }
    ASSERT_OK(writer->Finish({}, {}));
    ASSERT_OK(CheckpointsOfRun(Env::Real(), JoinPath(folder_, "run"))->Create());
  }
  void TearDown() override { EXPECT_OK(Env::Real()->RemoveTree(folder_)); }

  std::string Shards() const { return JoinPath(folder_, "shards"); }
  Assignment Order(int rank, int world_size) {
    Assignment a;
    a.id = {"run-1", 1};
    a.rank = rank;
    a.world_size = world_size;
    a.run_dir = JoinPath(folder_, "run");
    a.spec_yaml = absl::StrCat(R"(name: test
model: {preset: nano, vocab: 264}
data: {sources: [{name: text, shards: )",
                               Shards(), R"(, max_epochs: 1000}]}
training: {steps: 6, sequence_length: 16, global_batch: 4, ema_window: 2}
workers: {min: 1, max: 2}
)");
    a.collective_timeout = absl::Seconds(60);
    return a;
  }
  std::unique_ptr<EpochParts> Parts() { return MakeTrainingParts({Env::Real(), "127.0.0.1", 1}); }
  std::unique_ptr<EpochRunner> Make(EpochParts* parts, CoordinatorLink* link, Assignment order,
                                    HeldTrainer held = {}) {
    EpochRunner::Options options;
    options.parts = parts;
    options.link = link;
    options.env = Env::Real();
    options.clock = Clock::Real();
    options.request_prefix = absl::StrCat("w", order.rank);
    options.commit_poll = absl::Milliseconds(1);
    options.report_interval = absl::Milliseconds(5);
    options.broken_group_grace = absl::Milliseconds(10);
    options.assignment = std::move(order);
    return std::make_unique<EpochRunner>(std::move(options), std::move(held));
  }
  static FakeCoordinatorLink::Script Script(int world_size) {
    FakeCoordinatorLink::Script script;
    script.total_steps = kSteps;
    script.world_size = world_size;
    script.micro_batch = 2;
    script.evaluate_at = {kSteps};
    script.peak = 3e-3;
    return script;
  }

  // Both ranks of an epoch, each with parts of its own, to the end; the state that they leave.
  struct Pair {
    EpochOutcome outcomes[2];
    HeldTrainer held[2];
  };
  Pair RunBoth(FakeCoordinatorLink* link, EpochParts* zero, EpochParts* one, Assignment order,
               HeldTrainer of_zero = {}, HeldTrainer of_one = {}) {
    Assignment other = order;
    other.rank = 1;
    auto first = Make(zero, link, std::move(order), std::move(of_zero));
    auto second = Make(one, link, std::move(other), std::move(of_one));
    link->OnRendezvous([&](const std::string& address) { second->SetRendezvous(address); });
    Pair out;
    std::thread rank_one([&] {
      out.outcomes[1] = second->Run();
      out.held[1] = second->TakeState();
    });
    out.outcomes[0] = first->Run();
    out.held[0] = first->TakeState();
    rank_one.join();
    return out;
  }
  // What the coordinator makes of the shares that were reported to it.
  std::string Commit(const FakeCoordinatorLink& link, int64_t step, const std::string& attempt) {
    CheckpointManifest manifest;
    manifest.run_id = "run-1";
    manifest.step = step;
    manifest.epoch = 1;
    manifest.attempt = attempt;
    manifest.spec_yaml = Order(0, 1).spec_yaml;
    manifest.spec_hash = Sha256Hex(manifest.spec_yaml);
    manifest.code_version = "test";
    manifest.next_slot = 4 * step;
    std::map<int, std::vector<ManifestFile>> shares;
    for (const auto& commit : link.commits()) shares[commit.rank] = commit.files;
    for (const auto& [rank, files] : shares)
      manifest.files.insert(manifest.files.end(), files.begin(), files.end());
    const auto committed =
        CheckpointsOfRun(Env::Real(), JoinPath(folder_, "run"))->Commit(manifest);
    EXPECT_OK(committed.status());
    return committed.ok() ? (*committed)->manifest_sha256() : "";
  }

  std::string folder_;
};

TEST_F(TrainingEpochTest, TwoWorkersEqualOneThatAccumulatesBitForBit) {
  FakeCoordinatorLink alone(Script(1)), together(Script(2));
  const auto parts = Parts();
  const EpochOutcome single = Make(parts.get(), &alone, Order(0, 1))->Run();
  ASSERT_EQ(single.kind, Kind::kDone) << single.status << alone.failure();

  auto first = Make(parts.get(), &together, Order(0, 2));
  auto second = Make(parts.get(), &together, Order(1, 2));
  together.OnRendezvous([&](const std::string& address) { second->SetRendezvous(address); });
  EpochOutcome other;
  std::thread rank_one([&] { other = second->Run(); });
  const EpochOutcome zero = first->Run();
  rank_one.join();
  ASSERT_EQ(zero.kind, Kind::kDone) << zero.status << together.failure();
  ASSERT_EQ(other.kind, Kind::kDone) << other.status;

  const auto want = alone.steps(), got = together.steps();
  ASSERT_EQ(want.size(), static_cast<size_t>(kSteps));
  ASSERT_EQ(got.size(), static_cast<size_t>(kSteps));
  for (int i = 0; i < kSteps; ++i) {
    EXPECT_EQ(got[i].loss, want[i].loss) << i;
    EXPECT_EQ(got[i].grad_norm, want[i].grad_norm) << i;
  }
  EXPECT_LT(want.back().loss, want.front().loss);
  ASSERT_EQ(together.evaluations().size(), 2u);  // averaged and raw
  EXPECT_EQ(together.evaluations()[0].tokens, 10 * 21 - 1);
  EXPECT_NEAR(together.evaluations()[0].loss, alone.evaluations()[0].loss, 1e-9);
  EXPECT_GT(alone.evaluations()[0].bits_per_byte, 0);
}

// A slow worker has one sequence of four: the same as one worker that accumulates three and one.
TEST_F(TrainingEpochTest, UnequalSharesEqualOneThatAccumulatesThemBitForBit) {
  auto split = Script(2);
  split.shares = {3, 1};
  split.micro_batch = 3;
  auto whole = Script(1);
  whole.micro_batch = 3;
  FakeCoordinatorLink alone(whole), together(split);
  const auto parts = Parts();
  ASSERT_EQ(Make(parts.get(), &alone, Order(0, 1))->Run().kind, Kind::kDone) << alone.failure();
  const Pair pair = RunBoth(&together, parts.get(), parts.get(), Order(0, 2));
  for (const EpochOutcome& outcome : pair.outcomes)
    ASSERT_EQ(outcome.kind, Kind::kDone) << outcome.status << together.failure();
  const auto want = alone.steps(), got = together.steps();
  ASSERT_EQ(want.size(), static_cast<size_t>(kSteps));
  ASSERT_EQ(got.size(), static_cast<size_t>(kSteps));
  for (int i = 0; i < kSteps; ++i) {
    EXPECT_EQ(got[i].loss, want[i].loss) << i;
    EXPECT_EQ(got[i].grad_norm, want[i].grad_norm) << i;
  }
  EXPECT_NEAR(together.evaluations()[0].loss, alone.evaluations()[0].loss, 1e-9);
}

// A CPU and a device in one epoch, a quarter of the batch and the rest.
TEST_F(TrainingEpochTest, ACpuAndADeviceTrainTogether) {
  const auto cpu = Parts();
  const auto device = DeviceParts(cpu.get());
  auto script = Script(2);
  script.shares = {1, 3};
  script.micro_batch = 3;
  Assignment order = Order(0, 2);
  order.mixed_devices = true;
  FakeCoordinatorLink alone(Script(1)), whole(script);
  ASSERT_EQ(Make(cpu.get(), &alone, Order(0, 1))->Run().kind, Kind::kDone) << alone.failure();
  Pair pair = RunBoth(&whole, cpu.get(), device.get(), order);
  for (const EpochOutcome& outcome : pair.outcomes)
    ASSERT_EQ(outcome.kind, Kind::kDone) << outcome.status << whole.failure();
  const auto want = alone.steps(), got = whole.steps();
  ASSERT_EQ(got.size(), static_cast<size_t>(kSteps));
  // A rounding may flip a code of an activation, as between any two kinds of processor.
  for (int i = 0; i < kSteps; ++i) EXPECT_NEAR(got[i].loss, want[i].loss, 5e-3 * want[i].loss) << i;
  ASSERT_EQ(whole.evaluations().size(), 2u);
  EXPECT_EQ(whole.evaluations()[0].tokens, alone.evaluations()[0].tokens);
  EXPECT_NEAR(whole.evaluations()[0].loss, alone.evaluations()[0].loss, 2e-2);

  // Stopped and resumed: the same bits. Nobody keeps a state, which is spread over both.
  script.checkpoints = {{4, "1-a"}};
  script.pause_at = 4;
  FakeCoordinatorLink until_checkpoint(script);
  pair = RunBoth(&until_checkpoint, cpu.get(), device.get(), order);
  for (int rank : {0, 1}) {
    ASSERT_EQ(pair.outcomes[rank].kind, Kind::kDone) << pair.outcomes[rank].status;
    EXPECT_EQ(pair.outcomes[rank].steps_done, 4);
    EXPECT_EQ(pair.held[rank].trainer, nullptr) << rank;
  }
  order.id.epoch = 2;
  order.start_step = 4;
  order.manifest_sha256 = Commit(until_checkpoint, 4, "1-a");
  script.checkpoints.clear();
  FakeCoordinatorLink resumed(script);
  RunBoth(&resumed, cpu.get(), device.get(), order);
  ASSERT_EQ(resumed.steps().size(), 2u) << resumed.failure();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(resumed.steps()[i].loss, got[4 + i].loss);
    EXPECT_EQ(resumed.steps()[i].grad_norm, got[4 + i].grad_norm);
  }
  EXPECT_EQ(resumed.evaluations()[0].loss, whole.evaluations()[0].loss);

  // And by one CPU, whose state can be kept again.
  Assignment lone = order;
  lone.id.epoch = 3;
  lone.world_size = 1;
  lone.mixed_devices = false;
  auto rest = Script(1);
  rest.total_steps = 5;
  rest.evaluate_at = {};
  FakeCoordinatorLink one(rest);
  auto runner = Make(cpu.get(), &one, lone);
  const EpochOutcome outcome = runner->Run();
  ASSERT_EQ(outcome.kind, Kind::kDone) << outcome.status << one.failure();
  ASSERT_EQ(one.steps().size(), 1u);
  EXPECT_NEAR(one.steps()[0].loss, got[4].loss, 5e-3 * got[4].loss);
  EXPECT_NE(runner->TakeState().trainer, nullptr);
}

TEST_F(TrainingEpochTest, ACpuAndADeviceTrainTogetherInRounds) {
  const auto cpu = Parts();
  const auto device = DeviceParts(cpu.get());
  auto script = Script(2);
  script.shares = {1, 3};
  script.micro_batch = 3;
  Assignment order = Order(0, 2);
  order.mixed_devices = true;
  order.spec_yaml = absl::StrReplaceAll(
      order.spec_yaml, {{"ema_window: 2", "ema_window: 2, sync: outer, outer: {steps: 2}"}});
  FakeCoordinatorLink link(script);
  const Pair pair = RunBoth(&link, cpu.get(), device.get(), order);
  for (const EpochOutcome& outcome : pair.outcomes)
    ASSERT_EQ(outcome.kind, Kind::kDone) << outcome.status << link.failure();
  const auto got = link.steps();
  ASSERT_EQ(got.size(), static_cast<size_t>(kSteps));
  EXPECT_LT(got.back().loss, got.front().loss);
  EXPECT_EQ(link.evaluations().size(), 2u);
}

// A state that a group of CPUs left is no part of one that is spread over CPUs and GPUs.
TEST_F(TrainingEpochTest, AMixedEpochDoesNotStartFromMemory) {
  const auto cpu = Parts();
  const auto device = DeviceParts(cpu.get());
  auto script = Script(2);
  script.total_steps = 3;
  script.evaluate_at = {};
  FakeCoordinatorLink until(script);
  Pair pair = RunBoth(&until, cpu.get(), cpu.get(), Order(0, 2));
  ASSERT_NE(pair.held[0].trainer, nullptr);
  Assignment order = Order(0, 2);
  order.id.epoch = 2;
  order.start_step = 3;
  order.from_memory = true;
  order.state_epoch = 1;
  order.mixed_devices = true;
  FakeCoordinatorLink link(Script(2));
  pair = RunBoth(&link, cpu.get(), device.get(), order, std::move(pair.held[0]));
  EXPECT_EQ(pair.outcomes[0].kind, Kind::kFailed);
  EXPECT_THAT(link.failure(), HasSubstr("does not hold it; the run goes on from a checkpoint"));
  EXPECT_FALSE(link.failure_is_permanent());
}

// One of two dies in the middle of a step; a new one takes its place, gets the state from the
// memory of the survivor, which has another rank now, and the rest is what it would have been.
TEST_F(TrainingEpochTest, ASurvivorsMemoryIsAsGoodAsACheckpoint) {
  const auto parts = Parts();
  FakeCoordinatorLink undisturbed(Script(1)), disturbed(Script(2));
  ASSERT_EQ(Make(parts.get(), &undisturbed, Order(0, 1))->Run().kind, Kind::kDone);

  DyingParts dying(parts.get(), 3);
  auto survivor = Make(parts.get(), &disturbed, Order(0, 2));
  auto victim = Make(&dying, &disturbed, Order(1, 2));
  disturbed.OnRendezvous([&](const std::string& address) { victim->SetRendezvous(address); });
  std::thread rank_one([&] { victim->Run(); });
  const EpochOutcome outcome = survivor->Run();
  rank_one.join();
  EXPECT_EQ(outcome.kind, Kind::kFailed);
  HeldTrainer held = survivor->TakeState();
  ASSERT_NE(held.trainer, nullptr);
  ASSERT_EQ(held.trainer->step(), 3);
  survivor.reset();
  victim.reset();

  FakeCoordinatorLink rest(Script(2));
  Assignment fresh = Order(0, 2), old = Order(1, 2);
  for (Assignment* order : {&fresh, &old}) {
    order->id.epoch = 2;
    order->start_step = 3;
    order->from_memory = true;
    order->state_rank = 1;
    order->state_epoch = 1;
  }
  auto first = Make(parts.get(), &rest, fresh);
  auto second = Make(parts.get(), &rest, old, std::move(held));
  rest.OnRendezvous([&](const std::string& address) { second->SetRendezvous(address); });
  std::thread other([&] { EXPECT_EQ(second->Run().kind, Kind::kDone); });
  const EpochOutcome end = first->Run();
  other.join();
  ASSERT_EQ(end.kind, Kind::kDone) << end.status << rest.failure();
  const auto want = undisturbed.steps(), got = rest.steps();
  ASSERT_EQ(got.size(), static_cast<size_t>(kSteps));  // those that the survivor knew, too
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].step, want[i].step);
    EXPECT_EQ(got[i].loss, want[i].loss) << i;
    EXPECT_EQ(got[i].grad_norm, want[i].grad_norm) << i;
  }
  EXPECT_NEAR(rest.evaluations()[0].loss, undisturbed.evaluations()[0].loss, 1e-9);
}

TEST_F(TrainingEpochTest, StopAndResumeIsBitExact) {
  const auto parts = Parts();
  FakeCoordinatorLink whole(Script(1));
  ASSERT_EQ(Make(parts.get(), &whole, Order(0, 1))->Run().kind, Kind::kDone) << whole.failure();

  auto script = Script(1);
  script.checkpoints = {{4, "1-a"}};
  FakeCoordinatorLink until_checkpoint(script);
  ASSERT_EQ(Make(parts.get(), &until_checkpoint, Order(0, 1))->Run().kind, Kind::kDone);
  ASSERT_FALSE(until_checkpoint.commits().empty());

  Assignment order = Order(0, 1);
  order.id.epoch = 2;
  order.start_step = 4;
  order.manifest_sha256 = Commit(until_checkpoint, 4, "1-a");
  FakeCoordinatorLink resumed(Script(1));
  const EpochOutcome outcome = Make(parts.get(), &resumed, order)->Run();
  ASSERT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  ASSERT_EQ(resumed.steps().size(), 2u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(resumed.steps()[i].step, 5 + i);
    EXPECT_EQ(resumed.steps()[i].loss, whole.steps()[4 + i].loss);
    EXPECT_EQ(resumed.steps()[i].grad_norm, whole.steps()[4 + i].grad_norm);
  }
  EXPECT_EQ(resumed.evaluations()[0].loss, whole.evaluations()[0].loss);
}

}  // namespace
}  // namespace tritter
