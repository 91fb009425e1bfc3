// Epochs with everything real but the coordinator: shards on disk, Gloo, LibTorch, checkpoints.
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/sha256.h"
#include "common/testing/status_matchers.h"
#include "curation/shard_writer.h"
#include "model/folder_checkpoint_store.h"
#include "worker/epoch_runner.h"
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
                                                      const std::string& prefix, int rank,
                                                      int world_size,
                                                      absl::Duration timeout) override {
    auto group = real_->Connect(address, own, prefix, rank, world_size, timeout);
    if (!group.ok()) return group.status();
    return std::make_unique<DyingCollective>(*std::move(group), steps_);
  }
  absl::StatusOr<std::unique_ptr<Trainer>> CreateTrainer(const RunSpec& spec,
                                                         Collective* collective) override {
    return real_->CreateTrainer(spec, collective);
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
    return script;
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

  CheckpointManifest manifest;
  manifest.run_id = "run-1";
  manifest.step = 4;
  manifest.epoch = 1;
  manifest.attempt = "1-a";
  manifest.spec_yaml = Order(0, 1).spec_yaml;
  manifest.spec_hash = Sha256Hex(manifest.spec_yaml);
  manifest.code_version = "test";
  manifest.next_slot = 16;
  manifest.files = until_checkpoint.commits().back().files;
  ASSERT_OK_AND_ASSIGN(const auto committed,
                       CheckpointsOfRun(Env::Real(), JoinPath(folder_, "run"))->Commit(manifest));

  Assignment order = Order(0, 1);
  order.id.epoch = 2;
  order.start_step = 4;
  order.manifest_sha256 = committed->manifest_sha256();
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
