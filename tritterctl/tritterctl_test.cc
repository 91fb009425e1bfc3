// The real binary: arguments, exit codes, what goes to stdout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "model/export.h"
#include "model/testing/random_weights.h"
#include "model/text/testing/bpe_test_tokenizer.h"
#include "model/tpack.h"
#include "tritterctl/output.h"
#include "tritterctl/testing/demo_run.h"
#include "tritterctl/testing/fake_coordinator_service.h"
#include "tritterctl/testing/fake_inference_service.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int code;
  std::string out, err;
};

std::string TempPath(const std::string& name) {
  return absl::StrCat(::testing::TempDir(), "/",
                      ::testing::UnitTest::GetInstance()->current_test_info()->name(), "-", name);
}

// Runs tritterctl through a shell, which parts stdout from stderr.
Outcome Tritterctl(std::vector<std::string> arguments,
                   const std::vector<std::string>& environment = {}, bool full_disk = false) {
  const std::string out = full_disk ? "/dev/full" : TempPath("stdout"), err = TempPath("stderr");
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c", absl::StrCat("exec \"$0\" \"$@\" >", out, " 2>", err),
                  "tritterctl/tritterctl"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = environment;
  auto process = Subprocess::Start(options);
  EXPECT_OK(process);
  const std::optional<ExitStatus> exit = (*process)->Wait(absl::Seconds(30));
  EXPECT_TRUE(exit.has_value()) << "tritterctl hangs";
  Env* env = Env::Real();
  return {exit ? (exit->signal != 0 ? 1000 + exit->signal : exit->code) : -1,
          full_disk ? "" : env->ReadFile(out).value_or(""), env->ReadFile(err).value_or("")};
}

std::string Write(const std::string& name, const std::string& text) {
  const std::string path = TempPath(name);
  EXPECT_OK(WriteFileAtomically(Env::Real(), path, text));
  return path;
}

TEST(Usage, WrongUseIsTwoAndHelpIsZero) {
  EXPECT_EQ(Tritterctl({}).code, 2);
  EXPECT_EQ(Tritterctl({"frobnicate"}).code, 2);
  EXPECT_EQ(Tritterctl({"get"}).code, 2);
  EXPECT_EQ(Tritterctl({"get", "runs", "-o", "xml"}).code, 2);
  EXPECT_EQ(Tritterctl({"wait"}).code, 2);
  EXPECT_EQ(Tritterctl({"generate", "x", "--max-tokens", "0"}).code, 2);
  EXPECT_EQ(Tritterctl({"generate", "x", "--top-p", "0"}).code, 2);
  const Outcome help = Tritterctl({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("curate"), HasSubstr("local"), HasSubstr("Exit codes")));
  EXPECT_EQ(Tritterctl({"local", "--help"}).code, 0);
  EXPECT_EQ(Tritterctl({"--version"}).code, 0);
}

// All commands, as the help lists them.
std::vector<std::vector<std::string>> Commands(std::vector<std::string> above = {}) {
  std::vector<std::string> help = above;
  help.push_back("--help");
  std::vector<std::vector<std::string>> out = {above};
  bool listed = false;
  const std::vector<std::string> lines = absl::StrSplit(Tritterctl(help).out, '\n');
  for (const std::string& line : lines) {
    if (listed && line.size() > 2 && line[0] == ' ' && line[2] != ' ') {
      std::vector<std::string> command = above;
      command.push_back(line.substr(2, line.find(' ', 2) - 2));
      for (auto& c : Commands(command)) out.push_back(std::move(c));
    }
    listed = listed || line == "Subcommands:";
  }
  return out;
}

TEST(Usage, EveryOptionOfEveryCommandHasItsTwin) {
  int commands = 0, options = 0;
  for (std::vector<std::string> command : Commands()) {
    ++commands;
    command.push_back("--help");
    const std::vector<std::string> lines = absl::StrSplit(Tritterctl(command).out, '\n');
    for (const std::string& line : lines) {
      const size_t dashes = line.find("--");
      if (!absl::StartsWith(line, "  -") || dashes == std::string::npos) continue;
      const std::string flag(line.substr(dashes, line.find_first_of(" ,", dashes) - dashes));
      if (flag == "--help" || flag == "--version") continue;
      ++options;
      EXPECT_THAT(line, HasSubstr(absl::StrCat("(Env:", EnvName(flag), ")"))) << command[0];
    }
  }
  EXPECT_GE(commands, 20);
  EXPECT_GE(options, 40);
}

