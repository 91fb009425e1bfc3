// `tritterctl local`, the one-command form of the main job, with the whole chain behind it: shards,
// training, export, serving, text. And what happens when somebody interrupts it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"
#include "tests/e2e/cluster.h"

namespace tritter::e2e {
namespace {

// Runs `name` with these overrides through `tritterctl local` as a child with its output in `log`.
absl::StatusOr<std::unique_ptr<Subprocess>> StartLocal(const std::string& folder,
                                                       const std::string& log) {
  SubprocessOptions options;
  options.argv = {Binary("tritterctl"),    "local",     JoinPath(folder, "run.yaml"),    "--dir",
                  JoinPath(folder, "run"), "--summary", JoinPath(folder, "summary.json")};
  options.output = SubprocessOptions::Output::kFile;
  options.output_path = log;
  return Subprocess::Start(options);
}

std::string ReadAll(const std::string& path) { return Env::Real()->ReadFile(path).value_or(""); }

// Processes whose command line names `folder`.
std::vector<std::string> ProcessesOf(const std::string& folder) {
  std::vector<std::string> found;
  auto names = Env::Real()->ListDir("/proc");
  if (!names.ok()) return found;
  for (const std::string& pid : *names) {
    if (pid.empty() || !isdigit(pid[0]) || pid == std::to_string(getpid())) continue;
    std::ifstream in(absl::StrCat("/proc/", pid, "/cmdline"));
    std::string line((std::istreambuf_iterator<char>(in)), {});
    if (line.find(folder) != std::string::npos && line.find("tritter_") != std::string::npos)
      found.push_back(line);
  }
  return found;
}

void ExpectNoProcess(const std::string& folder) {
  for (int i = 0; i < 500 && !ProcessesOf(folder).empty(); ++i)
    Clock::Real()->Sleep(absl::Milliseconds(20));
  EXPECT_THAT(ProcessesOf(folder), testing::IsEmpty());
}

TEST(Local, TrainsExportsServesAndCompletesAPrompt) {
  const std::string folder = TempFolder("whole"), log = JoinPath(folder, "local.log");
  ASSERT_OK(MakeShards(folder));
  ASSERT_OK(WriteFileAtomically(Env::Real(), JoinPath(folder, "run.yaml"),
                                RunYaml("whole", {{"steps", "60"}})));
  ASSERT_OK_AND_ASSIGN(auto local, StartLocal(folder, log));
  auto exit = local->Wait(absl::Seconds(150));
  ASSERT_TRUE(exit.has_value()) << ReadAll(log);
  ASSERT_TRUE(exit->ok()) << exit->ToString() << "\n" << ReadAll(log);
  ExpectNoProcess(folder);

  // The same command again finds the finished run and trains nothing twice.
  ASSERT_OK_AND_ASSIGN(auto again, StartLocal(folder, JoinPath(folder, "again.log")));
  exit = again->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value() && exit->ok()) << ReadAll(JoinPath(folder, "again.log"));

  // The quick start's report reads what was written.
  auto report = [&](std::vector<std::string> flags) {
    std::vector<std::string> argv = {"/usr/bin/python3", "scripts/quickstart_report.py"};
    argv.insert(argv.end(), flags.begin(), flags.end());
    argv.push_back(JoinPath(folder, "summary.json"));
    argv.push_back("examples/shakespeare/input.txt");
    auto r = RunCommand(std::move(argv));
    EXPECT_OK(r.status());
    return r.ok() ? *r : RunResult{};
  };
  RunResult said = report({"--at-most", "8"});
  EXPECT_TRUE(said.exit.ok()) << said.output;
  EXPECT_THAT(said.output, testing::HasSubstr("this model, source shakespeare, averaged weights"));
  EXPECT_THAT(said.output, testing::HasSubstr("60 steps"));
  said = report({"--at-most", "0.5"});
  EXPECT_EQ(said.exit.code, 1) << said.output;
  EXPECT_THAT(said.output, testing::HasSubstr("expected at most 0.5"));

  std::string model;
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> runs,
                       Env::Real()->ListDir(JoinPath(folder, "run/coordinator/runs")));
  ASSERT_EQ(runs.size(), 1u);
  model = JoinPath(folder, absl::StrCat("run/coordinator/runs/", runs[0], "/export/whole.tpack"));
  ASSERT_TRUE(Env::Real()->Exists(model)) << model;
  ASSERT_OK_AND_ASSIGN(RunResult verify, RunCommand({Binary("tritterctl"), "verify", model}));
  EXPECT_TRUE(verify.exit.ok()) << verify.output;

  ASSERT_OK_AND_ASSIGN(auto server, ModelServer::Start(folder, {"--model", model}));
  auto generate = [&](const std::string& seed) {
    auto r = RunCommand({Binary("tritterctl"), "generate", "--server", server->address(),
                         "--max-tokens", "40", "--temperature", "0.8", "--seed", seed, "ROMEO:"});
    EXPECT_OK(r.status());
    EXPECT_TRUE(r.ok() && r->exit.ok()) << (r.ok() ? r->output : "");
    return r.ok() ? r->output : "";
  };
  const std::string text = generate("1");
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(text, generate("1")) << "the same seed gives the same text";
  EXPECT_NE(text, generate("2"));
  const ExitStatus stopped = server->process().Stop(absl::Seconds(10));
  EXPECT_TRUE(stopped.ok()) << stopped.ToString();
}

TEST(Local, InterruptLeavesNoProcessAndTheSameCommandResumes) {
  const std::string folder = TempFolder("interrupted"), log = JoinPath(folder, "local.log");
  ASSERT_OK(MakeShards(folder));
  ASSERT_OK(WriteFileAtomically(Env::Real(), JoinPath(folder, "run.yaml"),
                                RunYaml("interrupted", {{"steps", "120"}, {"export", "{}"}})));
  for (int signal : {SIGINT, SIGKILL}) {
    ASSERT_OK_AND_ASSIGN(auto local, StartLocal(folder, log));
    // Until a checkpoint is there (the second time: a later one).
    const std::string checkpoint = signal == SIGINT ? "step-00000020" : "step-00000060";
    bool there = false;
    for (int i = 0; i < 6000 && !there && !local->Poll(); ++i) {
      Clock::Real()->Sleep(absl::Milliseconds(10));
      auto runs = Env::Real()->ListDir(JoinPath(folder, "run/coordinator/runs"));
      there = runs.ok() && !runs->empty() &&
              Env::Real()->Exists(JoinPath(folder, absl::StrCat("run/coordinator/runs/", (*runs)[0],
                                                                "/checkpoints/", checkpoint)));
    }
    ASSERT_TRUE(there) << checkpoint << "\n" << ReadAll(log);
    // The command's own process only, as Ctrl-C reaches it: its children are in groups of their
    // own.
    ::kill(local->pid(), signal);
    auto exit = local->Wait(absl::Seconds(30));
    ASSERT_TRUE(exit.has_value()) << ReadAll(log);
    if (signal == SIGINT) EXPECT_EQ(exit->code, 130) << exit->ToString() << "\n" << ReadAll(log);
    ExpectNoProcess(folder);
  }
  ASSERT_OK_AND_ASSIGN(auto local, StartLocal(folder, log));
  auto exit = local->Wait(absl::Seconds(120));
  ASSERT_TRUE(exit.has_value() && exit->ok()) << ReadAll(log);
  ExpectNoProcess(folder);
}

}  // namespace
}  // namespace tritter::e2e
