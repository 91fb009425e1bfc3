// Runs as people see them: submission, states, watching.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;
using Code = absl::StatusCode;

class RunsTest : public CoordinatorFixture {
 protected:
  void SetUp() override { Start(); }
  v1::SubmitRunRequest Request(const std::string& yaml, const std::string& key = "") {
    v1::SubmitRunRequest r;
    r.set_yaml(yaml);
    r.set_idempotency_key(key);
    r.set_base_dir("/");
    return r;
  }
};

TEST_F(RunsTest, SubmitQueuesAndKeepsTheEffectiveConfiguration) {
  const v1::Run run = Get(Submit(RunYaml("first", 100, 2)));
  EXPECT_EQ(run.state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(run.name(), "first");
  EXPECT_EQ(run.total_steps(), 100);
  EXPECT_EQ(*env_.ReadFile(run.run_dir() + "/spec.yaml"), run.spec_yaml());
  EXPECT_THAT(run.spec_yaml(), HasSubstr("checkpoint"));
  EXPECT_EQ(Get("first").run_id(), run.run_id());  // by name too
}

TEST_F(RunsTest, SubmitWithTheSameKeyIsTheSameRun) {
  const std::string id = Submit(RunYaml("first", 100, 2), "key");
  ASSERT_OK_AND_ASSIGN(const auto again,
                       coordinator_->Submit(Request(RunYaml("first", 100, 2), "key")));
  EXPECT_TRUE(again.repeated());
  EXPECT_EQ(again.run().run_id(), id);
  const absl::Status other =
      coordinator_->Submit(Request(RunYaml("other", 100, 2), "key")).status();
  EXPECT_THAT(other, StatusIs(Code::kAlreadyExists, HasSubstr("another configuration")));
  EXPECT_EQ(DetailOf(other)->reason(), v1::ErrorDetail::IDEMPOTENCY_CONFLICT);
  EXPECT_THAT(coordinator_->List(0).runs(), SizeIs(1));
}

TEST_F(RunsTest, AnExtensionGoesOnFromACopyOfAStablePhaseCheckpoint) {
  const std::string base = Submit(RunYaml("base", 100, 1));
  FakeAgent* worker = AddWorker("w-0");
  RoundsUntil([&] { return Get(base).state() == v1::RUN_STATE_COMPLETED; });
  ASSERT_OK(env_.CreateDirs(Get(base).run_dir()));
  ASSERT_OK(WriteFileAtomically(&env_, Get(base).run_dir() + "/data.json", "hashes"));
  // Of its checkpoints, 80 and 100, the decay from step 81 on leaves the first.
  RunSpec spec = *ParseRunSpec(Get(base).spec_yaml(), "base", "/");
  spec.name = "longer";
  spec.schedule = WithTotalSteps(spec.schedule, 200);
  spec.steps = 200;
  spec.extend_run = "base";
  const std::string yaml = CanonicalYaml(spec);
  ASSERT_OK(coordinator_->Validate([&] {
    v1::ValidateRunRequest r;
    r.set_yaml(yaml);
    r.set_base_dir("/");
    return r;
  }()));
  const std::string id = Submit(yaml, "key");
  EXPECT_EQ(coordinator_->Submit(Request(yaml, "key"))->run().run_id(), id) << "the same key";
  const v1::Run queued = Get(id);
  EXPECT_EQ(queued.step(), 80);
  EXPECT_EQ(queued.committed_step(), 80);
  EXPECT_THAT(queued.spec_yaml(), HasSubstr(absl::StrCat("run: \"", base, "\"\n  step: 80\n")));
  EXPECT_EQ(*env_.ReadFile(queued.run_dir() + "/data.json"), "hashes");
  // Its own: the base's checkpoints may go.
  ASSERT_OK(env_.RemoveTree(Get(base).run_dir() + "/checkpoints"));
  Start();
  ASSERT_OK(worker->Connect());
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(worker->assignments().back().second, 80) << "no step is trained again";
  EXPECT_EQ(Get(id).committed_step(), 200);
}

TEST_F(RunsTest, AnExtensionThatCannotBeIsRefusedAndLeavesNothing) {
  const std::string base = Submit(RunYaml("base", 100, 1));
  AddWorker("w-0");
  RoundsUntil([&] { return Get(base).state() == v1::RUN_STATE_COMPLETED; });
  RunSpec spec = *ParseRunSpec(Get(base).spec_yaml(), "base", "/");
  spec.schedule = WithTotalSteps(spec.schedule, 200);
  spec.steps = 200;
  spec.extend_run = "base";
  spec.extend_step = 100;
  EXPECT_THAT(coordinator_->Submit(Request(CanonicalYaml(spec))),
              StatusIs(Code::kFailedPrecondition,
                       HasSubstr("the checkpoint of step 100 cannot be extended")));
  spec.extend_step = 0;
  spec.extend_run = "nobody";
  EXPECT_THAT(coordinator_->Submit(Request(CanonicalYaml(spec))), StatusIs(Code::kNotFound));
  spec.extend_run = "base";
  // Damage of the only one that could be taken.
  const std::string folder = Get(base).run_dir() + "/checkpoints/step-00000080";
  const std::string share = folder + "/share-0-of-1.safetensors";
  ASSERT_OK(WriteFileAtomically(&env_, share, "damaged"));
  EXPECT_THAT(coordinator_->Submit(Request(CanonicalYaml(spec))),
              StatusIs(Code::kDataLoss, HasSubstr("no checkpoint of run")));
  EXPECT_THAT(*env_.ListDir("/data-dir/runs"), SizeIs(1));
}

TEST_F(RunsTest, SubmitIsSafeWhenTheAnswerOfTheStoreIsLost) {
  store_.FailApply(0, StoreFault::kLoseTouch);
  EXPECT_THAT(coordinator_->Submit(Request(RunYaml("first", 100, 2), "key")),
              StatusIs(Code::kUnavailable));
  ASSERT_OK_AND_ASSIGN(const auto again,
                       coordinator_->Submit(Request(RunYaml("first", 100, 2), "key")));
  EXPECT_TRUE(again.repeated());
  EXPECT_EQ(memory_store_.Runs()->size(), 1u);
}

TEST_F(RunsTest, SubmitOnAFullDiskSaysSoAndLeavesNothing) {
  store_.FailApply(0, StoreFault::kRefuse);
  EXPECT_THAT(coordinator_->Submit(Request(RunYaml("first", 100, 2))),
              StatusIs(Code::kResourceExhausted, HasSubstr("no space")));
  EXPECT_THAT(coordinator_->List(0).runs(), SizeIs(0));
  EXPECT_THAT(*env_.ListDir("/data-dir/runs"), SizeIs(0));
}

TEST_F(RunsTest, HealthTellsOfAStoreThatTakesNothingAndOfStopping) {
  EXPECT_OK(coordinator_->Health());
  store_.FailApply(0, StoreFault::kRefuse);
  EXPECT_FALSE(coordinator_->Submit(Request(RunYaml("first", 100, 2))).ok());
  EXPECT_THAT(coordinator_->Health(), StatusIs(Code::kUnavailable, HasSubstr("no space")));
  clock_.Advance(absl::Seconds(31));  // nobody has written since
  EXPECT_OK(coordinator_->Health());
  store_.FailApply(0, StoreFault::kRefuse);
  EXPECT_FALSE(coordinator_->Submit(Request(RunYaml("first", 100, 2))).ok());
  EXPECT_FALSE(coordinator_->Health().ok());
  Submit(RunYaml("first", 100, 2));
  EXPECT_OK(coordinator_->Health());
  coordinator_->Stop();
  EXPECT_THAT(coordinator_->Health(), StatusIs(Code::kUnavailable, HasSubstr("stopping")));
}

TEST_F(RunsTest, SubmitRefusesABadSpecWithItsPlace) {
  const absl::Status s = coordinator_->Submit(Request("name: x\nmodle: {preset: nano}\n")).status();
  EXPECT_THAT(s, StatusIs(Code::kInvalidArgument, HasSubstr("modle")));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::INVALID_RUN_SPEC);
}

