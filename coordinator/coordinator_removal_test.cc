// Runs that people delete, history that grows old.
#include <atomic>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using Code = absl::StatusCode;

class RemovalTest : public CoordinatorFixture {
 protected:
  bool Is(const std::string& id, v1::RunState state) { return Get(id).state() == state; }
  // A run that is complete.
  std::string Trained(const std::string& name, const std::string& key = "") {
    const std::string id = Submit(RunYaml(name, 10, 1), key);
    if (live_.empty()) AddWorker("w");
    RoundsUntil([&] { return Is(id, v1::RUN_STATE_COMPLETED); });
    Rounds(5);
    return id;
  }
  bool FolderOf(const std::string& id) { return env_.Exists(absl::StrCat("/data-dir/runs/", id)); }
  int64_t KeysFound(const std::vector<std::string>& keys) {
    int64_t found = 0;
    for (const std::string& key : keys) found += memory_store_.FindKey(key)->has_value();
    return found;
  }
};

TEST_F(RemovalTest, ADeletedRunIsGoneFromStoreAndDiskAndItsNameIsFree) {
  Start();
  const std::string kept = Trained("nano"), id = Trained("nano", "key");
  ASSERT_TRUE(FolderOf(id));
  EXPECT_THAT(coordinator_->Delete("nano"), StatusIs(Code::kFailedPrecondition, HasSubstr(kept)));
  ASSERT_OK_AND_ASSIGN(const v1::Run checked, coordinator_->CheckDeletion(id));
  EXPECT_EQ(checked.run_id(), id);
  ASSERT_OK_AND_ASSIGN(const v1::DeleteRunResponse deleted, coordinator_->Delete(id));
  EXPECT_EQ(deleted.run_id(), id);
  EXPECT_EQ(deleted.name(), "nano");
  EXPECT_FALSE(FolderOf(id));
  EXPECT_TRUE(FolderOf(kept));
  EXPECT_EQ(Get("nano").run_id(), kept);
  for (const char* when : {"at once", "after a restart"}) {
    SCOPED_TRACE(when);
    EXPECT_THAT(coordinator_->Get(id), StatusIs(Code::kNotFound));
    EXPECT_THAT(coordinator_->Delete(id), StatusIs(Code::kNotFound));
    EXPECT_THAT(coordinator_->List(0).runs(), SizeIs(1));
    EXPECT_EQ(coordinator_->Stats().runs_by_state["completed"], 1);
    v1::ListEventsRequest of_run;
    of_run.set_run(id);
    EXPECT_THAT(coordinator_->ListEvents(of_run), StatusIs(Code::kNotFound));
    Start();
  }
  EXPECT_THAT(*memory_store_.Events(id, 0, 100), IsEmpty());
  EXPECT_THAT(*memory_store_.Metrics(id, 0, 0, 100), IsEmpty());
  EXPECT_FALSE(memory_store_.FindKey("key")->has_value());
  ASSERT_OK_AND_ASSIGN(const auto events, memory_store_.Events("", 0, 1000));
  EXPECT_EQ(events.back().kind(), kEventRunDeleted);
  EXPECT_THAT(events.back().message(),
              AllOf(HasSubstr(absl::StrCat("run nano (", id, "), completed, was deleted with ")),
                    HasSubstr("checkpoint")));
  // The key too is free: whoever uses it anew gets a new run.
  const std::string again = Submit(RunYaml("nano", 10, 1), "key");
  EXPECT_NE(again, id);
  EXPECT_EQ(Submit(RunYaml("nano", 10, 1), "key"), again);
}

// Without a restart in between, and with another configuration.
TEST_F(RemovalTest, TheKeyOfADeletedRunIsFreeForAnyOther) {
  Start();
  const std::string id = Trained("nano", "key");
  ASSERT_OK(coordinator_->Delete(id));
  const std::string again = Submit(RunYaml("other", 20, 1), "key");
  EXPECT_NE(again, id);
  EXPECT_EQ(Get(again).name(), "other");
}