TEST(Usage, AnUnknownCommandIsNamedWithTheNearestOne) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"exprot"}, {"exprot", "r", "--file", "x"}, {"-q", "exprot"}}) {
    const Outcome o = Tritterctl(arguments);
    EXPECT_EQ(o.code, 2);
    EXPECT_EQ(o.err,
              "tritterctl: no command is called `exprot` (did you mean `export`?)\n"
              "hint: tritterctl --help lists the commands\n");
  }
  EXPECT_THAT(Tritterctl({"frobnicate"}).err, StartsWith("tritterctl: no command is called "
                                                         "`frobnicate`\nhint: "));
  EXPECT_THAT(
      Tritterctl({"get", "rums"}).err,
      StartsWith("tritterctl get: no command is called `rums` (did you mean `runs`?)\nhint: "
                 "tritterctl get --help"));
  EXPECT_THAT(Tritterctl({}).err, Not(HasSubstr("no command is called")));
}

TEST(Usage, ATwinIsTakenByItsCommandAlone) {
  const std::string run = "examples/shakespeare/run.yaml";
  EXPECT_EQ(Tritterctl({"generate", "x"}, {"TRITTER_MAX_TOKENS=0"}).code, 2);
  EXPECT_EQ(Tritterctl({"validate", run}, {"TRITTER_MAX_TOKENS=0"}).code, 0);
  EXPECT_EQ(Tritterctl({"curate", "examples/shakespeare/input.txt"},
                       {"TRITTER_OUT=" + TempPath("shards"), "TRITTER_OUTPUT=name"})
                .out,
            TempPath("shards") + "\n")
      << "also of what must be given";
}

TEST(Usage, AnAnswerThatCannotBeWrittenIsAFailure) {
  for (const char* format : {"table", "json"}) {
    const Outcome full = Tritterctl({"validate", "examples/shakespeare/run.yaml", "-o", format}, {},
                                    /*full_disk=*/true);
    EXPECT_EQ(full.code, 1);
    EXPECT_THAT(full.err, AllOf(HasSubstr("stdout: write"), HasSubstr("free some space")));
  }
  FakeInference server;
  EXPECT_EQ(Tritterctl({"generate", "--server", server.address(), "a b"}, {}, true).code, 1);
}

TEST(Unreachable, IsThreeForEveryQuestionToTheServer) {
  const std::string nobody = "127.0.0.1:1";
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"get", "runs"},
                                             {"get", "workers"},
                                             {"describe", "r"},
                                             {"events"},
                                             {"events", "r", "--follow"},
                                             {"logs", "r"},
                                             {"logs", "r", "--follow"},
                                             {"wait", "r"},
                                             {"pause", "r"},
                                             {"submit", "examples/shakespeare/run.yaml"}}) {
    std::vector<std::string> arguments = {"--coordinator", nobody};
    arguments.insert(arguments.end(), command.begin(), command.end());
    const Outcome o = Tritterctl(arguments);
    EXPECT_EQ(o.code, 3) << command[0] << ": " << o.err;
    EXPECT_THAT(o.err, HasSubstr("cannot reach the coordinator at 127.0.0.1:1"));
    EXPECT_EQ(o.out, "");
  }
  const Outcome checked =
      Tritterctl({"validate", "examples/shakespeare/run.yaml", "--coordinator", nobody});
  EXPECT_EQ(checked.code, 3);
  EXPECT_EQ(checked.out, "");
  EXPECT_THAT(
      checked.err,
      AllOf(HasSubstr("examples/shakespeare/run.yaml: valid, as far as can be told here\n"),
            HasSubstr("cannot reach the coordinator at 127.0.0.1:1: nothing listens there; "),
            HasSubstr("hint: it was to check the file too; "), Not(HasSubstr("ipv4:"))));
  EXPECT_EQ(Tritterctl({"generate", "--server", nobody, "x"}).code, 3);
  EXPECT_EQ(Tritterctl({"get", "runs"}, {"TRITTER_COORDINATOR=127.0.0.1:1"}).code, 3)
      << "the twin of --coordinator";
}

TEST(Validate, NamesPlaceAndSuggestion) {
  const std::string path =
      Write("bad.yaml", "name: x\nmodel: {preset: nano}\ntrainning: {steps: 3}\n");
  const Outcome o = Tritterctl({"validate", path});
  EXPECT_EQ(o.code, 2);
  EXPECT_THAT(o.err, AllOf(HasSubstr(path + ":3:1"), HasSubstr("did you mean `training`?")));
  EXPECT_EQ(Tritterctl({"validate", "/nowhere.yaml"}).code, 2);
  EXPECT_EQ(Tritterctl({"submit", path, "--coordinator", "127.0.0.1:1"}).code, 2)
      << "checked here before anybody is asked";
  EXPECT_EQ(Tritterctl({"local", path}).code, 2);
}