TEST_F(RunsTest, SubmitRefusesMissingData) {
  catalog_.status = absl::NotFoundError("/data/text/manifest.json: no such file");
  EXPECT_THAT(coordinator_->Submit(Request(RunYaml("first", 100, 2))),
              StatusIs(Code::kInvalidArgument, HasSubstr("data.sources.text")));
  v1::ValidateRunRequest validate;
  validate.set_yaml(RunYaml("first", 100, 2));
  EXPECT_THAT(coordinator_->Validate(validate), StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(coordinator_->List(0).runs(), SizeIs(0));
}

TEST_F(RunsTest, UnknownRunsAreTypedErrors) {
  const absl::Status s = coordinator_->Get("nothing").status();
  EXPECT_THAT(s, StatusIs(Code::kNotFound, HasSubstr("nothing")));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::UNKNOWN_RUN);
}

TEST_F(RunsTest, AWaitingRunSaysWhatItWaitsFor) {
  const std::string id = Submit(RunYaml("first", 100, 2));
  EXPECT_FALSE(Get(id).reason().empty());
  Rounds(1);
  EXPECT_EQ(Get(id).reason(), "needs 2 workers, none is registered");
  FakeAgent* b = AddWorker("worker-b");
  AddWorker("worker-a");
  Kill(b);
  Rounds(410);
  EXPECT_THAT(Get(id).reason(), HasSubstr("needs 2 workers: 1 is free; worker-b was lost 4"));
  EXPECT_THAT(EventKinds(id), Contains("run_waiting"));
}

