// Runs of one name: which one a call means, and names that no other run has.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "model/folder_checkpoint_store.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Code = absl::StatusCode;

class NamesTest : public CoordinatorFixture {
 protected:
  void SetUp() override { Start(); }
  std::string Trained(const std::string& name) {
    const std::string id = Submit(RunYaml(name, 10, 1));
    if (live_.empty()) AddWorker("w");
    RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
    Rounds(5);
    return id;
  }
  v1::SubmitRunResponse Take(const std::string& yaml, bool distinct, const std::string& key = "") {
    v1::SubmitRunRequest request;
    request.set_yaml(yaml);
    request.set_base_dir("/");
    request.set_distinct_name(distinct);
    request.set_idempotency_key(key);
    const auto answer = coordinator_->Submit(request);
    EXPECT_OK(answer.status());
    return answer.value_or(v1::SubmitRunResponse());
  }
  static std::string Ambiguous(const absl::Status& s) {
    EXPECT_EQ(s.code(), Code::kFailedPrecondition) << s;
    EXPECT_TRUE(DetailOf(s).has_value() && DetailOf(s)->reason() == v1::ErrorDetail::AMBIGUOUS_RUN)
        << s;
    return std::string(s.message());
  }
};

TEST_F(NamesTest, AChangeIsForTheRunThatHasNotEnded) {
  const std::string ended = Trained("nano");
  const std::string open = Submit(RunYaml("nano", 1000, 9));
  EXPECT_EQ(coordinator_->Pause("nano")->run_id(), open);
  EXPECT_EQ(coordinator_->Resume("nano")->run_id(), open);
  // The newest is not always the one that can be changed.
  clock_.Advance(absl::Seconds(1));
  const std::string newest = Submit(RunYaml("nano", 1000, 9));
  ASSERT_OK(coordinator_->Cancel(newest, true));
  EXPECT_EQ(coordinator_->Cancel("nano", false)->run_id(), open);
  EXPECT_EQ(Get("nano").run_id(), newest) << "to look at";
  EXPECT_EQ(Get("nano").runs_of_name(), 3);
  EXPECT_EQ(Get(newest).runs_of_name(), 0) << "nothing else is meant by an id";
}