TEST(Validate, PrintsTheEffectiveConfigurationWhichIsValidItself) {
  const Outcome o = Tritterctl({"validate", "examples/shakespeare/run.yaml"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_THAT(o.out, HasSubstr("shakespeare-nano"));
  EXPECT_EQ(Tritterctl({"validate", Write("again.yaml", o.out)}).out, o.out);
  EXPECT_EQ(Tritterctl({"validate", "examples/shakespeare/run.yaml", "-o", "name"}).out,
            "shakespeare-nano\n");
}

TEST(Validate, PrintsTheGroupsOfParameters) {
  const Outcome o = Tritterctl({"validate", "examples/shakespeare/run.yaml", "--groups"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_THAT(o.out, AllOf(HasSubstr("RATE FACTOR"), HasSubstr("attn.q"), HasSubstr("norm")));
  const Outcome json = Tritterctl({"validate", "examples/shakespeare/run.yaml", "-o", "json"});
  EXPECT_THAT(json.out, HasSubstr("\"group\": \"embedding\""));
}

TEST(Validate, AlsoAsksTheCoordinatorThatIsNamed) {
  FakeCoordinator coordinator;
  const Outcome o = Tritterctl(
      {"validate", "examples/shakespeare/run.yaml", "--coordinator", coordinator.address()});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(o.out, "name: resolved\n");
  const std::string text = *Env::Real()->ReadFile("examples/shakespeare/run.yaml");
  const std::string bad = Write(
      "absent.yaml", absl::StrReplaceAll(text, {{"shards: shards", "shards: no-such-shards"}}));
  const Outcome refused = Tritterctl({"validate", bad, "--coordinator", coordinator.address()});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("hint: curate the text first"));
}

class WithCoordinator : public ::testing::Test {
 protected:
  Outcome Ask(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--coordinator", coordinator_.address()});
    return Tritterctl(arguments);
  }
  FakeCoordinator coordinator_;
};

TEST_F(WithCoordinator, AnUnknownRunIsFiveWithTheServersHint) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"describe", "no"},
                                             {"get", "runs", "no"},
                                             {"get", "checkpoints", "no"},
                                             {"get", "epochs", "no"},
                                             {"clone", "no"},
                                             {"kill", "no"},
                                             {"events", "no", "--follow"},
                                             {"wait", "no"},
                                             {"logs", "no"},
                                             {"events", "no"},
                                             {"pause", "no"},
                                             {"cancel", "no"},
                                             {"delete", "no", "--yes"},
                                             {"export", "no", "--file", "x.tpack", "-o", "json"}}) {
    const Outcome o = Ask(command);
    EXPECT_EQ(o.code, 5) << command[0] << ": " << o.err;
    EXPECT_THAT(o.err,
                AllOf(HasSubstr("no run 'no'"), HasSubstr("hint: see: tritterctl get runs")));
  }
}

TEST_F(WithCoordinator, JsonKeepsItsShape) {
  const Outcome runs = Ask({"get", "runs", "-o", "json"});
  ASSERT_EQ(runs.code, 0) << runs.err;
  EXPECT_EQ(runs.err, "");
  const OrderedJson json = OrderedJson::parse(runs.out);
  EXPECT_EQ(json["runs"][0]["run_id"], "r-1");
  EXPECT_EQ(json["runs"][0]["state"], "running");
  EXPECT_EQ(json["runs"][0]["total_steps"], 100);
  EXPECT_EQ(json["runs"][0]["last_evaluation"][0]["bits_per_byte"], 2.314);
  const OrderedJson described = OrderedJson::parse(Ask({"describe", "demo", "-o", "json"}).out);
  EXPECT_EQ(described["run"]["name"], "demo");
  EXPECT_EQ(described["checkpoints"][0]["step"], 20);
  EXPECT_EQ(described["events"][0]["kind"], "epoch_formed");
  EXPECT_EQ(
      OrderedJson::parse(Ask({"get", "workers", "-o", "json"}).out)["workers"][0]["incarnation"],
      "0000000000000001");
  EXPECT_EQ(OrderedJson::parse(Ask({"events", "-o", "json"}).out)["events"][0]["id"], 7);
}

