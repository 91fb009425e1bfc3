// Shares and commits through the coordinator.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "model/folder_checkpoint_store.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using Code = absl::StatusCode;

// One live epoch of two ranks whose plan orders a checkpoint at step 2; no agent acts on its own.
class CheckpointsTest : public CoordinatorFixture {
 protected:
  void SetUp() override {
    Start();
    id_ = Submit(RunYaml("run", 100, 2, "checkpoint: {every: 2, keep: 2}\n"));
    AddWorker("w-0");
    AddWorker("w-1");
    RoundsUntil([&] { return Get(id_).epoch() == 1 && agents_[0]->plan().has_value(); });
  }

  v1::CommitShareRequest Share(int rank, const std::string& content = "state") {
    const std::string folder = Get(id_).run_dir() + "/checkpoints/" + AttemptFolderName({2, "e1"});
    EXPECT_OK(env_.CreateDirs(folder));
    const std::string name = absl::StrCat("share-", rank, "-of-2.safetensors");
    EXPECT_OK(WriteFileAtomically(&env_, folder + "/" + name, content));
    v1::CommitShareRequest r;
    *r.mutable_worker() = agents_[rank]->Identity();
    r.set_run_id(id_);
    r.set_epoch(1);
    r.set_step(2);
    r.set_attempt("e1");
    r.set_rank(rank);
    v1::CheckpointFile* f = r.add_files();
    f->set_name(name);
    f->set_bytes(static_cast<int64_t>(content.size()));
    f->set_sha256(Sha256Hex(content));
    return r;
  }

  std::string id_;
};

TEST_F(CheckpointsTest, NothingIsCommittedAgainAfterARestart) {
  const std::string run = Submit(RunYaml("long", 100, 2));
  AddWorker("w-0");
  AddWorker("w-1");
  RoundsUntil([&] { return Get(run).committed_step() >= 50; });
  const auto commits = [&] {
    const std::vector<std::string> kinds = EventKinds(run);
    return std::count(kinds.begin(), kinds.end(), "checkpoint_committed");
  };
  const auto before = commits();
  const int64_t step = Get(run).committed_step();
  Start();
  for (FakeAgent* agent : live_) ASSERT_OK(agent->Connect());
  coordinator_->Tick();
  Rounds(3);
  EXPECT_EQ(commits(), before + (Get(run).committed_step() > step ? 1 : 0));
  EXPECT_EQ(coordinator_->Stats().failed_commits, 0);
}

TEST_F(CheckpointsTest, CommitsWhenTheLastShareIsInAndAnswersRepeatsTheSame) {
  EXPECT_EQ(coordinator_->CommitShare(Share(0))->state(), v1::CommitShareResponse::WAITING);
  EXPECT_EQ(coordinator_->CommitShare(Share(0))->state(), v1::CommitShareResponse::WAITING);
  const v1::CommitShareRequest last = Share(1);
  EXPECT_EQ(coordinator_->CommitShare(last)->state(), v1::CommitShareResponse::COMMITTED);
  EXPECT_EQ(coordinator_->CommitShare(last)->state(), v1::CommitShareResponse::COMMITTED);
  EXPECT_EQ(Get(id_).committed_step(), 2);
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, CheckpointsOfRun(&env_, Get(id_).run_dir())->Open(2));
  const CheckpointManifest& m = checkpoint->manifest();
  EXPECT_EQ(m.next_slot, 32);
  EXPECT_EQ(m.spec_hash, Get(id_).spec_hash());
  EXPECT_EQ(m.code_version, "0.1.0");
  EXPECT_EQ(m.files.size(), 2u);
}

TEST_F(CheckpointsTest, ARepeatAfterTheEpochIsClosedStillSaysCommitted) {
  const v1::CommitShareRequest last = Share(1);
  ASSERT_OK(coordinator_->CommitShare(Share(0)));
  ASSERT_OK(coordinator_->CommitShare(last));
  ASSERT_OK(agents_[0]->Fail("x", false));
  live_.clear();
  Rounds(15);
  EXPECT_EQ(Get(id_).epochs_lost(), 1);
  EXPECT_EQ(coordinator_->CommitShare(last)->state(), v1::CommitShareResponse::COMMITTED);
}

