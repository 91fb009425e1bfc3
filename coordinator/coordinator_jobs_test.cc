// Runs that wait for others, and jobs that work on what others have left.
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;
using Code = absl::StatusCode;

class JobsTest : public CoordinatorFixture {
 protected:
  void SetUp() override {
    options_.inference_servers = {"a:1", "b:2"};
    options_.model_root = "/models";
    load_model_ = [this](const std::string& server, const std::string& model) {
      loads_.push_back(absl::StrCat(server, " ", model));
      return load_status_;
    };
    Start();
  }
  absl::Status Refused(const std::string& yaml) {
    v1::SubmitRunRequest request;
    request.set_yaml(yaml);
    request.set_base_dir("/");
    return coordinator_->Submit(request).status();
  }
  bool Is(const std::string& id, v1::RunState state) { return Get(id).state() == state; }
  // A run that is complete, of the name "base".
  std::string Trained(const std::string& more = "") {
    const std::string id = Submit(RunYaml("base", 30, 1, more));
    AddWorker("w");
    RoundsUntil([&] { return Is(id, v1::RUN_STATE_COMPLETED); });
    return id;
  }

  std::vector<std::string> loads_;
  absl::Status load_status_;
};

TEST_F(JobsTest, ARunBeginsWhenThoseItFollowsAreComplete) {
  const std::string first = Submit(RunYaml("first", 30, 1));
  const std::string second = Submit(RunYaml("second", 10, 1, "after: [first]\n"));
  EXPECT_THAT(Get(second).spec_yaml(), HasSubstr(absl::StrCat("after: [\"", first, "\"]")));
  AddWorker("w-0");
  AddWorker("w-1");  // nothing but the other run is in the way
  RoundsUntil([&] { return Get(first).step() >= 5; });
  EXPECT_EQ(Get(second).state(), v1::RUN_STATE_QUEUED);
  EXPECT_THAT(Get(second).reason(),
              AllOf(StartsWith(absl::StrCat("waits for run first (", first, "), which is running")),
                    HasSubstr(" of 30")));
  EXPECT_THAT(EventKinds(second), Contains("run_waiting"));
  RoundsUntil([&] { return Is(second, v1::RUN_STATE_COMPLETED); });
  EXPECT_EQ(Get(first).state(), v1::RUN_STATE_COMPLETED);
  EXPECT_GE(Get(second).started_ms(), Get(first).finished_ms());
}

TEST_F(JobsTest, ARunThatFollowsAFailedOneWaitsAndSaysWhatToDo) {
  const std::string first = Submit(RunYaml("first", 30, 1));
  const std::string second = Submit(RunYaml("second", 10, 1, "after: [first]\n"));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(first).step() >= 5; });
  ASSERT_OK(w->Fail("shard truncated", /*permanent=*/true));
  RoundsUntil([&] { return Is(first, v1::RUN_STATE_FAILED); });
  Rounds(5);
  EXPECT_EQ(Get(second).state(), v1::RUN_STATE_QUEUED);
  EXPECT_THAT(Get(second).reason(),
              AllOf(HasSubstr("which has failed"), HasSubstr("shard truncated"),
                    HasSubstr(absl::StrCat("`tritterctl resume ", first, "`"))));
  ASSERT_OK(coordinator_->Resume(first));
  RoundsUntil([&] { return Is(second, v1::RUN_STATE_COMPLETED); });
}

TEST_F(JobsTest, AnUnknownOrCancelledRunCannotBeFollowed) {
  const absl::Status s = Refused(RunYaml("second", 10, 1, "after: [nobody]\n"));
  EXPECT_THAT(s, StatusIs(Code::kInvalidArgument,
                          HasSubstr("after: no run has the name or identifier \"nobody\"")));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::INVALID_RUN_SPEC);
  ASSERT_OK(coordinator_->Cancel(Submit(RunYaml("first", 30, 1)), false));
  EXPECT_THAT(Refused(RunYaml("second", 10, 1, "after: [first]\n")),
              StatusIs(Code::kInvalidArgument, HasSubstr("was cancelled")));
  EXPECT_THAT(coordinator_->List(0).runs(), SizeIs(1));
}