TEST_F(RunsTest, APausedRunFreesItsWorkersAndGoesOnWhereItWas) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 10; });
  EXPECT_EQ(coordinator_->Pause(id)->state(), v1::RUN_STATE_PAUSING);
  EXPECT_EQ(coordinator_->Pause(id)->state(), v1::RUN_STATE_PAUSING);  // a repeat
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; });
  const int64_t at = Get(id).committed_step();
  EXPECT_GE(at, 10);
  EXPECT_EQ(Get(id).step(), at);
  EXPECT_TRUE(w->idle());
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  Rounds(20);
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_PAUSED);
  EXPECT_EQ(coordinator_->Resume(id)->state(), v1::RUN_STATE_QUEUED);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  ASSERT_THAT(w->assignments(), SizeIs(2));
  EXPECT_EQ(w->assignments()[1], std::make_pair(uint64_t{2}, at));
  EXPECT_THAT(w->trained(), SizeIs(100));  // nothing twice, nothing skipped
}

TEST_F(RunsTest, APauseSaysAfterWhichStepItTakesEffect) {
  const std::string id = Submit(RunYaml("first", 1000, 1, "checkpoint: {every: 500}\n"));
  FakeAgent* w = AddWorker("w");
  w->step_seconds = 2;
  RoundsUntil([&] { return w->plans.size() == 1 && Get(id).step() == 5; });
  // The first plan has 8 steps and no checkpoint: one more step is made for that.
  EXPECT_EQ(coordinator_->Pause(id)->reason(),
            "pause asked for at step 5; it stops with a checkpoint after the next step or two, at "
            "step 9 at the latest");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; });
  EXPECT_EQ(Get(id).reason(), "paused at step 9");
}

TEST_F(RunsTest, ACancelBeforeTheFirstPlanSaysThatNoStepIsMade) {
  const std::string id = Submit(RunYaml("first", 1000, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).members_size() == 1; });
  EXPECT_EQ(coordinator_->Cancel(id, false)->reason(),
            "cancel asked for at step 0; it stops before its next step");
}

TEST_F(RunsTest, APauseInTheLastPlanSaysThatTheRunThenIsComplete) {
  const std::string id = Submit(RunYaml("first", 8, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).step() == 5; });
  EXPECT_THAT(coordinator_->Pause(id)->reason(),
              AllOf(HasSubstr("at step 8 at the latest"), HasSubstr("the run is then complete")));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
}

TEST_F(RunsTest, TheTimeLeftHasTheEvaluationsInIt) {
  const std::string id = Submit(RunYaml("first", 40, 1, "evaluation: {every: 10}\n"));
  FakeAgent* w = AddWorker("w");
  w->step_seconds = 0.5;
  w->evaluation_seconds = 3;
  RoundsUntil([&] { return Get(id).step() == 8; });
  EXPECT_EQ(Get(id).eta_seconds(), 16.0) << "no evaluation is known yet";
  RoundsUntil([&] { return Get(id).step() == 20; });
  EXPECT_EQ(Get(id).eta_seconds(), 20 * 0.5 + 2 * 3.0);
}

TEST_F(RunsTest, ASpeedIsOneOfTheLiveEpoch) {
  const std::string id = Submit(RunYaml("first", 1000, 1));
  FakeAgent* w = AddWorker("w");
  w->step_seconds = 0.5;
  RoundsUntil([&] { return Get(id).step() >= 10; });
  EXPECT_EQ(Get(id).tokens_per_second(), 4096.0);
  EXPECT_OK(coordinator_->Pause(id));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; });
  EXPECT_EQ(Get(id).tokens_per_second(), 0);
  w->step_seconds = 0.25;
  EXPECT_OK(coordinator_->Resume(id));
  RoundsUntil([&] { return Get(id).members_size() == 1; });
  EXPECT_TRUE(Get(id).has_last_metrics());
  EXPECT_EQ(Get(id).tokens_per_second(), 0) << "no step yet";
  EXPECT_EQ(Get(id).eta_seconds(), 0);
  const int64_t at = Get(id).step();
  RoundsUntil([&] { return Get(id).step() > at; });
  EXPECT_EQ(Get(id).tokens_per_second(), 8192.0);
}