TEST_F(WithCoordinator, NamesAndTables) {
  EXPECT_EQ(Ask({"get", "runs", "-o", "name"}).out, "r-1\n");
  EXPECT_EQ(Ask({"list"}).out, Ask({"get", "runs"}).out);
  EXPECT_EQ(Ask({"get", "checkpoints", "demo", "-o", "name"}).out,
            "/elsewhere/checkpoints/step-00000020\n");
  EXPECT_THAT(Ask({"get", "runs"}).out, StartsWith("RUN"));
  EXPECT_THAT(Ask({"get", "runs", "-o", "wide"}).out, HasSubstr("COMMITTED"));
  EXPECT_THAT(Ask({"events", "-o", "wide"}).out, Ask({"events"}).out) << "no more columns";
  EXPECT_THAT(Ask({"get", "runs", "-o", "yaml"}).out, StartsWith("runs:\n  - run_id: r-1\n"));
  EXPECT_THAT(Ask({"describe", "demo"}).out, HasSubstr("40 of 100"));
  EXPECT_THAT(Ask({"logs", "demo"}).out, HasSubstr("worker-0 line 2\n"));
  EXPECT_EQ(Ask({"get", "epochs", "demo", "-o", "name"}).out, "2\n");
  EXPECT_THAT(Ask({"get", "epochs", "demo"}).out, HasSubstr("20 to 40"));
  EXPECT_THAT(Ask({"describe", "demo"}).out, HasSubstr("\nepochs\nEPOCH"))
      << "which epochs there were";
}

TEST_F(WithCoordinator, FollowedEventsEndWithTheRun) {
  v1::Run run = coordinator_.run();
  run.set_state(v1::RUN_STATE_FAILED);
  coordinator_.SetRun(run);
  const Outcome o = Ask({"events", "demo", "-f", "-o", "json"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(OrderedJson::parse(o.out)["id"], 7) << "one object a line";
}

TEST_F(WithCoordinator, FollowedLogsGoOnThroughARestartOfTheCoordinator) {
  const std::string out = TempPath("followed");
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c",
                  absl::StrCat("exec tritterctl/tritterctl logs demo -f --coordinator ",
                               coordinator_.address(), " >", out)};
  auto process = Subprocess::Start(options);
  ASSERT_OK(process);
  const auto shows = [&](absl::string_view text) {
    return absl::StrContains(Env::Real()->ReadFile(out).value_or(""), text);
  };
  while (!shows("line 2\n") && !(*process)->Wait(absl::Milliseconds(20)).has_value()) {
  }
  coordinator_.Stop();
  coordinator_.Start();
  v1::LogLine line;
  line.set_worker("worker-0");
  std::vector<v1::LogLine> lines;
  for (int i = 0; i < 4; ++i) {
    line.set_line(absl::StrCat("line ", i));
    lines.push_back(line);
  }
  coordinator_.SetLogs(lines);
  v1::Run run = coordinator_.run();
  run.set_state(v1::RUN_STATE_COMPLETED);
  coordinator_.SetRun(run);
  const std::optional<ExitStatus> exit = (*process)->Wait(absl::Seconds(30));
  ASSERT_TRUE(exit.has_value()) << "it does not end with the run";
  EXPECT_EQ(exit->code, 0);
  EXPECT_EQ(*Env::Real()->ReadFile(out),
            "- worker-0 line 0\n- worker-0 line 1\n- worker-0 line 2\n- worker-0 line 3\n");
}

TEST_F(WithCoordinator, PauseResumeCancel) {
  EXPECT_EQ(Ask({"resume", "demo"}).code, 2) << "it is not paused";
  EXPECT_THAT(Ask({"pause", "demo"}).out, HasSubstr("run demo (r-1) paused"));
  EXPECT_EQ(Ask({"resume", "demo", "-o", "name"}).out, "r-1\n");
  EXPECT_EQ(Ask({"cancel", "demo"}).code, 0);
  EXPECT_EQ(coordinator_.run().state(), v1::RUN_STATE_CANCELLED);
}

TEST_F(WithCoordinator, DeleteTakesAWordForItAndNamesTheRunByItsId) {
  // What cannot be is not asked about.
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"delete", "demo"}, {"delete", "demo", "--yes"}}) {
    const Outcome refused = Ask(command);
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(refused.err, AllOf(HasSubstr("it has not ended"), Not(HasSubstr("remove"))));
  }
  v1::Run run = coordinator_.run();
  run.set_state(v1::RUN_STATE_COMPLETED);
  coordinator_.SetRun(run);
  const Outcome silent = Ask({"delete", "demo"});
  EXPECT_EQ(silent.code, 2);
  EXPECT_THAT(silent.err, AllOf(HasSubstr("would remove run demo (r-1), completed, with "),
                                HasSubstr("give --yes")));
  EXPECT_TRUE(coordinator_.deleted().empty());
  const Outcome sure = Ask({"delete", "demo", "--yes"});
  EXPECT_EQ(sure.code, 0) << sure.err;
  EXPECT_THAT(sure.out, HasSubstr("deleted run demo (r-1), completed, with "));
  EXPECT_EQ(Ask({"delete", "demo", "-y", "-o", "name"}).out, "r-1\n");
  EXPECT_THAT(coordinator_.deleted(), testing::ElementsAre("r-1", "r-1"));
}