TEST_F(JobsTest, AJobExportsWhatWasTrainedInAnotherForm) {
  const std::string base = Submit(RunYaml("base", 30, 1));
  const std::string id =
      Submit("name: masters\njob: export\nof: base\nexport: {format: safetensors}\n", "key");
  Rounds(2);
  EXPECT_EQ(Get(id).job(), "export");
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_QUEUED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("waits for run base"));
  EXPECT_EQ(exports_, 0);
  Start();  // it is there after a restart
  AddWorker("w");
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_COMPLETED); });
  EXPECT_EQ(exports_, 1);
  EXPECT_EQ(export_options_.format, "safetensors");
  const std::string path = Get(id).run_dir() + "/export/masters.safetensors";
  EXPECT_THAT(*env_.ReadFile(path), HasSubstr(Get(base).run_dir())) << "the other's checkpoint";
  ASSERT_THAT(Get(id).artifacts(), SizeIs(1));
  EXPECT_EQ(Get(id).artifacts(0).path(), path);
  EXPECT_EQ(Get(id).reason(), absl::StrCat("exported step 30 of run ", base, " as ", path));
  EXPECT_EQ(Submit("name: masters\njob: export\nof: base\nexport: {format: safetensors}\n", "key"),
            id)
      << "the same key";
}

TEST_F(JobsTest, AnExportThatFailsIsTriedAgainByResume) {
  Trained();
  export_status_ = absl::ResourceExhaustedError("no space left on device");
  const std::string id = Submit("job: export\nof: base\nexport: {format: safetensors}\n");
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_FAILED); });
  EXPECT_THAT(Get(id).reason(), AllOf(HasSubstr("no space left on device"),
                                      HasSubstr("`tritterctl resume` tries it again")));
  EXPECT_EQ(Get("base").state(), v1::RUN_STATE_COMPLETED);
  export_status_ = absl::OkStatus();
  ASSERT_OK(coordinator_->Resume(id));
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_COMPLETED); });
}

TEST_F(JobsTest, AJobIsPausedAndCancelledInTheQueue) {
  Submit(RunYaml("base", 30, 1));
  const std::string id = Submit("job: export\nof: base\nexport: {format: safetensors}\n");
  EXPECT_EQ(coordinator_->Pause(id)->state(), v1::RUN_STATE_PAUSED);
  AddWorker("w");
  RoundsUntil([&] { return Is(Get("base").run_id(), v1::RUN_STATE_COMPLETED); });
  Rounds(5);
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_PAUSED);
  EXPECT_EQ(coordinator_->Resume(id)->state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(coordinator_->Cancel(id, false)->state(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(exports_, 0);
}

TEST_F(JobsTest, AnExportThatIsKilledLeavesNoArtifact) {
  Trained();
  const std::string id = Submit("job: export\nof: base\nexport: {format: safetensors}\n");
  on_export_ = [&] {
    EXPECT_THAT(coordinator_->Cancel(id, false),
                StatusIs(Code::kFailedPrecondition, HasSubstr("`tritterctl kill`")));
    EXPECT_EQ(coordinator_->Cancel(id, true)->state(), v1::RUN_STATE_CANCELLED);
  };
  RoundsUntil([&] { return exports_ == 1; });
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_CANCELLED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("killed while exporting"));
  EXPECT_THAT(Get(id).artifacts(), SizeIs(0));
}

TEST_F(JobsTest, ServersLoadWhatWasExported) {
  const std::string base = Submit(RunYaml("base", 30, 1, "export: {format: tpack}\n"));
  const std::string id = Submit("job: serve\nof: base\n");
  EXPECT_EQ(Get(id).name(), "base-serve");
  Rounds(2);
  EXPECT_THAT(Get(id).reason(), HasSubstr("waits for run base"));
  EXPECT_THAT(loads_, SizeIs(0));
  AddWorker("w");
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_COMPLETED); });
  EXPECT_THAT(loads_, ElementsAre("a:1 base", "b:2 base"));
  EXPECT_EQ(*env_.ReadFile("/models/base.tpack"), *env_.ReadFile(Get(base).artifacts(0).path()));
  EXPECT_EQ(Get(id).reason(), "model base (tpack of step 30) is served by a:1, b:2");
  Rounds(5);
  EXPECT_THAT(loads_, SizeIs(2));
}

TEST_F(JobsTest, AServerThatIsAwayIsAskedAgainAndTheOthersAreNot) {
  Trained("export: {format: tpack}\n");
  load_model_ = [this](const std::string& server, const std::string& model) {
    loads_.push_back(server);
    return server == "b:2" ? load_status_ : absl::OkStatus();
  };
  load_status_ = absl::UnavailableError("connection refused");
  const std::string id = Submit("job: serve\nof: base\nserve: {model: chat}\n");
  RoundsUntil([&] { return loads_.size() >= 3; });
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_DEPLOYING);
  EXPECT_THAT(Get(id).reason(), AllOf(HasSubstr("1 of 2 servers have model chat; server b:2: "
                                                "connection refused"),
                                      HasSubstr("tried again every 5 s")));
  load_status_ = absl::OkStatus();
  Start();  // also by another coordinator
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_COMPLETED); });
  EXPECT_EQ(loads_[0], "a:1");
  EXPECT_EQ(loads_[2], "b:2") << "the first has it";
}