TEST_F(RunsTest, AResumeOfARunThatHasEndedSaysWhatCanBeDone) {
  const std::string begun = Submit(RunYaml("first", 100, 1));
  EXPECT_OK(coordinator_->Cancel(begun, false));
  const std::string folder = Get(begun).run_dir();
  EXPECT_EQ(
      coordinator_->Resume("first").status().message(),
      absl::StrCat("cannot resume run first (", begun, "): it is cancelled; `tritterctl submit ",
                   folder, "/spec.yaml` begins it anew"));
  const std::string id = Submit(RunYaml("second", 100, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  EXPECT_OK(coordinator_->Cancel(id, true));
  EXPECT_THAT(coordinator_->Resume(id).status(),
              StatusIs(Code::kFailedPrecondition,
                       AllOf(HasSubstr(absl::StrCat("`tritterctl extend ", id, " --steps N`")),
                             HasSubstr("/spec.yaml` begins it anew"))));
}

TEST_F(RunsTest, ACompletedRunLeavesAReportItsCurvesAndAModelCard) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  const std::string folder = Get(id).run_dir();
  ASSERT_OK_AND_ASSIGN(const std::string page, env_.ReadFile(folder + "/report.md"));
  EXPECT_THAT(page, HasSubstr("trained 100 steps"));
  EXPECT_THAT(page, HasSubstr("at step 100"));
  EXPECT_TRUE(env_.Exists(folder + "/curves.svg"));
  EXPECT_TRUE(env_.Exists(folder + "/model_card.md"));
  EXPECT_THAT(EventKinds(id), Contains("run_reported"));
}

TEST_F(RunsTest, AQueuedRunPausesAndCancelsAtOnce) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  EXPECT_EQ(coordinator_->Pause(id)->state(), v1::RUN_STATE_PAUSED);
  AddWorker("w");
  Rounds(50);
  EXPECT_EQ(Get(id).epoch(), 0u);
  EXPECT_EQ(coordinator_->Resume(id)->state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(coordinator_->Cancel(id, false)->state(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(coordinator_->Cancel(id, false)->state(), v1::RUN_STATE_CANCELLED);
  const absl::Status s = coordinator_->Resume(id).status();
  EXPECT_THAT(s, StatusIs(Code::kFailedPrecondition, HasSubstr("cancelled")));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::WRONG_STATE);
}

TEST_F(RunsTest, CancelTakesACheckpointFirstUnlessNow) {
  const std::string first = Submit(RunYaml("first", 1000, 1, "checkpoint: {every: 500}\n"));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(first).step() >= 5; });
  EXPECT_EQ(coordinator_->Cancel(first, false)->state(), v1::RUN_STATE_CANCELLING);
  RoundsUntil([&] { return Get(first).state() == v1::RUN_STATE_CANCELLED; });
  EXPECT_GE(Get(first).committed_step(), 5);
  const std::string second = Submit(RunYaml("second", 1000, 1, "checkpoint: {every: 500}\n"));
  RoundsUntil([&] { return Get(second).step() >= 5; });
  EXPECT_EQ(coordinator_->Cancel(second, true)->state(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(Get(second).committed_step(), 0);
  Rounds(2);
  EXPECT_TRUE(w->idle());
}

TEST_F(RunsTest, AKillOfOneThatHasEndedSaysKill) {
  const std::string id = Submit(RunYaml("first", 30, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_THAT(coordinator_->Cancel(id, /*now=*/true),
              StatusIs(Code::kFailedPrecondition, HasSubstr("cannot kill ")));
  EXPECT_THAT(coordinator_->Cancel(id, /*now=*/false),
              StatusIs(Code::kFailedPrecondition, HasSubstr("cannot cancel ")));
}

// One line shows both.
TEST_F(RunsTest, StepAndLossAreOfTheSameStep) {
  const std::string id = Submit(RunYaml("first", 1000, 1, "checkpoint: {every: 500}\n"));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  const int64_t reported = Get(id).step();
  w->mute = true;
  Rounds(4);
  EXPECT_GT(w->step(), reported);
  EXPECT_EQ(Get(id).step(), reported) << "heartbeats bring no loss";
  EXPECT_EQ(Get(id).last_metrics().step(), reported);
  EXPECT_THAT(Get(id).reason(), HasSubstr(absl::StrCat("step ", reported, " of 1000")));
  ASSERT_OK(coordinator_->Cancel(id, /*now=*/true));
  EXPECT_EQ(Get(id).step(), 0) << "no checkpoint holds any";
  EXPECT_FALSE(Get(id).has_last_metrics());
  Stop();
  Start();
  EXPECT_EQ(Get(id).step(), 0);
  EXPECT_FALSE(Get(id).has_last_metrics());
}

TEST_F(RunsTest, OneThatWasKilledShowsTheLossOfItsCheckpoint) {
  const std::string id = Submit(RunYaml("first", 1000, 1, "checkpoint: {every: 20}\n"));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20 && Get(id).step() > 22; });
  ASSERT_OK(coordinator_->Cancel(id, /*now=*/true));
  EXPECT_EQ(Get(id).step(), 20);
  EXPECT_EQ(Get(id).last_metrics().step(), 20);
  Stop();
  Start();
  EXPECT_EQ(Get(id).step(), 20);
  EXPECT_EQ(Get(id).last_metrics().step(), 20);
}

TEST_F(RunsTest, ACompletedRunIsExportedOnce) {
  const std::string id = Submit(RunYaml("first", 30, 1, "export: {format: tpack}\n"));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  ASSERT_THAT(Get(id).artifacts(), SizeIs(1));
  EXPECT_EQ(Get(id).artifacts(0).path(), Get(id).run_dir() + "/export/first.tpack");
  Start();
  Rounds(5);
  EXPECT_EQ(exports_, 1);
  EXPECT_THAT(Get(id).artifacts(), SizeIs(1));
}

TEST_F(RunsTest, AnExportHasTheFormThatTheRunAskedFor) {
  Submit(RunYaml("first", 30, 1, "export: {format: tpack, head: int4}\n"));
  AddWorker("w");
  RoundsUntil([&] { return exports_ > 0; });
  EXPECT_EQ(export_options_.format, "tpack");
  EXPECT_EQ(export_options_.head, "int4");
  EXPECT_FALSE(export_options_.raw);
}

TEST_F(RunsTest, AnExportThatCannotBeStoredIsNotWrittenAgainAndAgain) {
  const std::string id = Submit(RunYaml("first", 30, 1, "export: {format: tpack}\n"));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 30; });
  on_export_ = [&] { store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true); };
  RoundsUntil([&] { return exports_ > 0; });
  const int64_t writes = store_.applies();
  Rounds(100);
  EXPECT_EQ(exports_, 1);
  EXPECT_LE(store_.applies() - writes, 3);
  EXPECT_THAT(Get(id).reason(), HasSubstr("free some space below /data-dir"));
  store_.Heal();
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(exports_, 1);
  EXPECT_THAT(Get(id).artifacts(), SizeIs(1));
}

