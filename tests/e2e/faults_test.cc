// What a user can spoil, with the real binaries: each gives one clear error, the right exit code,
// and loses nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/net.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "tests/e2e/cluster.h"

namespace tritter::e2e {
namespace {

using ::testing::HasSubstr;

RunResult Execute(std::vector<std::string> argv) {
  auto result = RunCommand(std::move(argv), absl::Seconds(60));
  EXPECT_OK(result.status());
  return result.ok() ? *result : RunResult{};
}

// The same with files of at most `kib` KiB: a write beyond fails as it does on a full disk.
std::vector<std::string> WithSmallDisk(int kib, const std::vector<std::string>& argv) {
  std::vector<std::string> all = {
      "/bin/bash", "-c", absl::StrCat("trap '' XFSZ; ulimit -f ", kib, "; exec \"$@\""), "bash"};
  all.insert(all.end(), argv.begin(), argv.end());
  return all;
}

std::string ReadAll(const std::string& path) { return Env::Real()->ReadFile(path).value_or(""); }

void Write(const std::string& path, const std::string& content) {
  EXPECT_OK(WriteFileAtomically(Env::Real(), path, content));
}

TEST(Faults, WrongConfigurationsAndAddresses) {
  const std::string folder = TempFolder("configurations");
  ASSERT_OK(MakeShards(folder));
  // A misspelt key: line, column, path and a suggestion; exit code 2.
  Write(JoinPath(folder, "typo.yaml"),
        absl::StrCat(RunYaml("typo", {}), "\nchekpoint: {every: 3}\n"));
  RunResult r = Execute({Binary("tritterctl"), "validate", JoinPath(folder, "typo.yaml")});
  EXPECT_EQ(r.exit.code, 2) << r.output;
  EXPECT_THAT(r.output, HasSubstr("typo.yaml:"));
  EXPECT_THAT(r.output, HasSubstr("did you mean `checkpoint`"));
  // A preset that cannot be built.
  Write(JoinPath(folder, "shape.yaml"),
        "name: shape\nmodel: {preset: nano, kv_heads: 3, vocab: 264}\n"
        "data: {sources: [{name: s, shards: shards}]}\ntraining: {steps: 1}\n");
  r = Execute({Binary("tritterctl"), "validate", JoinPath(folder, "shape.yaml")});
  EXPECT_EQ(r.exit.code, 2) << r.output;
  EXPECT_THAT(r.output, HasSubstr("shape.yaml:2:"));
  EXPECT_THAT(r.output, HasSubstr("kv_heads"));
  // Nobody listens: exit code 3.
  ASSERT_OK_AND_ASSIGN(const int port, PickFreeLoopbackPort());
  r = Execute(
      {Binary("tritterctl"), "get", "runs", "--coordinator", absl::StrCat("127.0.0.1:", port)});
  EXPECT_EQ(r.exit.code, 3) << r.output;
}

TEST(Faults, TheCoordinatorRefusesAndLivesOn) {
  const std::string folder = TempFolder("coordinator");
  ASSERT_OK(MakeShards(folder));
  Cluster cluster(folder);
  ASSERT_OK(cluster.StartCoordinator());
  // A port in use, and a second coordinator on the same store.
  RunResult r = Execute({Binary("tritter_coordinator"), "--listen", cluster.address(), "--data-dir",
                         JoinPath(folder, "other")});
  EXPECT_EQ(r.exit.code, 1) << r.output;
  EXPECT_THAT(r.output, HasSubstr("in use"));
  r = Execute({Binary("tritter_coordinator"), "--listen", "127.0.0.1:0", "--data-dir",
               JoinPath(folder, "data")});
  EXPECT_EQ(r.exit.code, 1) << r.output;
  EXPECT_THAT(r.output, HasSubstr("held by process"));
  // Unknown run: exit code 5.
  r = Execute({Binary("tritterctl"), "describe", "nowhere", "--coordinator", cluster.address()});
  EXPECT_EQ(r.exit.code, 5) << r.output;
  // A truncated shard, then a missing one, then no shards: refused at submission with the file's
  // name.
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names,
                       Env::Real()->ListDir(JoinPath(folder, "shards")));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, "train")) continue;
    const std::string path = JoinPath(folder, absl::StrCat("shards/", name));
    const std::string bytes = ReadAll(path);
    Write(path, bytes.substr(0, bytes.size() - 100));
    auto refused = cluster.Submit(RunYaml("truncated", {}));
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(name));
    ASSERT_OK(Env::Real()->RemoveFile(path));
    refused = cluster.Submit(RunYaml("missing", {}));
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(name));
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("shard is missing"));
    Write(path, bytes);
  }
  ASSERT_OK(Env::Real()->RemoveTree(JoinPath(folder, "shards")));
  const auto refused = cluster.Submit(RunYaml("gone", {}));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("shards"));
  EXPECT_EQ(cluster.Get("nowhere").status().code(), absl::StatusCode::kNotFound);
}