TEST_F(RemovalTest, WhatHasNotEndedOrIsNeededStays) {
  Start();
  const std::string first = Submit(RunYaml("first", 20, 1));
  for (const absl::Status& s :
       {coordinator_->Delete(first).status(), coordinator_->CheckDeletion("first").status()}) {
    EXPECT_THAT(s, StatusIs(Code::kFailedPrecondition,
                            AllOf(HasSubstr("it is queued"), HasSubstr("tritterctl cancel"))));
  }
  AddWorker("w");
  RoundsUntil([&] { return Is(first, v1::RUN_STATE_COMPLETED); });
  Rounds(5);
  Kill(live_.front());
  const std::string second = Submit(RunYaml("second", 10, 1, "after: [first]\n"));
  EXPECT_THAT(coordinator_->Delete(first),
              StatusIs(Code::kFailedPrecondition, HasSubstr("works on it or waits for it")));
  EXPECT_TRUE(FolderOf(first));
  ASSERT_OK(coordinator_->Cancel(second, true));
  ASSERT_OK(coordinator_->CheckDeletion(first));
  EXPECT_TRUE(FolderOf(first)) << "it was but looked at";
  EXPECT_OK(coordinator_->Delete(first));
}

TEST_F(RemovalTest, AFolderThatFillsUpMeanwhileIsTriedAgainForAMoment) {
  Start();
  const std::string id = Trained("nano");
  env_.refilled = 100;
  EXPECT_THAT(coordinator_->Delete(id),
              StatusIs(Code::kFailedPrecondition,
                       AllOf(HasSubstr("something still writes into its folder (/data-dir/runs/"),
                             HasSubstr("try again in a moment"), Not(HasSubstr("not empty")))));
  EXPECT_TRUE(Is(id, v1::RUN_STATE_COMPLETED));
  env_.refilled = 3;
  EXPECT_OK(coordinator_->Delete(id));
  EXPECT_FALSE(FolderOf(id));
}

// What a run waited for has been complete when it began.
TEST_F(RemovalTest, WhatARunFollowedMayGoOnceItHasBegun) {
  Start();
  const std::string first = Trained("first");
  const std::string second = Submit(RunYaml("second", 1000, 1, "after: [first]\n"));
  RoundsUntil([&] { return Get(second).step() >= 5; });
  ASSERT_OK(coordinator_->Delete(first)) << "it has begun";
  ASSERT_OK(live_.front()->Fail("shard truncated", /*permanent=*/true));
  RoundsUntil([&] { return Is(second, v1::RUN_STATE_FAILED); });
  Start();
  ASSERT_OK(live_.front()->Connect());
  ASSERT_OK(coordinator_->Resume(second));
  RoundsUntil([&] { return Get(second).step() >= 20; });
}

TEST_F(RemovalTest, AJobDoesNotGoOnWithoutTheRunItWorksOn) {
  Start();
  const std::string base = Trained("base");
  export_status_ = absl::DataLossError("damaged");
  const std::string job = Submit("name: packed\njob: export\nof: base\nexport: {format: tpack}\n");
  RoundsUntil([&] { return Is(job, v1::RUN_STATE_FAILED); });
  ASSERT_OK(coordinator_->Delete(base));
  EXPECT_THAT(
      coordinator_->Resume(job),
      StatusIs(Code::kFailedPrecondition,
               AllOf(HasSubstr(absl::StrCat("cannot resume run packed (", job, "): run base (",
                                            base, "), on which it works, was deleted")),
                     HasSubstr("submit it anew with another `of`"))));
  Start();  // its name is known no more
  EXPECT_THAT(coordinator_->Resume(job),
              StatusIs(Code::kFailedPrecondition, HasSubstr(absl::StrCat("run ", base, ", on"))));
  EXPECT_TRUE(Is(job, v1::RUN_STATE_FAILED));
}