TEST_F(RunsTest, ARunWhoseConfigurationCannotBeReadWaitsAndHoldsNoWorker) {
  const std::string id = Submit(RunYaml("first", 1000, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Stop();
  RunRecord record = memory_store_.Runs()->front();
  const std::string good = record.spec_yaml;
  record.spec_yaml = "name: first\nfuture: {key: 1}\n";
  WriteBatch batch;
  batch.runs = {record};
  ASSERT_OK(memory_store_.Apply(batch));
  Start();
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_RUNNING);
  EXPECT_THAT(Get(id).reason(), HasSubstr("its stored configuration cannot be read"));
  EXPECT_THAT(Get(id).members(), SizeIs(0));
  EXPECT_THAT(*memory_store_.LiveEpochs(), SizeIs(0));
  ASSERT_OK(w->Connect());
  Rounds(50);
  EXPECT_TRUE(w->idle());
  EXPECT_THAT(Get(id).reason(), HasSubstr("its stored configuration cannot be read"));
  Stop();  // the version that can read it
  record = memory_store_.Runs()->front();
  record.spec_yaml = good;
  batch.runs = {record};
  ASSERT_OK(memory_store_.Apply(batch));
  Start();
  ASSERT_OK(w->Connect());
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
}

TEST_F(RunsTest, AFailedExportKeepsTheCheckpointAndSaysSo) {
  export_status_ = absl::ResourceExhaustedError("no space left on device");
  const std::string id = Submit(RunYaml("first", 30, 1, "export: {format: tpack}\n"));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_FAILED; });
  EXPECT_THAT(Get(id).reason(), HasSubstr("the export failed: no space left on device"));
  EXPECT_EQ(Get(id).committed_step(), 30);
  export_status_ = absl::OkStatus();
  EXPECT_EQ(coordinator_->Resume(id)->state(), v1::RUN_STATE_EXPORTING);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_THAT(Get(id).artifacts(), SizeIs(1));
}

