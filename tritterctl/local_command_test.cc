// `tritterctl local` with stand-ins for the servers: nothing may be left behind, whatever ends it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class LocalCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = JoinPath(::testing::TempDir(),
                    ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(env_->RemoveTree(dir_));
    ASSERT_OK(env_->CreateDirs(dir_));
  }
  std::unique_ptr<Subprocess> Start(
      std::vector<std::string> extra = {},
      const std::string& coordinator = "tritterctl/testing/fake_coordinator_binary",
      const std::string& run_file = "examples/shakespeare/run.yaml") {
    SubprocessOptions options;
    options.argv = {"tritterctl/tritterctl",
                    "local",
                    run_file,
                    "--dir",
                    dir_,
                    "--summary",
                    dir_ + "/summary.json",
                    "--coordinator-binary",
                    coordinator,
                    "--worker-binary",
                    "tritterctl/testing/fake_worker.sh"};
    options.argv.insert(options.argv.end(), extra.begin(), extra.end());
    options.output = SubprocessOptions::Output::kPipe;
    auto process = Subprocess::Start(options);
    EXPECT_OK(process);
    return *std::move(process);
  }
  // Real processes have no clock of ours: looked at until true, at most half a minute.
  template <typename Condition>
  bool Eventually(Condition condition) {
    const absl::Duration deadline = Clock::Real()->Monotonic() + absl::Seconds(30);
    while (!condition()) {
      if (Clock::Real()->Monotonic() > deadline) return false;
      Clock::Real()->Sleep(absl::Milliseconds(5));
    }
    return true;
  }
  // The pid in a ready file, once it differs from `other`.
  pid_t PidOf(const std::string& name, pid_t other = 0) {
    pid_t pid = 0;
    EXPECT_TRUE(Eventually([&] {
      const auto text = env_->ReadFile(absl::StrCat(dir_, "/", name, ".ready.json"));
      const nlohmann::json json = nlohmann::json::parse(text.value_or(""), nullptr, false);
      pid = json.is_object() ? json.value("pid", 0) : 0;
      return pid != 0 && pid != other;
    })) << name
        << " is not ready";
    return pid;
  }
  bool Gone(pid_t pid) {
    return Eventually([&] { return kill(pid, 0) != 0; });
  }
  std::vector<pid_t> AllPids() {
    return {PidOf("coordinator"), PidOf("worker-0"), PidOf("worker-1")};
  }
  void Finish() { ASSERT_OK(WriteFileAtomically(env_, dir_ + "/coordinator/finish", "")); }

  Env* const env_ = Env::Real();
  std::string dir_;
};

TEST_F(LocalCommandTest, EndsWithTheRunAndLeavesASummaryAndNoProcess) {
  const auto local = Start();
  const std::vector<pid_t> pids = AllPids();
  Finish();
  const auto exit = local->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value());
  const std::string output = local->ReadOutput();
  EXPECT_TRUE(exit->ok()) << exit->ToString() << output;
  EXPECT_THAT(output, HasSubstr("demo (r-1): completed"));
  for (const pid_t pid : pids) EXPECT_TRUE(Gone(pid));
  ASSERT_OK_AND_ASSIGN(const std::string summary, env_->ReadFile(dir_ + "/summary.json"));
  const nlohmann::json json = nlohmann::json::parse(summary);
  EXPECT_EQ(json["artifacts"][0]["path"], "/runs/r-1/demo.tpack");
  EXPECT_EQ(json["tokens_per_second"], 20480.0);
  EXPECT_EQ(json["evaluations"][0]["source"], "shakespeare");
  EXPECT_TRUE(env_->Exists(dir_ + "/logs/coordinator.log") &&
              env_->Exists(dir_ + "/logs/worker-1.log"));
}

TEST_F(LocalCommandTest, AFailedRunOfTheFolderIsResumed) {
  ASSERT_OK(env_->CreateDirs(dir_ + "/coordinator"));
  ASSERT_OK(WriteFileAtomically(env_, dir_ + "/coordinator/failed", ""));
  Finish();
  const auto local = Start();
  const auto exit = local->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  const std::string output = local->ReadOutput();
  EXPECT_TRUE(exit->ok()) << exit->ToString() << output;
  EXPECT_THAT(output, AllOf(HasSubstr("going on with run r-1 from step 20 of 100; it had failed: "
                                      "no space left on device"),
                            HasSubstr("demo (r-1): completed")));
}

TEST_F(LocalCommandTest, ARunOfAnotherConfigurationInTheFolderIsPausedAndTold) {
  ASSERT_OK(env_->CreateDirs(dir_ + "/coordinator"));
  ASSERT_OK(WriteFileAtomically(env_, dir_ + "/coordinator/earlier", "name: before\n"));
  Finish();
  const auto local = Start();
  const auto exit = local->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  const std::string output = local->ReadOutput();
  EXPECT_TRUE(exit->ok()) << exit->ToString() << output;
  EXPECT_THAT(output, HasSubstr(absl::StrCat(
                          "this folder has run r-0, paused at step 40 of 100; the configuration "
                          "differs in name (was before, is demo): a new run begins; go on with the "
                          "earlier one by tritterctl local /runs/r-0/spec.yaml --dir ",
                          dir_, "\n")));
}