TEST_F(RemovalTest, ARepeatIsAnsweredAsTheFirstWas) {
  Start();
  const std::string other = Trained("other"), id = Trained("nano");
  ASSERT_OK(coordinator_->Delete(id, "request-1"));
  for (const char* when : {"at once", "after a restart"}) {
    SCOPED_TRACE(when);
    ASSERT_OK_AND_ASSIGN(const v1::DeleteRunResponse again, coordinator_->Delete(id, "request-1"));
    EXPECT_EQ(again.run_id(), id);
    EXPECT_THAT(coordinator_->Delete(id, "request-2"), StatusIs(Code::kNotFound));
    Start();
  }
  EXPECT_THAT(coordinator_->Resume(other, "request-1"), StatusIs(Code::kAlreadyExists));
  EXPECT_THAT(coordinator_->Delete(other, "request-1"), StatusIs(Code::kAlreadyExists));
  EXPECT_TRUE(Is(other, v1::RUN_STATE_COMPLETED));
}

// Whatever fails on the way: the run is still listed, and is deleted by the next attempt.
TEST_F(RemovalTest, CutOffHalfWayItIsThereToBeDeletedAgain) {
  Start();
  const std::string id = Trained("nano");
  store_.FailApply(0, StoreFault::kRefuse);
  EXPECT_THAT(coordinator_->Delete(id), StatusIs(Code::kResourceExhausted));
  EXPECT_FALSE(FolderOf(id));
  EXPECT_TRUE(Is(id, v1::RUN_STATE_COMPLETED));
  Start();  // as after a crash between the two
  EXPECT_TRUE(Is(id, v1::RUN_STATE_COMPLETED));
  EXPECT_OK(coordinator_->Delete(id));
  EXPECT_THAT(coordinator_->Get(id), StatusIs(Code::kNotFound));
}

TEST_F(RemovalTest, AWorkerWithLateWordsOfADeletedRunBringsNothingBack) {
  Start();
  const std::string id = Trained("nano");
  ASSERT_OK(coordinator_->Delete(id));
  v1::ReportRequest late;
  late.mutable_worker()->set_name("w");
  late.mutable_worker()->set_incarnation(1);
  late.set_run_id(id);
  late.set_epoch(1);
  late.add_steps()->set_step(3);
  late.add_log_lines()->set_line("late");
  EXPECT_THAT(coordinator_->Report(late), StatusIs(Code::kNotFound));
  EXPECT_THAT(*memory_store_.Metrics(id, 0, 0, 100), IsEmpty());
  EXPECT_THAT(*memory_store_.LogLines(id, 0, 0), IsEmpty());
}

// A worker in the middle of a checkpoint writes on for seconds after a kill.
TEST_F(RemovalTest, ARunIsNotDeletedUnderAWorkerThatIsLeavingIt) {
  Start();
  FakeAgent* w = AddWorker("w");
  for (const bool silent : {false, true}) {
    SCOPED_TRACE(silent);
    const std::string id = Submit(RunYaml("nano", 1000, 1));
    RoundsUntil([&] { return Get(id).step() >= 3; });
    ASSERT_OK(coordinator_->Cancel(id, /*now=*/true));
    EXPECT_THAT(coordinator_->Delete(id),
                StatusIs(Code::kFailedPrecondition, AllOf(HasSubstr("worker w is still leaving it"),
                                                          HasSubstr("try again in a moment"))));
    EXPECT_TRUE(FolderOf(id));
    if (silent) Silence(w);
    // It has left, or it is lost: a stopped process is not waited for.
    RoundsUntil([&] { return coordinator_->Delete(id).ok(); });
    EXPECT_FALSE(FolderOf(id));
  }
}

TEST_F(RemovalTest, ARunThatMayBeNeededStays) {
  Start();
  const std::string id = Trained("first");
  const std::string other = Submit(RunYaml("second", 10, 5));
  ASSERT_OK_AND_ASSIGN(std::vector<RunRecord> runs, memory_store_.Runs());
  std::erase_if(runs, [&](const RunRecord& r) { return r.run_id != other; });
  runs[0].spec_yaml += "unknown_key: 1\n";  // of another version
  WriteBatch batch;
  batch.runs = runs;
  ASSERT_OK(memory_store_.Apply(batch));
  Start();
  EXPECT_THAT(coordinator_->Delete(id),
              StatusIs(Code::kFailedPrecondition,
                       HasSubstr(absl::StrCat("second (", other, ") may work on it"))));
  ASSERT_OK(coordinator_->Cancel(other, /*now=*/true));
  EXPECT_OK(coordinator_->Delete(id));
}