TEST_F(RunsTest, AnExportOfADamagedCheckpointLeavesTheOneBefore) {
  export_status_ = absl::DataLossError("share-0: SHA-256 differs");
  const std::string id = Submit(RunYaml("first", 40, 1, "export: {format: tpack}\n"));
  FakeAgent* w = AddWorker("w");
  const std::string share =
      Get(id).run_dir() + "/checkpoints/step-00000040/share-0-of-1.safetensors";
  on_export_ = [&] {
    if (!export_status_.ok()) ASSERT_OK(WriteFileAtomically(&env_, share, "x"));
  };
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_FAILED; });
  EXPECT_THAT(Get(id).reason(), HasSubstr("`tritterctl resume` trains on from the one of step 36"));
  EXPECT_EQ(Get(id).committed_step(), 36);
  export_status_ = absl::OkStatus();
  EXPECT_OK(coordinator_->Resume(id));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(w->assignments().back().second, 36);
  EXPECT_THAT(Get(id).artifacts(), SizeIs(1));
}

TEST_F(RunsTest, AFailedRunIsResumedFromItsNewestCheckpointWithItsRetriesCountedAnew) {
  const std::string id = Submit(RunYaml("first", 60, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 25; });
  ASSERT_OK(w->Fail("no space left on device", /*permanent=*/true));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_FAILED; });
  EXPECT_GT(Get(id).finished_ms(), 0);
  Start();  // the failure was long ago
  ASSERT_OK(w->Connect());
  ASSERT_OK_AND_ASSIGN(const v1::Run resumed, coordinator_->Resume(id));
  EXPECT_EQ(resumed.state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(resumed.finished_ms(), 0);
  EXPECT_THAT(resumed.reason(),
              AllOf(HasSubstr("resumed at step 20"), HasSubstr("failed: no space left on device")));
  EXPECT_EQ(coordinator_->Resume(id)->state(), v1::RUN_STATE_QUEUED);  // a repeat
  EXPECT_THAT(EventKinds(id), Contains("run_resumed"));
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
  EXPECT_EQ(memory_store_.Runs()->front().failures, 0);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(w->assignments().back(), std::make_pair(uint64_t{2}, int64_t{20}));
}

// It fails while its last checkpoint is on its way to the disk: with that it is trained.
TEST_F(RunsTest, AFailedRunWhoseLastCheckpointWasCommittedAfterwardsIsCompletedByResume) {
  for (const bool exports : {false, true}) {
    const std::string id = Submit(
        RunYaml(absl::StrCat("run-", exports), 30, 1, exports ? "export: {format: tpack}\n" : ""));
    FakeAgent* w = AddWorker(absl::StrCat("w-", exports));
    bool failed = false;
    env_.on_rename = [&](const std::string& to) {
      if (failed || !absl::StrContains(to, "step-00000030")) return;
      failed = true;
      ASSERT_OK(w->Fail("bad data", /*permanent=*/true));
      coordinator_->Tick();
      EXPECT_EQ(Get(id).state(), v1::RUN_STATE_FAILED);
      EXPECT_LT(Get(id).committed_step(), 30);
    };
    RoundsUntil([&] { return Get(id).committed_step() == 30; });
    EXPECT_EQ(Get(id).state(), v1::RUN_STATE_FAILED);
    ASSERT_OK_AND_ASSIGN(const v1::Run resumed, coordinator_->Resume(id));
    EXPECT_EQ(resumed.state(), exports ? v1::RUN_STATE_EXPORTING : v1::RUN_STATE_COMPLETED);
    EXPECT_THAT(resumed.reason(),
                AllOf(HasSubstr("trained 30 steps"), HasSubstr("it had failed: ")));
    EXPECT_EQ(resumed.finished_ms() > 0, !exports);
    RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; }, 50);
    EXPECT_EQ(Get(id).artifacts_size(), exports ? 1 : 0);
    EXPECT_THAT(EventKinds(id), Contains("run_completed"));
    env_.on_rename = nullptr;
    Kill(w);
  }
}