// Of the right size, but not what the worker says it is.
TEST_F(CheckpointsTest, ADamagedCheckpointDrivesOutNoOlderOne) {
  const std::string run = Submit(RunYaml("other", 100, 1, "checkpoint: {every: 2, keep: 1}\n"));
  FakeAgent* w = AddWorker("w-9");
  RoundsUntil([&] { return Get(run).committed_step() == 4; });
  ASSERT_OK_AND_ASSIGN(const auto one, coordinator_->ListCheckpoints(run));
  ASSERT_EQ(one.checkpoints_size(), 1);  // while all is well the older one goes
  w->lie_about_hashes = true;
  RoundsUntil([&] { return Get(run).committed_step() == 6; });
  ASSERT_OK_AND_ASSIGN(const auto two, coordinator_->ListCheckpoints(run));
  ASSERT_EQ(two.checkpoints_size(), 2);
  EXPECT_EQ(two.checkpoints(0).step(), 4);
  EXPECT_TRUE(env_.IsDirectory(two.checkpoints(0).path()));
  EXPECT_THAT(EventKinds(run), testing::Contains("checkpoint_damaged"));
  w->lie_about_hashes = false;
  RoundsUntil([&] { return Get(run).committed_step() == 8; });
  EXPECT_EQ(coordinator_->ListCheckpoints(run)->checkpoints_size(), 1);
}

TEST_F(CheckpointsTest, TheNewestEveryMthAndTheBestStay) {
  const std::string run = Submit(
      RunYaml("kept", 100, 1,
              "checkpoint: {every: 10, keep: 1, keep_every: 40}\nevaluation: {every: 10}\n"));
  AddWorker("w-9")->held_out_loss = [](int64_t step) { return step == 30 ? 1.0 : 2.0; };
  RoundsUntil([&] { return Get(run).state() == v1::RUN_STATE_COMPLETED; });
  ASSERT_OK_AND_ASSIGN(const auto kept, coordinator_->ListCheckpoints(run));
  std::vector<int64_t> steps;
  for (const v1::Checkpoint& c : kept.checkpoints()) steps.push_back(c.step());
  EXPECT_THAT(steps, testing::ElementsAre(30, 40, 80, 100));
  EXPECT_EQ(*CheckpointsOfRun(&env_, Get(run).run_dir())->Steps(), steps);
}

