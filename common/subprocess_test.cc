#include "common/subprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using Output = SubprocessOptions::Output;

SubprocessOptions Shell(const std::string& script) {
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c", script};
  options.output = Output::kPipe;
  return options;
}

// Gone, or a zombie that somebody else has to reap.
bool Runs(pid_t pid) {
  const std::string stat = Env::Real()->ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  return !stat.empty() && !absl::StrContains(stat, ") Z ") && !absl::StrContains(stat, ") X ");
}

std::string AwaitOutput(Subprocess* process) {
  std::string out;
  while (out.empty() && !process->Wait(absl::Milliseconds(1))) out = process->ReadOutput();
  return out;
}

TEST(Subprocess, CollectsOutputAndExitCode) {
  ASSERT_OK_AND_ASSIGN(const RunResult result,
                       RunCommand({"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}));
  EXPECT_EQ(result.output, "out\nerr\n");
  EXPECT_EQ(result.exit.code, 3);
  EXPECT_FALSE(result.exit.ok());
  EXPECT_EQ(result.exit.ToString(), "exit code 3");
}

TEST(Subprocess, MoreOutputThanAPipeHoldsDoesNotBlockTheChild) {
  ASSERT_OK_AND_ASSIGN(const RunResult result,
                       RunCommand({"/bin/sh", "-c", "head -c 1000000 /dev/zero"}));
  EXPECT_EQ(result.output.size(), 1000000u);
}

TEST(Subprocess, MissingProgramAndFolderAreNotFound) {
  EXPECT_THAT(RunCommand({"no-such-program-anywhere"}),
              StatusIs(StatusCode::kNotFound, HasSubstr("no-such-program-anywhere")));
  SubprocessOptions options = Shell("true");
  options.working_directory = "/no/such/folder";
  EXPECT_THAT(Subprocess::Start(options),
              StatusIs(StatusCode::kNotFound, HasSubstr("/no/such/folder")));
}

TEST(Subprocess, EnvironmentAndFolderAreTheChilds) {
  SubprocessOptions options = Shell("echo $TRITTER_X $PWD");
  options.environment = {"TRITTER_X=set"};
  options.working_directory = "/usr";
  ASSERT_OK_AND_ASSIGN(auto process, Subprocess::Start(options));
  EXPECT_TRUE(process->Wait()->ok());
  EXPECT_EQ(process->ReadOutput(), "set /usr\n");
  EXPECT_EQ(getenv("TRITTER_X"), nullptr);
}

TEST(Subprocess, AppendsToAFile) {
  const std::string path = JoinPath(testing::TempDir(), "out.log");
  for (const char* word : {"one", "two"}) {
    SubprocessOptions options = Shell(absl::StrCat("echo ", word, " >&2"));
    options.output = Output::kFile;
    options.output_path = path;
    ASSERT_OK_AND_ASSIGN(auto process, Subprocess::Start(options));
    EXPECT_TRUE(process->Wait()->ok());
  }
  ASSERT_OK_AND_ASSIGN(const std::string text, Env::Real()->ReadFile(path));
  EXPECT_EQ(text, "one\ntwo\n");
}

TEST(Subprocess, PollAndTimedWaitLeaveARunningChildAlone) {
  ASSERT_OK_AND_ASSIGN(auto process, Subprocess::Start(Shell("exec sleep 1000")));
  EXPECT_EQ(process->Poll(), std::nullopt);
  EXPECT_EQ(process->Wait(absl::Milliseconds(1)), std::nullopt);
  EXPECT_EQ(process->Kill().signal, SIGKILL);
  EXPECT_EQ(process->Poll()->ToString(), "signal 9 (Killed)");
}

TEST(Subprocess, StopAsksFirst) {
  ASSERT_OK_AND_ASSIGN(auto process,
                       Subprocess::Start(Shell(
                           "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")));
  EXPECT_EQ(AwaitOutput(process.get()), "up\n");
  // The group got the signal: the sleep inside ends at once, and the trap runs.
  EXPECT_EQ(process->Stop(absl::Seconds(60)).code, 5);
  EXPECT_THAT(process->ReadOutput(), HasSubstr("bye"));
}

TEST(Subprocess, StopKillsWhoDoesNotListen) {
  ASSERT_OK_AND_ASSIGN(
      auto process,
      Subprocess::Start(Shell("trap '' TERM; echo up; while :; do sleep 0.01; done")));
  EXPECT_EQ(AwaitOutput(process.get()), "up\n");
  EXPECT_EQ(process->Stop(absl::Milliseconds(20)).signal, SIGKILL);
}

TEST(Subprocess, NothingOfTheGroupOutlivesIt) {
  pid_t child = 0, grandchild = 0;
  {
    ASSERT_OK_AND_ASSIGN(auto process, Subprocess::Start(Shell("sleep 1000 & echo $!; wait")));
    child = process->pid();
    ASSERT_TRUE(absl::SimpleAtoi(AwaitOutput(process.get()), &grandchild));
    EXPECT_TRUE(Runs(grandchild));
  }
  EXPECT_EQ(kill(child, 0), -1);  // reaped: no zombie either
  while (Runs(grandchild)) {
  }
}

TEST(Subprocess, AChildThatSomebodyElseReapedDidNotSucceed) {
  const auto before = signal(SIGCHLD, SIG_IGN);  // the kernel reaps
  ASSERT_OK_AND_ASSIGN(const auto process, Subprocess::Start(Shell("exit 3")));
  const std::optional<ExitStatus> exit = process->Wait();
  signal(SIGCHLD, before);
  ASSERT_TRUE(exit.has_value());
  EXPECT_FALSE(exit->ok());
  EXPECT_THAT(exit->ToString(), HasSubstr("unknown end"));
}

TEST(Subprocess, WhatAnEndedChildLeavesBehindIsKilled) {
  ASSERT_OK_AND_ASSIGN(const RunResult result,
                       RunCommand({"/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"}));
  pid_t orphan = 0;
  ASSERT_TRUE(absl::SimpleAtoi(result.output, &orphan));
  while (Runs(orphan)) {
  }
}

TEST(Subprocess, DiesWithItsParent) {
  int out[2];
  ASSERT_EQ(pipe(out), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    SubprocessOptions options = Shell("exec sleep 1000");
    auto process = Subprocess::Start(options);
    const pid_t pid = process.ok() ? (*process)->pid() : -1;
    if (write(out[1], &pid, sizeof pid) != sizeof pid) _exit(1);
    for (;;) pause();
  }
  pid_t grandchild = -1;
  ASSERT_EQ(read(out[0], &grandchild, sizeof grandchild), static_cast<ssize_t>(sizeof grandchild));
  ASSERT_GT(grandchild, 0);
  EXPECT_TRUE(Runs(grandchild));
  kill(parent, SIGKILL);  // no destructor runs there
  ASSERT_EQ(waitpid(parent, nullptr, 0), parent);
  while (Runs(grandchild)) {
  }
}

TEST(Subprocess, ChildStartsWithDefaultSignals) {
  signal(SIGPIPE, SIG_IGN);
  ASSERT_OK_AND_ASSIGN(const RunResult result,
                       RunCommand({"/bin/sh", "-c", "kill -PIPE $$; echo survived"}));
  signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(result.exit.signal, SIGPIPE);
}

TEST(RunCommand, GivesUpAfterTheTimeout) {
  EXPECT_THAT(RunCommand({"sleep", "1000"}, absl::Milliseconds(5)),
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("sleep 1000")));
}

}  // namespace
}  // namespace tritter