TEST_F(WithCoordinator, WhoNamesOneOfSeveralRunsIsToldWhichWasTaken) {
  v1::Run run = coordinator_.run();
  run.set_runs_of_name(2);
  coordinator_.SetRun(run);
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"describe", "demo"},
                                             {"get", "runs", "demo"},
                                             {"get", "checkpoints", "demo"},
                                             {"get", "epochs", "demo"},
                                             {"events", "demo"},
                                             {"logs", "demo"}}) {
    const Outcome o = Ask(command);
    EXPECT_EQ(o.code, 0) << command[0] << ": " << o.err;
    EXPECT_EQ(o.err, "2 runs are named demo; this is the newest, r-1\n") << command[0];
  }
}

TEST_F(WithCoordinator, KillEndsARunAndAChangeIsSentWithAnIdOfItsOwn) {
  EXPECT_EQ(Ask({"kill", "demo"}).code, 0);
  EXPECT_EQ(coordinator_.run().state(), v1::RUN_STATE_CANCELLED);
  const std::string run = "examples/shakespeare/run.yaml";
  EXPECT_EQ(Ask({"submit", run}).code, 0);
  EXPECT_EQ(Ask({"submit", run}).code, 0);
  ASSERT_EQ(coordinator_.submitted().size(), 2u);
  const std::string first = coordinator_.submitted()[0].idempotency_key();
  EXPECT_FALSE(first.empty());
  EXPECT_NE(first, coordinator_.submitted()[1].idempotency_key());
}

TEST_F(WithCoordinator, WaitSaysHowTheRunEnded) {
  EXPECT_EQ(Ask({"wait", "demo", "--timeout", "0.2"}).code, 7);
  v1::Run run = DemoRun();
  run.set_state(v1::RUN_STATE_FAILED);
  run.set_reason("loss is not finite");
  coordinator_.SetRun(run);
  const Outcome failed = Ask({"wait", "demo"});
  EXPECT_EQ(failed.code, 1);
  EXPECT_THAT(failed.out, HasSubstr("failed: loss is not finite"));
  run.set_state(v1::RUN_STATE_COMPLETED);
  coordinator_.SetRun(run);
  EXPECT_EQ(Ask({"wait", "demo"}).code, 0);
}