TEST_F(RunsTest, AFailedRunWithoutACheckpointBeginsAgain) {
  const std::string id = Submit(RunYaml("first", 30, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  ASSERT_OK(w->Fail("/data/text/shard-0: truncated at byte 17", /*permanent=*/true));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_FAILED; });
  EXPECT_THAT(coordinator_->Resume(id)->reason(), HasSubstr("resumed at step 0"));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(w->assignments().back(), std::make_pair(uint64_t{2}, int64_t{0}));
}

TEST_F(RunsTest, WatchGivesTheRunThenWhatChanges) {
  const std::string id = Submit(RunYaml("first", 40, 1));
  AddWorker("w");
  WatchCursor cursor;
  v1::RunUpdate update;
  bool ended = false;
  ASSERT_TRUE(*coordinator_->Watch(id, absl::ZeroDuration(), &cursor, &update, &ended));
  EXPECT_EQ(update.run().run_id(), id);
  EXPECT_FALSE(*coordinator_->Watch(id, absl::ZeroDuration(), &cursor, &update, &ended));
  std::vector<int64_t> steps;
  int events = 0;
  for (int i = 0; i < 500 && !ended; ++i) {
    Rounds(1);
    if (!*coordinator_->Watch(id, absl::ZeroDuration(), &cursor, &update, &ended)) continue;
    for (const auto& m : update.metrics()) steps.push_back(m.step());
    events += update.events_size();
  }
  EXPECT_TRUE(ended);
  ASSERT_THAT(steps, SizeIs(40));
  for (int i = 0; i < 40; ++i) EXPECT_EQ(steps[i], i + 1);
  EXPECT_GT(events, 2);
}

// Somebody who was slow, or a run with much to tell: no event is left out, not at the end either.
TEST_F(RunsTest, WatchGivesEveryEventAlsoWhenThereAreMany) {
  const std::string id = Submit(RunYaml("first", 40, 1));
  WatchCursor cursor;
  v1::RunUpdate update;
  bool ended = false;
  ASSERT_TRUE(*coordinator_->Watch(id, absl::ZeroDuration(), &cursor, &update, &ended));
  for (int i = 0; i < 350; ++i) {
    ASSERT_OK(coordinator_->Pause(id));
    ASSERT_OK(coordinator_->Resume(id));
  }
  ASSERT_OK(coordinator_->Cancel(id, /*now=*/true));
  std::vector<std::string> seen;
  int updates = 0;
  for (; !ended && updates < 10; ++updates) {
    ASSERT_TRUE(*coordinator_->Watch(id, absl::ZeroDuration(), &cursor, &update, &ended));
    EXPECT_LE(update.events_size(), 256);
    for (const auto& e : update.events()) seen.push_back(e.kind());
  }
  EXPECT_TRUE(ended);
  EXPECT_EQ(updates, 3);
  ASSERT_THAT(seen, SizeIs(701));
  EXPECT_EQ(seen.back(), "run_cancelled");
}

TEST_F(RunsTest, MetricsComeInPartsOfBoundedSize) {
  const std::string id = Submit(RunYaml("first", 40, 1, "evaluation: {every: 10}\n"));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  v1::ListMetricsRequest request;
  request.set_run(id);
  request.set_limit(15);
  std::vector<int64_t> steps, evaluations;
  for (int parts = 1;; ++parts) {
    ASSERT_OK_AND_ASSIGN(const auto part, coordinator_->ListMetrics(request));
    EXPECT_LE(part.steps_size(), 15);
    for (const auto& s : part.steps()) steps.push_back(s.step());
    for (const auto& e : part.evaluations()) evaluations.push_back(e.step());
    request.set_first_step(part.next_step());
    if (part.next_step() > 0) continue;
    EXPECT_EQ(parts, 3);
    break;
  }
  ASSERT_THAT(steps, SizeIs(40));
  for (int i = 0; i < 40; ++i) EXPECT_EQ(steps[i], i + 1);
  EXPECT_THAT(evaluations, testing::ElementsAre(10, 20, 30, 40));
}

TEST_F(RunsTest, TheMeanSpeedIsPartOfTheRunAndSurvivesARestart) {
  const std::string id = Submit(RunYaml("first", 40, 1));
  AddWorker("w")->step_seconds = 0.5;
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).reported_tokens(), 40 * 2048);
  EXPECT_EQ(Get(id).reported_seconds(), 20.0);
  Start();
  EXPECT_EQ(Get(id).reported_tokens(), 40 * 2048);
  EXPECT_EQ(Get(id).reported_seconds(), 20.0);
}