// The whole of a checkpoint is read for retention: never within a worker's call, and decisions go
// on meanwhile.
TEST_F(CheckpointsTest, NeitherWorkersNorDecisionsWaitWhileRetentionReads) {
  const std::string run = Submit(RunYaml("other", 100, 1, "checkpoint: {every: 2, keep: 1}\n"));
  AddWorker("w-9");
  RoundsUntil([&] { return Get(run).step() == 3; });
  const std::string dir = Get(run).run_dir();
  std::atomic<int> reads = 0;
  env_.on_map = [&](const std::string& path) { reads += absl::StartsWith(path, dir); };
  while (Get(run).committed_step() < 4) agents_.back()->Act();
  EXPECT_EQ(coordinator_->ListCheckpoints(run)->checkpoints_size(), 2);
  EXPECT_EQ(reads, 0);

  std::promise<void> decided;
  env_.on_map = [&](const std::string& path) {
    if (!absl::StartsWith(path, dir) || ++reads > 1) return;
    EXPECT_EQ(decided.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
  };
  options_.background = true;
  Start();  // what is left to drop is found again
  const std::string waiting = Submit(RunYaml("waiting", 10, 3));
  while (reads == 0 || Get(waiting).reason() == "just submitted") std::this_thread::yield();
  decided.set_value();
  while (coordinator_->ListCheckpoints(run)->checkpoints_size() > 1) std::this_thread::yield();
  Stop();
  env_.on_map = nullptr;
}

TEST_F(CheckpointsTest, SharesSurviveARestartOfTheCoordinator) {
  ASSERT_OK(coordinator_->CommitShare(Share(0)));
  Stop();
  Start();
  EXPECT_EQ(coordinator_->CommitShare(Share(1))->state(), v1::CommitShareResponse::COMMITTED);
}

TEST_F(CheckpointsTest, RefusesSharesThatAreNotWhatWasOrdered) {
  struct Case {
    std::string field;
    std::function<void(v1::CommitShareRequest*)> change;
  };
  const Case cases[] = {
      {"rank", [](auto* r) { r->set_rank(0); }},
      {"attempt", [](auto* r) { r->set_attempt("e2"); }},
      {"step", [](auto* r) { r->set_step(3); }},
      {"files", [](auto* r) { r->clear_files(); }},
      {"files.name", [](auto* r) { r->mutable_files(0)->set_name("../escape"); }},
      {"files.name", [](auto* r) { r->mutable_files(0)->set_name("manifest.json"); }},
      {"files.sha256", [](auto* r) { r->mutable_files(0)->set_sha256("abc"); }},
      {"files.bytes", [](auto* r) { r->mutable_files(0)->set_bytes(7); }},
      {"files.bytes", [](auto* r) { r->mutable_files(0)->set_name("share-7.safetensors"); }},
  };
  for (const Case& c : cases) {
    v1::CommitShareRequest share = Share(1);
    c.change(&share);
    const absl::Status s = coordinator_->CommitShare(share).status();
    ASSERT_THAT(s, StatusIs(Code::kFailedPrecondition)) << c.field;
    EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::CHECKPOINT_REJECTED) << c.field;
    EXPECT_EQ(DetailOf(s)->field(), c.field);
  }
  ASSERT_OK(coordinator_->CommitShare(Share(1)));
  EXPECT_THAT(coordinator_->CommitShare(Share(1, "other")),
              StatusIs(Code::kFailedPrecondition, HasSubstr("reported once")));
}

TEST_F(CheckpointsTest, ACommitThatFailsIsTriedAgain) {
  ASSERT_OK(coordinator_->CommitShare(Share(0)));
  const v1::CommitShareRequest last = Share(1);
  store_.FailApply(1, StoreFault::kRefuse);  // the share is stored, the commit is not
  EXPECT_THAT(coordinator_->CommitShare(last),
              StatusIs(Code::kResourceExhausted, HasSubstr("checkpoint of step 2")));
  EXPECT_EQ(Get(id_).committed_step(), 0);
  EXPECT_THAT(Get(id_).reason(), HasSubstr("cannot be committed yet"));
  clock_.Advance(absl::Seconds(2.5));
  coordinator_->Tick();
  EXPECT_EQ(Get(id_).committed_step(), 2);
}

TEST_F(CheckpointsTest, AFolderRenamedButNotRecordedIsAdoptedAtTheStart) {
  ASSERT_OK(coordinator_->CommitShare(Share(0)));
  store_.FailApply(1, StoreFault::kRefuse, /*sticky=*/true);
  EXPECT_FALSE(coordinator_->CommitShare(Share(1)).ok());
  Stop();
  store_.Heal();
  Start();
  EXPECT_EQ(Get(id_).committed_step(), 2);
  EXPECT_THAT(EventKinds(id_), testing::Contains("checkpoint_adopted"));
}

TEST_F(CheckpointsTest, LeftoversOfDeadAttemptsAreRemovedBeforeTheNextEpoch) {
  ASSERT_OK(coordinator_->CommitShare(Share(0)));
  const std::string folder = Get(id_).run_dir() + "/checkpoints/" + AttemptFolderName({2, "e1"});
  ASSERT_TRUE(env_.IsDirectory(folder));
  ASSERT_OK(agents_[0]->Fail("x", false));
  std::erase(live_, agents_[0].get());
  agents_[0]->Act();
  RoundsUntil([&] { return !Get(id_).reason().empty() && Get(id_).epochs_lost() == 1; });
  live_.push_back(agents_[0].get());
  RoundsUntil([&] { return Get(id_).epoch() == 2; });
  EXPECT_FALSE(env_.IsDirectory(folder));
}

}  // namespace
}  // namespace tritter