TEST_F(WithCoordinator, SubmitSendsTheFileAndItsFolder) {
  const Outcome o =
      Ask({"submit", "examples/shakespeare/run.yaml", "--idempotency-key", "k", "-o", "name"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(o.out, "r-1\n");
  const v1::SubmitRunRequest request = coordinator_.submitted().at(0);
  EXPECT_EQ(request.yaml(), *Env::Real()->ReadFile("examples/shakespeare/run.yaml"));
  EXPECT_THAT(request.base_dir(),
              AllOf(StartsWith("/"), ::testing::EndsWith("examples/shakespeare")));
  EXPECT_EQ(request.idempotency_key(), "k");
  EXPECT_THAT(Ask({"submit", "examples/shakespeare/run.yaml", "--idempotency-key", "k"}).err,
              HasSubstr("submitted before"));
}

TEST(Generate, StreamsTheTextAndNothingElse) {
  FakeInference server;
  const Outcome o = Tritterctl({"generate", "--server", server.address(), "to be or"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(o.out, "to;be;or;");
  const OrderedJson json = OrderedJson::parse(
      Tritterctl({"generate", "--server", server.address(), "a b", "-o", "json"}).out);
  EXPECT_EQ(json["text"], "a;b;");
  EXPECT_EQ(json["token_ids"].dump(), "[1,2]");
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(Tritterctl({"generate", "--server", server.address(), "--model", "missing", "x"}).code,
            5);
  EXPECT_EQ(
      Tritterctl({"generate", "--server", server.address(), "--max-tokens", "2000", "x"}).code, 2);
  EXPECT_EQ(Tritterctl({"generate", "--server", server.address(), "--timeout", "0.2", "hang"}).code,
            7);
  // Refused by itself, before the server is asked.
  EXPECT_THAT(Tritterctl({"generate", "x", "--logit-bias", "17"}).err,
              HasSubstr("--logit-bias 17: expected a token id"));
  EXPECT_THAT(Tritterctl({"generate", "x", "--logprobs", "2"}).err, HasSubstr("-o json"));
  EXPECT_EQ(Tritterctl({"generate", "x", "--min-p", "1.5"}).code, 2);
  EXPECT_THAT(Tritterctl({"generate", "x", "--json", "--json-schema", "s"}).err,
              HasSubstr("give one of them"));
  EXPECT_THAT(Tritterctl({"generate", "x", "--json-schema", "/nowhere/s.json"}).err,
              HasSubstr("/nowhere/s.json"));
  EXPECT_EQ(Tritterctl({"generate", "--server", server.address(), "a", "--logit-bias", "17:-100",
                        "--logprobs", "2", "-o", "json"})
                .code,
            0);
  EXPECT_THAT(Tritterctl({"score", "--server", server.address(), "abcd"}).out,
              HasSubstr("4 bytes, log-likelihood -4.0000 nats, 1.4427 bits/byte"));
}

TEST(Curate, MakesShardsThatVerifyAndADamagedOneDoesNot) {
  const std::string out = TempPath("shards");
  const Outcome made = Tritterctl({"curate", "examples/shakespeare/input.txt", "--out", out,
                                   "--heldout-text", TempPath("heldout.txt"), "-o", "json"});
  ASSERT_EQ(made.code, 0) << made.err;
  const OrderedJson json = OrderedJson::parse(made.out);
  EXPECT_EQ(json["heldout"]["raw_bytes"], 113687);
  EXPECT_EQ(Env::Real()->ReadFile(TempPath("heldout.txt"))->size(), 113687u);
  EXPECT_THAT(Tritterctl({"verify", out}).out, HasSubstr("valid shards"));

  const std::string shard = JoinPath(out, json["train"]["shards"][0]["file"].get<std::string>());
  EXPECT_THAT(Tritterctl({"verify", shard}).out,
              AllOf(HasSubstr("valid shard: "), EndsWith("MB\n")));
  const std::string alone = Write("alone.bin", *Env::Real()->ReadFile(shard));
  EXPECT_THAT(Tritterctl({"verify", alone}).out, HasSubstr("header and size only"));
  const Outcome manifest = Tritterctl({"verify", JoinPath(out, "manifest.json")});
  EXPECT_EQ(manifest.code, 2);
  EXPECT_THAT(manifest.err, HasSubstr("verify that: tritterctl verify " + out));
  std::string bytes = *Env::Real()->ReadFile(shard);
  bytes[5000] ^= 1;
  ASSERT_OK(WriteFileAtomically(Env::Real(), shard, bytes));
  const Outcome damaged = Tritterctl({"verify", out});
  EXPECT_EQ(damaged.code, 1);
  EXPECT_THAT(damaged.err, AllOf(HasSubstr(shard), HasSubstr("expected")));
  EXPECT_EQ(Tritterctl({"verify", shard}).code, 1);
  ASSERT_OK(Env::Real()->RemoveFile(JoinPath(out, "manifest.json")));
  EXPECT_EQ(Tritterctl({"verify", out}).code, 5);
}

TEST(Curate, SaysWhatIsWrong) {
  EXPECT_EQ(Tritterctl({"curate", "/nowhere", "--out", TempPath("o")}).code, 5);
  EXPECT_EQ(Tritterctl({"curate", "examples/shakespeare/input.txt"}).code, 2);
  EXPECT_EQ(Tritterctl({"verify", "/nowhere"}).code, 5);
  EXPECT_EQ(Tritterctl({"verify", Write("x.tpack", "not a model")}).code, 1);
}

TEST(Verify, WhatItCannotReadIsAWrongUseThatNamesTheKindsKnown) {
  const std::string folder = TempPath("folder");
  ASSERT_OK(Env::Real()->CreateDirs(folder));
  for (const std::string& path :
       {Write("notes.txt", "not a model"), Write("empty", ""), folder, Write("run.yaml", "a: 1")}) {
    const Outcome o = Tritterctl({"verify", path});
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_THAT(
        o.err, AllOf(HasSubstr("known are files .tpack, .safetensors"), Not(HasSubstr("damaged"))));
  }
  EXPECT_THAT(Tritterctl({"verify", Write("run.yaml", "a: 1")}).err,
              HasSubstr("tritterctl validate"));
  EXPECT_EQ(Tritterctl({"verify", Write("x.shard", "TRITSHR")}).code, 1);
}

TEST(Exchange, ImportsAndExportsWhatTheTransformersLibraryReads) {
  ModelConfig config;
  ApplyFamilyDefaults(Family::kBitnet, &config);
  config.hidden = 32, config.layers = 1, config.heads = 2, config.kv_heads = 1;
  config.head_dim = 16, config.ffn = 48, config.vocab = 264, config.context = 64;
  RandomWeights weights(config, 1);
  const std::string from = TempPath("m.safetensors"), checkpoint = TempPath("checkpoint"),
                    folder = TempPath("hf"), tpack = TempPath("m.tpack");
  for (const std::string& path : {checkpoint, folder}) ASSERT_OK(Env::Real()->RemoveTree(path));
  ASSERT_OK(ExportWeights(Env::Real(), &weights, from, {"safetensors"}).status());
  Outcome outcome = Tritterctl({"import", from, "--format", "checkpoint", "--file", checkpoint});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("checkpoint of"), HasSubstr("family: bitnet")));
  outcome = Tritterctl({"export", checkpoint, "--format", "hf", "--file", folder,
                        "--max-shard-size", "20kB", "-o", "json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"kind\": \"hf\""));
  EXPECT_THAT(outcome.err, StartsWith("exporting "));
  EXPECT_TRUE(Env::Real()->Exists(folder + "/model.safetensors.index.json"));
  EXPECT_THAT(Tritterctl({"verify", folder}).out, HasSubstr("valid hf: family bitnet"));
  outcome = Tritterctl({"import", folder, "--file", tpack, "--quiet"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  outcome = Tritterctl({"export", checkpoint, "--file", tpack, "-q"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(Tritterctl({"verify", tpack}).out, HasSubstr("run random step 40"));
  // A second export does not mix with the first; --masters is of one format.
  EXPECT_THAT(Tritterctl({"export", checkpoint, "--format", "hf", "--file", folder}).err,
              HasSubstr("name a new folder"));
  EXPECT_THAT(Tritterctl({"export", checkpoint, "--masters", "--file", tpack}).err,
              HasSubstr("--masters: is for format hf, actual tpack"));
  EXPECT_THAT(Tritterctl({"import", checkpoint, "--file", tpack}).err, HasSubstr("config.json"));
  // Plain weights become ternary ones; ternary ones are so already.
  EXPECT_THAT(Tritterctl({"import", from, "--ternary", "--file", tpack}).err,
              HasSubstr("leave --ternary out"));
  config.weight_rule = WeightRule::kNone;
  RandomWeights plain(config, 2);
  const std::string dense = TempPath("dense.safetensors");
  ASSERT_OK(ExportWeights(Env::Real(), &plain, dense, {"safetensors"}).status());
  // What a container cannot hold is a wrong use of it, whichever it is.
  const std::string other = TempPath("plain");
  ASSERT_OK(Env::Real()->RemoveTree(other));
  EXPECT_EQ(Tritterctl({"import", dense, "--format", "checkpoint", "--file", other}).code, 0);
  for (const char* format : {"tpack", "hf"}) {
    outcome = Tritterctl({"export", other, "--format", format, "--file", TempPath("no")});
    EXPECT_EQ(outcome.code, 2) << format;
    EXPECT_THAT(outcome.err, HasSubstr("weight_rule none cannot be packed")) << format;
  }
  outcome = Tritterctl({"import", dense, "--ternary", "--file", tpack});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("weight_rule: absmean"));
}

TEST(Convert, TakesTheTokenizerAlongOrSaysWhyNot) {
  ModelConfig config;
  ApplyFamilyDefaults(Family::kLlama, &config);
  config.hidden = config.ffn = 32;
  config.layers = 1;
  config.heads = config.kv_heads = 2;
  config.head_dim = 16;
  config.vocab = 272;
  config.context = 64;
  RandomWeights weights(config, 3);
  ExportOptions options;
  options.format = "hf";
  const std::string hf = TempPath("bpe_hf"), tpack = TempPath("bpe.tpack"),
                    beside = TempPath("bpe.tokenizer.json"), gguf = TempPath("bpe.gguf");
  ASSERT_OK(ExportWeights(Env::Real(), &weights, hf, options).status());
  const std::string tokenizer = BpeTestTokenizer().dump();
  ASSERT_OK(WriteFileAtomically(Env::Real(), hf + "/tokenizer.json", tokenizer));
  Outcome outcome = Tritterctl({"convert", hf, tpack, "--to", "tpack"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.find("tokenizer"), std::string::npos) << outcome.out;
  EXPECT_EQ(Env::Real()->ReadFile(beside).value_or(""), tokenizer);
  ASSERT_OK(Env::Real()->RemoveFile(beside));
  const std::vector<std::string> to_gguf = {"convert", tpack,    gguf, "--to",
                                            "gguf",    "--type", "f32"};
  outcome = Tritterctl(to_gguf);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("not kept: its tokenizer: "));
  EXPECT_THAT(outcome.out, HasSubstr("-bpe.tokenizer.json: missing"));
  std::vector<std::string> named = to_gguf;
  named.insert(named.end(), {"--tokenizer", hf});
  outcome = Tritterctl(named);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.find("tokenizer"), std::string::npos) << outcome.out;
  named.back() = TempPath("nowhere.json");
  EXPECT_THAT(Tritterctl(named).err, HasSubstr("nowhere.json: missing"));
}

TEST(Convert, WritesEveryContainerFromEveryOther) {
  ModelConfig config;
  ApplyFamilyDefaults(Family::kBitnet, &config);
  config.hidden = 256, config.layers = 1, config.heads = 4, config.kv_heads = 2;
  config.head_dim = 64, config.ffn = 256, config.vocab = 264, config.context = 64;
  RandomWeights weights(config, 1);
  Env* const env = Env::Real();
  const std::string tpack = TempPath("m.tpack"), gguf = TempPath("m.gguf"), hf = TempPath("hf"),
                    back = TempPath("back.tpack");
  ASSERT_OK(env->RemoveTree(hf));
  ASSERT_OK(ExportWeights(env, &weights, tpack, {}).status());
  // Nothing is lost where scales stand beside the matrices and the embedding stays as it is.
  Outcome outcome = Tritterctl({"convert", tpack, gguf, "--to", "gguf", "--architecture", "bitnet",
                                "--type", "tq1_0", "--embeddings", "f32", "-o", "json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\"kind\": \"gguf\""), HasSubstr("SiLU")));
  EXPECT_THAT(Tritterctl({"verify", gguf}).out, HasSubstr("valid gguf: family bitnet"));
  outcome = Tritterctl({"convert", gguf, hf, "--to", "hf"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("hf of "), ::testing::Not(HasSubstr("not kept"))));
  outcome = Tritterctl({"convert", hf, back, "--to", "tpack", "-q"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto first = TpackFile::Open(env, tpack), second = TpackFile::Open(env, back);
  ASSERT_OK(first.status());
  ASSERT_OK(second.status());
  for (const std::string& name : (*first)->names()) {
    EXPECT_EQ((*first)->Get(name)->data, (*second)->Get(name)->data) << name;
    EXPECT_EQ((*first)->Get(name)->scales, (*second)->Get(name)->scales) << name;
  }
  // What another type rounds is said.
  outcome = Tritterctl({"convert", tpack, gguf, "--to", "gguf"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("not kept: "), HasSubstr("rounded to F16"),
                                 HasSubstr("scales of matrices rounded to TQ2_0")));
  EXPECT_THAT(Tritterctl({"convert", tpack, gguf, "--to", "tpack", "--type", "f16"}).err,
              HasSubstr("--type: is for --to gguf, actual tpack"));
  EXPECT_EQ(Tritterctl({"convert", tpack, gguf}).code, 2);
  std::string bytes = *env->ReadFile(gguf);
  ASSERT_OK(WriteFileAtomically(env, gguf, bytes.substr(0, bytes.size() - 64)));
  outcome = Tritterctl({"verify", gguf});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(gguf), HasSubstr("offset"), HasSubstr("expected")));
}

TEST(Plan, SaysWhatFitsOfWhatAndWhere) {
  Outcome outcome = Tritterctl({"plan", "--preset", "7B", "--device", "16GB,wayland"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("12.7 GB of it are safe to use"),
                    HasSubstr("full training, BF16, 8-bit moments: needs"), HasSubstr("moments 12"),
                    HasSubstr("inference, resident"), HasSubstr("only the memory is known"),
                    HasSubstr("precision: auto is BF16 on a GPU\nworkers: 1 makes the whole")));
  outcome = Tritterctl({"plan", "--preset", "nano", "--device", "cpu,24GB", "-o", "json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("21600000000"), HasSubstr("\"process\": 1"),
                                 HasSubstr("\"workers\": 1")));
  EXPECT_THAT(Tritterctl({"plan", "--preset", "nano", "--device", "cpu,24GB"}).out,
              ContainsRegex("precision: auto is (FP32|BF16) on this machine's processor\n"));
  outcome = Tritterctl({"plan", "--preset", "7B", "--device", "H100", "--workers", "8"});
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("are safe to use by each of 8 workers"),
                                 HasSubstr("8-bit moments, shared by 8 workers"),
                                 HasSubstr("workers: 8 share a step")));
  EXPECT_THAT(Tritterctl({"plan", "--preset", "7B", "--device", "16GB,beos"}).err,
              HasSubstr("no device is called `beos`"));
  EXPECT_THAT(Tritterctl({"plan", "--preset", "7B", "--device", "cpu"}).err,
              HasSubstr("names no device"));
}

}  // namespace
}  // namespace tritter