TEST_F(LocalCommandTest, InterruptedItSaysHowToGoOnAndLeavesNoProcess) {
  for (const int signal : {SIGINT, SIGTERM}) {
    ASSERT_OK(env_->RemoveTree(dir_));
    const auto local = Start({"--workers", "2", "--threads", "3", "-o", "json"});
    const std::vector<pid_t> pids = AllPids();
    kill(local->pid(), signal);
    const auto exit = local->Wait(absl::Seconds(30));
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 130);
    EXPECT_THAT(
        local->ReadOutput(),
        HasSubstr(absl::StrCat("stopped with a checkpoint at step 20. Go on with: tritterctl local "
                               "examples/shakespeare/run.yaml --dir ",
                               dir_, " --workers 2 --threads 3 --summary ", dir_, "/summary.json",
                               " --coordinator-binary tritterctl/testing/fake_coordinator_binary"
                               " --worker-binary tritterctl/testing/fake_worker.sh -o json\n")));
    for (const pid_t pid : pids) EXPECT_TRUE(Gone(pid));
  }
}

TEST_F(LocalCommandTest, KilledItLeavesNoProcess) {
  const auto local = Start();
  const std::vector<pid_t> pids = AllPids();
  kill(local->pid(), SIGKILL);
  for (const pid_t pid : pids) EXPECT_TRUE(Gone(pid));
}

TEST_F(LocalCommandTest, InterruptedWhileItStartsItLeavesNoProcess) {
  const auto local = Start();
  const pid_t coordinator = PidOf("coordinator");
  kill(local->pid(), SIGTERM);
  ASSERT_TRUE(local->Wait(absl::Seconds(30)).has_value());
  EXPECT_TRUE(Gone(coordinator));
}

TEST_F(LocalCommandTest, StartsAgainWhatIsKilled) {
  const auto local = Start();
  const std::vector<pid_t> pids = AllPids();
  const std::string address = *env_->ReadFile(dir_ + "/coordinator.ready.json");
  kill(pids[1], SIGKILL);
  const pid_t worker = PidOf("worker-0", pids[1]);
  kill(pids[0], SIGKILL);
  const pid_t coordinator = PidOf("coordinator", pids[0]);
  const auto address_of = [](const std::string& text) {
    return nlohmann::json::parse(text)["address"];
  };
  EXPECT_EQ(address_of(*env_->ReadFile(dir_ + "/coordinator.ready.json")), address_of(address))
      << "on the port the workers know";
  Finish();
  const auto exit = local->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value());
  const std::string output = local->ReadOutput();
  EXPECT_TRUE(exit->ok()) << output;
  EXPECT_THAT(output, AllOf(HasSubstr("worker-0 ended with signal 9"),
                            HasSubstr("coordinator ended with signal 9")));
  for (const pid_t pid : {worker, coordinator, pids[2]}) EXPECT_TRUE(Gone(pid));
}

TEST_F(LocalCommandTest, ASecondOneInTheSameFolderIsRefused) {
  const auto first = Start();
  AllPids();
  const auto second = Start();
  const auto exit = second->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 2);
  EXPECT_THAT(second->ReadOutput(),
              AllOf(HasSubstr(absl::StrCat("tritterctl: another tritterctl local works in this "
                                           "folder: ",
                                           dir_, "/lock: is held by process ")),
                    HasSubstr("; wait for it or choose another --dir\n"), Not(HasSubstr("hint:"))));
  EXPECT_FALSE(first->Poll().has_value());
}

TEST_F(LocalCommandTest, AProgramThatCannotLiveEndsItWithItsLog) {
  const auto local = Start({}, "/bin/false");
  const auto exit = local->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_FALSE(exit->ok());
  EXPECT_THAT(local->ReadOutput(), AllOf(HasSubstr("coordinator ended 5 times in a row"),
                                         HasSubstr("logs/coordinator.log")));
}

TEST_F(LocalCommandTest, FewerWorkersThanTheRunNeedsIsWrongUse) {
  const auto local = Start({"--workers", "1"});
  const auto exit = local->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 2);
  EXPECT_THAT(local->ReadOutput(), HasSubstr("--workers: expected at least 2"));
}

TEST_F(LocalCommandTest, ARunThatItsWorkersCannotTrainIsRefused) {
  ASSERT_OK_AND_ASSIGN(std::string yaml, env_->ReadFile("examples/shakespeare/run.yaml"));
  const std::string path = dir_ + "/cuda.yaml";
  ASSERT_OK(WriteFileAtomically(env_, path,
                                absl::StrReplaceAll(yaml, {{"device: auto", "device: cuda"}})));
  const auto local = Start({}, "tritterctl/testing/fake_coordinator_binary", path);
  const auto exit = local->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 2);
  EXPECT_THAT(local->ReadOutput(),
              HasSubstr("workers.device: expected auto, any or cpu, actual cuda"));
}

}  // namespace
}  // namespace tritter