TEST(Faults, ADamagedPackedModelIsNotServed) {
  const std::string folder = TempFolder("damaged"), model = JoinPath(folder, "m.tpack");
  RunResult r = Execute({Binary("make_model"), "--out", model, "--preset", "nano"});
  ASSERT_TRUE(r.exit.ok()) << r.output;
  const std::string whole = ReadAll(model);
  ASSERT_GT(whole.size(), 100000u);
  const auto verify = [&] { return Execute({Binary("tritterctl"), "verify", model}); };
  const auto serve = [&](bool verify_first) {
    std::vector<std::string> argv = {Binary("tritter_inference"), "--model", model, "--listen",
                                     "127.0.0.1:0"};
    if (verify_first) argv.push_back("--verify");
    return Execute(argv);
  };
  EXPECT_TRUE(verify().exit.ok());
  // Preamble, configuration, tensor table: refused at load.
  for (size_t at : {size_t{17}, size_t{90}, whole.find("layers.0.attn.q") + 3}) {
    std::string bytes = whole;
    bytes[at] ^= 4;
    Write(model, bytes);
    r = verify();
    EXPECT_EQ(r.exit.code, 1) << at << r.output;
    EXPECT_THAT(r.output, HasSubstr("m.tpack"));
    r = serve(false);
    EXPECT_EQ(r.exit.code, 1) << at << r.output;
    EXPECT_THAT(r.output, HasSubstr("m.tpack"));
  }
  // A tensor: found by verify, and by a server that is told to look.
  std::string bytes = whole;
  bytes[whole.size() / 2] ^= 4;
  Write(model, bytes);
  r = verify();
  EXPECT_EQ(r.exit.code, 1) << r.output;
  EXPECT_THAT(r.output, HasSubstr("CRC-32C of layers."));
  r = serve(true);
  EXPECT_EQ(r.exit.code, 1) << r.output;
  EXPECT_THAT(r.output, HasSubstr("CRC-32C of layers."));
  // Cut off.
  Write(model, whole.substr(0, whole.size() - 1));
  EXPECT_EQ(verify().exit.code, 1);
  EXPECT_EQ(serve(false).exit.code, 1);
}

TEST(Faults, CurationOnAFullDiskLosesNothing) {
  const std::string folder = TempFolder("curation"), shards = JoinPath(folder, "shards");
  ASSERT_OK(MakeShards(folder));
  const std::string manifest = ReadAll(JoinPath(shards, "manifest.json"));
  const std::vector<std::string> curate = {Binary("tritterctl"), "curate",
                                           "examples/shakespeare/input.txt", "--out", shards};
  RunResult r = Execute(WithSmallDisk(400, curate));
  EXPECT_EQ(r.exit.code, 1) << r.output;
  EXPECT_THAT(r.output, HasSubstr("File too large"));
  EXPECT_THAT(r.output, HasSubstr("ulimit -f"));
  EXPECT_EQ(ReadAll(JoinPath(shards, "manifest.json")), manifest);
  r = Execute({Binary("tritterctl"), "verify", shards});
  EXPECT_TRUE(r.exit.ok()) << r.output;
  r = Execute(curate);
  EXPECT_TRUE(r.exit.ok()) << r.output;
}

// The checkpoint does not fit: the run goes on as far as it can, says what it waits for, and the
// same command with room ends it.
TEST(Faults, ARunOnAFullDiskGoesOnWhenThereIsRoom) {
  const std::string folder = TempFolder("full"), log = JoinPath(folder, "local.log");
  ASSERT_OK(MakeShards(folder));
  Write(JoinPath(folder, "run.yaml"), RunYaml("full", {{"steps", "40"}, {"export", "{}"}}));
  const std::vector<std::string> command = {Binary("tritterctl"), "local",
                                            JoinPath(folder, "run.yaml"), "--dir",
                                            JoinPath(folder, "run")};
  SubprocessOptions options;
  options.argv = WithSmallDisk(1500, command);
  options.output = SubprocessOptions::Output::kFile;
  options.output_path = log;
  ASSERT_OK_AND_ASSIGN(auto local, Subprocess::Start(options));
  const std::string logs = JoinPath(folder, "run/logs");
  const auto said = [&](const std::string& words) {
    auto names = Env::Real()->ListDir(logs);
    if (!names.ok()) return false;
    for (const std::string& name : *names) {
      if (absl::StrContains(ReadAll(JoinPath(logs, name)), words)) return true;
    }
    return false;
  };
  for (int i = 0; i < 9000 && !said("free space on") && !local->Poll(); ++i) {
    Clock::Real()->Sleep(absl::Milliseconds(10));
  }
  EXPECT_TRUE(said("free space on")) << ReadAll(log);
  ASSERT_FALSE(local->Poll().has_value()) << ReadAll(log);  // it waits
  ::kill(local->pid(), SIGINT);
  auto exit = local->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value()) << ReadAll(log);
  EXPECT_EQ(exit->code, 130) << ReadAll(log);
  const RunResult again = Execute(command);
  EXPECT_TRUE(again.exit.ok()) << again.output;
}

}  // namespace
}  // namespace tritter::e2e