TEST_F(JobsTest, AModelThatDoesNotFitFailsTheJobAndResumeTriesAgain) {
  Trained("export: {format: tpack}\n");
  load_status_ = absl::ResourceExhaustedError("needs 4 GiB, 2 are free");
  const std::string id = Submit("job: serve\nof: base\n");
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_FAILED); });
  EXPECT_THAT(Get(id).reason(), HasSubstr("server a:1: needs 4 GiB, 2 are free"));
  load_status_ = absl::OkStatus();
  ASSERT_OK(coordinator_->Resume(id));
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_COMPLETED); });
}

TEST_F(JobsTest, AFileThatChangedSinceItsExportIsNotServed) {
  const std::string base = Trained("export: {format: tpack}\n");
  ASSERT_OK(WriteFileAtomically(&env_, Get(base).artifacts(0).path(), "damaged"));
  const std::string id = Submit("job: serve\nof: base\n");
  RoundsUntil([&] { return Is(id, v1::RUN_STATE_FAILED); });
  EXPECT_THAT(Get(id).reason(), HasSubstr("SHA-256"));
  EXPECT_THAT(loads_, SizeIs(0));
  EXPECT_FALSE(env_.Exists("/models/base.tpack"));
}

TEST_F(JobsTest, AJobThatCannotBeIsRefusedWithWhatWouldDo) {
  Submit(RunYaml("base", 30, 1));
  Submit("name: out\njob: export\nof: base\nexport: {format: safetensors}\n");
  EXPECT_THAT(Refused("name: x\njob: export\nof: out\nexport: {format: gguf}\n"),
              StatusIs(Code::kInvalidArgument, HasSubstr("is a job export, expected one that "
                                                         "trains")));
  EXPECT_THAT(
      Refused("name: x\njob: serve\nof: out\n"),
      StatusIs(Code::kInvalidArgument, HasSubstr("exports safetensors, expected tpack or gguf")));
  EXPECT_THAT(Refused("name: x\njob: serve\nof: base\n"),
              StatusIs(Code::kInvalidArgument, HasSubstr("exports nothing")));
  EXPECT_THAT(Refused("name: x\njob: export\nof: base\nexport: {format: gguf}\n"),
              StatusIs(Code::kInvalidArgument, HasSubstr("export.format: gguf is not for")))
      << "family tritter has no counterpart there";
  options_.inference_servers.clear();
  Start();
  Submit(RunYaml("packed", 30, 1, "export: {format: tpack}\n"));
  EXPECT_THAT(Refused("name: x\njob: serve\nof: packed\n"),
              StatusIs(Code::kFailedPrecondition, HasSubstr("--inference-server HOST:PORT")));
}

TEST_F(JobsTest, AServeJobWaitsWhenTheCoordinatorComesBackWithoutServers) {
  const std::string base = Trained("export: {format: tpack}\n");
  // One waits for another run; one had begun, and found no server.
  const std::string slow = Submit(RunYaml("slow", 10, 9));
  const std::string queued =
      Submit("name: queued\njob: serve\nof: base\nafter: [slow]\nserve: {model: b}\n");
  load_status_ = absl::UnavailableError("connection refused");
  const std::string begun = Submit("name: begun\njob: serve\nof: base\nserve: {model: a}\n");
  RoundsUntil([&] { return Is(begun, v1::RUN_STATE_DEPLOYING) && !loads_.empty(); });
  ASSERT_OK(coordinator_->Cancel(slow, true));
  options_.inference_servers.clear();
  options_.model_root.clear();
  Start();
  Rounds(5);
  EXPECT_EQ(Get(begun).state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(Get(begun).waiting_cause(), "no_inference_servers");
  EXPECT_THAT(Get(begun).reason(),
              AllOf(HasSubstr("this coordinator knows none"), HasSubstr("--inference-server")));
  EXPECT_EQ(Get(queued).waiting_cause(), "after_failed");
  EXPECT_THAT(EventKinds(begun), Contains("run_waiting"));
  // With servers it begins by itself.
  options_.inference_servers = {"a:1"};
  options_.model_root = "/models";
  load_status_ = absl::OkStatus();
  Start();
  RoundsUntil([&] { return Is(begun, v1::RUN_STATE_COMPLETED); });
  EXPECT_EQ(loads_.back(), "a:1 a");
}

}  // namespace
}  // namespace tritter