TEST_F(NamesTest, AChangeOfOneOfSeveralIsRefusedAndNamesThem) {
  const std::string first = Submit(RunYaml("nano", 1000, 9));
  clock_.Advance(absl::Seconds(41));
  const std::string second = Submit(RunYaml("nano", 1000, 9));
  const std::string each =
      absl::StrCat("2 runs are named nano: ", second, " (queued, submitted 0.0 s ago) and ", first,
                   " (queued, submitted 41 s ago); give the id of the one that is meant");
  EXPECT_EQ(Ambiguous(coordinator_->Pause("nano").status()), each);
  Ambiguous(coordinator_->Resume("nano", "q-1").status());
  Ambiguous(coordinator_->Cancel("nano", true).status());
  Ambiguous(coordinator_->Cancel("nano", false).status());
  Ambiguous(coordinator_->Delete("nano").status());
  Ambiguous(coordinator_->CheckDeletion("nano").status());
  Ambiguous(coordinator_->Get("nano", /*for_change=*/true).status());
  EXPECT_EQ(DetailOf(coordinator_->Pause("nano").status())->expected(),
            absl::StrCat(second, ", ", first));
  EXPECT_EQ(Get(first).state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(Get(second).state(), v1::RUN_STATE_QUEUED);
  v1::SubmitRunRequest extension;
  extension.set_yaml(RunYaml("longer", 2000, 9, "extend: {run: nano}\n"));
  extension.set_base_dir("/");
  Ambiguous(coordinator_->Submit(extension).status());
  EXPECT_OK(coordinator_->Cancel(first, true));
  EXPECT_EQ(coordinator_->Get("nano", true)->run_id(), second);
  EXPECT_OK(coordinator_->Cancel(second, true));
  EXPECT_THAT(Ambiguous(coordinator_->Delete("nano").status()), HasSubstr(first));
}

TEST_F(NamesTest, ARepeatIsAnsweredForTheRunThatItChanged) {
  Trained("nano");
  const std::string open = Submit(RunYaml("nano", 1000, 9));
  ASSERT_OK(coordinator_->Cancel("nano", true, "q"));
  for (const char* when : {"at once", "after a restart"}) {
    SCOPED_TRACE(when);
    ASSERT_OK_AND_ASSIGN(const v1::Run again, coordinator_->Cancel("nano", true, "q"));
    EXPECT_EQ(again.run_id(), open);
    Ambiguous(coordinator_->Cancel("nano", true, "another").status());
    EXPECT_THAT(coordinator_->Cancel("nano", false, "q"), Not(IsOk())) << "another wish";
    Start();
  }
  const std::string later = Submit(RunYaml("nano", 1000, 9));
  EXPECT_EQ(coordinator_->Cancel("nano", true, "q")->run_id(), open);
  EXPECT_EQ(Get(later).state(), v1::RUN_STATE_QUEUED);
  EXPECT_THAT(coordinator_->Cancel(later, true, "q"), StatusIs(Code::kAlreadyExists));
}

TEST_F(NamesTest, ARunMayAskForANameThatNoOtherHas) {
  const std::string base = Trained("nano");
  const std::string yaml = RunYaml("nano", 20, 1, "clone: {run: nano}\n");
  const v1::SubmitRunResponse second = Take(yaml, true, "key"), third = Take(yaml, true);
  EXPECT_EQ(second.run().name(), "nano-2");
  EXPECT_EQ(third.run().name(), "nano-3");
  EXPECT_EQ(second.warning(), "");
  const v1::SubmitRunResponse again = Take(yaml, true, "key");
  EXPECT_TRUE(again.repeated());
  EXPECT_EQ(again.run().run_id(), second.run().run_id());
  EXPECT_EQ(Take(RunYaml("other", 20, 9), true).run().name(), "other");
  // Its configuration calls it so wherever it lies.
  const v1::Run run = second.run();
  EXPECT_THAT(run.spec_yaml(), HasSubstr("name: \"nano-2\"\n"));
  EXPECT_EQ(*env_.ReadFile(run.run_dir() + "/spec.yaml"), run.spec_yaml());
  const auto checkpoint = CheckpointsOfRun(&env_, run.run_dir())->Open(10);
  ASSERT_OK(checkpoint.status());
  EXPECT_EQ((*checkpoint)->manifest().spec_yaml, run.spec_yaml());
  ASSERT_OK(coordinator_->Cancel("nano-2", true));
  ASSERT_OK(coordinator_->Delete("nano-2"));
  EXPECT_EQ(Take(yaml, true).run().name(), "nano-2") << "it is free again";
}

// While the checkpoint is copied another submission comes.
TEST_F(NamesTest, TwoAtTheSameTimeGetTwoNames) {
  Trained("nano");
  const std::string yaml = RunYaml("nano", 20, 1, "clone: {run: nano}\n");
  std::string other;
  bool asked = false;
  env_.on_rename = [&](const std::string&) {
    if (!std::exchange(asked, true)) other = Take(yaml, true).run().name();
  };
  EXPECT_EQ(Take(yaml, true).run().name(), "nano-2");
  env_.on_rename = nullptr;
  EXPECT_EQ(other, "nano-3");
  catalog_.status = absl::NotFoundError("no shards");
  v1::SubmitRunRequest refused;
  refused.set_yaml(RunYaml("fresh", 20, 1));
  refused.set_base_dir("/");
  refused.set_distinct_name(true);
  EXPECT_THAT(coordinator_->Submit(refused), Not(IsOk()));
  catalog_.status = absl::OkStatus();
  EXPECT_EQ(Take(RunYaml("fresh", 20, 9), true).run().name(), "fresh") << "promised to nobody";
}

TEST_F(NamesTest, WhoSubmitsASecondRunOfANameIsTold) {
  const std::string ended = Trained("nano");
  const v1::SubmitRunResponse second = Take(RunYaml("nano", 1000, 9), false);
  EXPECT_EQ(second.warning(), "") << "the other has ended";
  const v1::SubmitRunResponse third = Take(RunYaml("nano", 1000, 9), false);
  EXPECT_EQ(third.run().name(), "nano");
  EXPECT_EQ(third.warning(),
            absl::StrCat("run nano (", second.run().run_id(),
                         ") has this name too, and is queued: name them by their ids; this one is ",
                         third.run().run_id()));
}

TEST_F(NamesTest, SentencesAboutAnotherRunNameItWithItsId) {
  const std::string base = Trained("nano");
  const std::string id = Submit(RunYaml("next", 20, 1, "after: [nano]\nclone: {run: nano}\n"));
  v1::ListEventsRequest of_run;
  of_run.set_run(id);
  const std::string named = absl::StrCat("nano (", base, ")");
  EXPECT_THAT(coordinator_->ListEvents(of_run)->events(0).message(),
              AllOf(HasSubstr(absl::StrCat("with the state of run ", named, " at step 10")),
                    HasSubstr(absl::StrCat(", after ", named))));
}

}  // namespace
}  // namespace tritter