// While a run is submitted, the one it waits for is deleted: one of the two is refused, whenever it
// comes.
TEST_F(RemovalTest, NoRunIsSubmittedThatWaitsForADeletedOne) {
  Start();
  std::string first = Trained("first");
  v1::SubmitRunRequest second;
  second.set_yaml(RunYaml("second", 10, 5, "after: [first]\n"));
  second.set_base_dir("/");
  catalog_.tokenizer = [&](const SourceSpec&) {
    EXPECT_OK(coordinator_->Delete(first));
    return "hash";
  };
  EXPECT_THAT(coordinator_->Submit(second),
              StatusIs(Code::kInvalidArgument, HasSubstr("no run has the name")));
  catalog_.tokenizer = nullptr;

  first = Trained("first");
  absl::Status answer;
  env_.on_remove = [&](const std::string&) { answer = coordinator_->Submit(second).status(); };
  ASSERT_OK(coordinator_->Delete(first));
  env_.on_remove = nullptr;
  EXPECT_THAT(answer, StatusIs(Code::kInvalidArgument, HasSubstr("is being deleted")));

  first = Trained("first");
  env_.on_rename = [&](const std::string&) { answer = coordinator_->Delete(first).status(); };
  ASSERT_OK(coordinator_->Submit(second));
  env_.on_rename = nullptr;
  EXPECT_THAT(answer, StatusIs(Code::kFailedPrecondition, HasSubstr("is being submitted")));
  EXPECT_TRUE(FolderOf(first));
}

TEST_F(RemovalTest, ARepeatAtTheSameMomentGetsTheSameAnswer) {
  std::atomic<bool> asks = false, asked = false;
  store_.OnAccess([&] { asked = asked || asks; });
  Start();
  const std::string id = Trained("nano");
  absl::StatusOr<v1::DeleteRunResponse> repeat;
  std::thread other;
  env_.on_remove = [&](const std::string&) {
    asks = true;
    other = std::thread([&] { repeat = coordinator_->Delete(id, "request"); });
    while (!asked) std::this_thread::yield();
    // It has its own look at the keys behind it, most likely, and waits for the run's turn.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  };
  const auto first = coordinator_->Delete(id, "request");
  other.join();
  EXPECT_OK(first);
  ASSERT_OK(repeat);
  EXPECT_EQ(repeat->run_id(), id);
}

TEST_F(RemovalTest, NoFolderComesBackWithThePower) {
  Start();
  const std::string id = Trained("nano");
  ASSERT_OK(coordinator_->Delete(id));
  Stop();
  env_.Crash(CrashMode::kLoseUnsynced);
  EXPECT_FALSE(FolderOf(id));
}

TEST_F(RemovalTest, OldHistoryOfEndedRunsGoesByItself) {
  options_.keep_events = 12;
  options_.keep_keys = absl::Hours(24);
  Start();
  const std::string live = Submit(RunYaml("live", 10, 9), "key-live");
  const std::string first = Trained("first", "key-first");
  const size_t before = memory_store_.Events("", 0, 1000)->size();
  ASSERT_GT(before, 8u);
  for (int i = 0; i < 4; ++i) Trained(absl::StrCat("more-", i));
  clock_.Advance(absl::Hours(25));
  Trained("last", "key-last");
  Rounds(1, absl::Minutes(2));
  EXPECT_THAT(*memory_store_.Events(first, 0, 1000), IsEmpty());
  EXPECT_THAT(*memory_store_.Events(live, 0, 1000), Not(IsEmpty()));
  EXPECT_LE(memory_store_.Events("", 0, 1000)->size(),
            12 + memory_store_.Events(live, 0, 1000)->size());
  EXPECT_EQ(KeysFound({"key-first"}), 0);
  EXPECT_EQ(KeysFound({"key-live", "key-last"}), 2);
}

}  // namespace
}  // namespace tritter