TEST_F(RunsTest, LogLinesOfWorkersCanBeRead) {
  const std::string id = Submit(RunYaml("first", 40, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  int64_t sequence = 0;
  bool ended = false;
  ASSERT_OK_AND_ASSIGN(const auto lines, coordinator_->Logs(id, 3, &sequence, &ended));
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_EQ(lines[2].line(), "step 40");
  EXPECT_EQ(lines[2].worker(), "w");
  EXPECT_TRUE(ended);
}

TEST_F(RunsTest, HigherPriorityGoesFirst) {
  const std::string low = Submit(RunYaml("low", 10, 1));
  const std::string high = Submit(RunYaml("high", 10, 1, "priority: 5\n"));
  AddWorker("w");
  RoundsUntil([&] { return Get(high).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(low).step(), 0);
  RoundsUntil([&] { return Get(low).state() == v1::RUN_STATE_COMPLETED; });
}

// One write: whenever the coordinator dies, the run trains on or was killed, and says so.
TEST_F(RunsTest, AKillIsOneWrite) {
  for (const StoreFault fault : {StoreFault::kRefuse, StoreFault::kLoseRequest,
                                 StoreFault::kLoseAnswer, StoreFault::kLoseTouch}) {
    SCOPED_TRACE(static_cast<int>(fault));
    const std::string id = Submit(RunYaml("run", 1000, 1));
    FakeAgent* w = AddWorker(absl::StrCat("w", static_cast<int>(fault)));
    RoundsUntil([&] { return Get(id).step() >= 3; });
    store_.FailApply(0, fault);
    const int64_t before = store_.applies();
    const absl::StatusOr<v1::Run> killed = coordinator_->Cancel(id, /*now=*/true, id);
    EXPECT_EQ(store_.applies(), before + 1);
    EXPECT_EQ(killed.ok(), fault == StoreFault::kLoseAnswer) << killed.status();
    const bool stored = fault == StoreFault::kLoseAnswer || fault == StoreFault::kLoseTouch;
    const auto records = memory_store_.Runs();
    ASSERT_OK(records);
    for (const RunRecord& record : *records) {
      if (record.run_id == id)
        EXPECT_EQ(record.state, stored ? v1::RUN_STATE_CANCELLED : v1::RUN_STATE_RUNNING);
    }
    EXPECT_EQ(memory_store_.LiveEpochs()->size(), stored ? 0u : 1u);
    if (fault == StoreFault::kRefuse) {  // nothing has happened
      const int64_t step = Get(id).step();
      RoundsUntil([&] { return Get(id).step() > step; });
      EXPECT_EQ(Get(id).epochs_lost(), 0);
      ASSERT_OK(coordinator_->Cancel(id, /*now=*/true, id));
    }
    // Where that is not known nobody goes on, and the store comes to say what memory says.
    RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_CANCELLED && w->idle(); });
    EXPECT_THAT(Get(id).reason(), HasSubstr("killed"));
    ASSERT_OK_AND_ASSIGN(const v1::ListEpochsResponse epochs, coordinator_->ListEpochs(id, 1));
    ASSERT_EQ(epochs.epochs_size(), 1);
    EXPECT_EQ(epochs.epochs(0).end_reason(), "the run was killed");
    EXPECT_FALSE(epochs.epochs(0).has_failure()) << "it was somebody's wish";
    EXPECT_FALSE(Get(id).has_last_failure());
    EXPECT_EQ(Get(id).epochs_lost(), 0);
    Stop();
    Start();
    EXPECT_EQ(Get(id).state(), v1::RUN_STATE_CANCELLED);
    live_.clear();
  }
}

// Two leaders count events alike: that one of its own number is there says nothing.
TEST_F(RunsTest, AnEventOfAnotherLeaderIsNotTakenForOnesOwn) {
  Submit(RunYaml("first", 100, 1));
  WriteBatch others;
  others.events.emplace_back();
  others.events[0].set_id(*memory_store_.LastEventId() + 1);
  others.events[0].set_kind(kEventLeaderChanged);
  others.events[0].set_message("another leads");
  ASSERT_OK(memory_store_.Apply(others));
  store_.FailApply(0, StoreFault::kLoseRequest);
  EXPECT_THAT(coordinator_->Announce(kEventLeaderChanged, "this one leads"),
              StatusIs(Code::kUnavailable));
  store_.FailApply(0, StoreFault::kLoseAnswer);
  EXPECT_OK(coordinator_->Announce(kEventLeaderChanged, "this one leads"));
}

}  // namespace
}  // namespace tritter
