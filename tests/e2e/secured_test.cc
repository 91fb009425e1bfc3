// A coordinator that speaks TLS and asks for tokens, with our own worker and command line: they
// join and a run is trained; who comes without, or with the wrong one, hears what to do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "access/testing/certificates.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "nlohmann/json.hpp"
#include "tests/e2e/cluster.h"

namespace tritter::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Secured : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = TempFolder("secured");
    setenv("TRITTER_CONFIG", In("config.yaml").c_str(), 1);
    ASSERT_OK(MakeShards(folder_));
    const PemPair server = authority_.Issue("coordinator");
    Write("ca.pem", authority_.pem());
    Write("other.pem", TestAuthority("another authority").pem());
    Write("server.pem", server.certificate);
    Write("server.key", server.key);
    Write("access.yaml", absl::StrCat("tokens:\n", Token("gpu7", {"worker"}),
                                      Token("alice", {"submit", "operate"}),
                                      Token("looker", {"read"}), Token("deployer", {"operate"})));
  }

  std::string In(const std::string& name) const { return JoinPath(folder_, name); }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_OK(WriteFileAtomically(Env::Real(), In(name), text));
  }

  // `tritterctl`, whatever else it is told.
  static RunResult Ctl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), Binary("tritterctl"));
    auto result = RunCommand(std::move(arguments), absl::Seconds(120));
    EXPECT_OK(result.status());
    return result.ok() ? *result : RunResult{};
  }

  // A token in NAME.token, as an administrator makes it; its entry of the access file.
  std::string Token(const std::string& name, const std::vector<std::string>& roles) {
    std::vector<std::string> command = {"token", name, "--out", In(name + ".token"), "-o", "json"};
    for (const std::string& role : roles) command.insert(command.end(), {"--role", role});
    const RunResult made = Ctl(command);
    EXPECT_EQ(made.exit.code, 0) << made.output;
    const auto json = nlohmann::json::parse(made.output, nullptr, false);
    if (json.is_discarded()) return "";
    EXPECT_FALSE(json.contains("token"));  // it is in the file alone
    return absl::StrCat("  - {name: ", name, ", roles: ", json["roles"].dump(),
                        ", sha256: ", json["sha256"].get<std::string>(), "}\n");
  }

  // Asks until the answer has `word` in it.
  static RunResult CtlUntil(const std::string& word, const std::vector<std::string>& arguments) {
    RunResult last;
    for (int i = 0; i < 300; ++i) {
      last = Ctl(arguments);
      if (last.output.find(word) != std::string::npos) return last;
      Clock::Real()->Sleep(absl::Milliseconds(100));
    }
    ADD_FAILURE() << word << " never appeared: " << last.output;
    return last;
  }

  TestAuthority authority_;
  std::string folder_;
};

TEST_F(Secured, WorkersAndPeopleJoinWithTlsAndATokenAndNobodyElse) {
  Cluster cluster(folder_);
  ASSERT_OK(cluster.StartCoordinator(
      {.flags = {"--tls-cert", In("server.pem"), "--tls-key", In("server.key"), "--access-file",
                 In("access.yaml"), "--root", folder_}}));
  ASSERT_OK(cluster.StartWorker("gpu7", {.flags = {"--tls-ca", In("ca.pem"), "--token-file",
                                                   In("gpu7.token"), "--root", folder_}}));
  // The token of a person is not one of a worker.
  ASSERT_OK(cluster.StartWorker(
      "intruder", {.flags = {"--tls-ca", In("ca.pem"), "--token-file", In("looker.token")}}));
  Write("config.yaml",
        absl::StrCat("current: alice\ncontexts:\n  - {name: alice, coordinator: \"",
                     cluster.address(), "\", tls_ca: ca.pem, token_file: alice.token}\n",
                     "  - {name: looker, coordinator: \"", cluster.address(),
                     "\", tls_ca: ca.pem, token_file: looker.token}\n",
                     "  - {name: stranger, coordinator: \"", cluster.address(),
                     "\", tls_ca: ca.pem}\n", "  - {name: plain, coordinator: \"",
                     cluster.address(), "\"}\n", "  - {name: deceived, coordinator: \"",
                     cluster.address(), "\", tls_ca: other.pem, token_file: alice.token}\n",
                     "  - {name: renamed, coordinator: \"", cluster.address(),
                     "\", tls_ca: ca.pem, tls_server_name: somebody, token_file: alice.token}\n"));

  EXPECT_THAT(Ctl({"whoami"}).output, HasSubstr("alice: read, submit, operate"));
  const RunResult workers = CtlUntil("gpu7", {"get", "workers", "-o", "name"});
  EXPECT_THAT(workers.output, testing::Not(HasSubstr("intruder")));
  Write("run.yaml",
        RunYaml("guarded",
                {{"steps", "12"}, {"every", "6"}, {"min", "1"}, {"max", "1"}, {"evaluate", "12"}}));
  const RunResult submitted = Ctl({"submit", In("run.yaml")});
  ASSERT_EQ(submitted.exit.code, 0) << submitted.output;
  const RunResult done = Ctl({"wait", "guarded", "--timeout", "100"});
  EXPECT_EQ(done.exit.code, 0) << done.output << cluster.LogTails();
  EXPECT_THAT(Ctl({"audit"}).output, AllOf(HasSubstr("alice"), HasSubstr("SubmitRun")));

  const RunResult looker = Ctl({"--context", "looker", "cancel", "guarded"});
  EXPECT_EQ(looker.exit.code, 6) << looker.output;
  EXPECT_THAT(looker.output, HasSubstr("operate"));
  const RunResult stranger = Ctl({"--context", "stranger", "get", "runs"});
  EXPECT_EQ(stranger.exit.code, 6) << stranger.output;
  const RunResult plain = Ctl({"--context", "plain", "get", "runs"});
  EXPECT_EQ(plain.exit.code, 3) << plain.output;
  EXPECT_THAT(plain.output, HasSubstr("give --tls-ca"));
  const RunResult deceived = Ctl({"--context", "deceived", "get", "runs"});
  EXPECT_EQ(deceived.exit.code, 3) << deceived.output;
  EXPECT_THAT(deceived.output, HasSubstr("signed by --tls-ca"));
  const RunResult renamed = Ctl({"--context", "renamed", "get", "runs"});
  EXPECT_EQ(renamed.exit.code, 3) << renamed.output;
  EXPECT_THAT(renamed.output, HasSubstr("(--tls-server-name)"));
}

TEST_F(Secured, AJobServesOnAServerThatSpeaksTlsAndAsksForATokenOfRoleOperate) {
  ASSERT_OK(Env::Real()->CreateDirs(In("models")));
  ASSERT_OK_AND_ASSIGN(auto server,
                       ModelServer::Start(folder_, {"--model-root", In("models"), "--tls-cert",
                                                    In("server.pem"), "--tls-key", In("server.key"),
                                                    "--access-file", In("access.yaml")}));
  Cluster cluster(folder_);
  const std::vector<std::string> served = {
      "--inference-server", server->address(), "--model-root",          In("models"),
      "--inference-tls-ca", In("ca.pem"),      "--inference-token-file"};
  std::vector<std::string> flags = served;
  flags.push_back(In("looker.token"));
  ASSERT_OK(cluster.StartCoordinator({.flags = flags}));
  ASSERT_OK(cluster.StartWorker("w"));
  ASSERT_OK_AND_ASSIGN(
      const std::string trained,
      cluster.Submit(RunYaml(
          "trained",
          {{"steps", "12"}, {"every", "6"}, {"min", "1"}, {"max", "1"}, {"evaluate", "12"}})));
  ASSERT_OK_AND_ASSIGN(const v1::Run done, cluster.WaitForEnd(trained));
  ASSERT_EQ(done.state(), v1::RUN_STATE_COMPLETED) << done.reason();
  const std::string job = "name: online\njob: serve\nof: trained\nserve: {model: shakespeare}\n";
  ASSERT_OK_AND_ASSIGN(const std::string refused, cluster.Submit(job));
  ASSERT_OK_AND_ASSIGN(const v1::Run failed, cluster.WaitForEnd(refused));
  EXPECT_EQ(failed.state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(failed.reason(), AllOf(HasSubstr("operate"), HasSubstr(server->address())));

  cluster.KillCoordinator();
  flags = served;
  flags.push_back(In("deployer.token"));
  ASSERT_OK(cluster.StartCoordinator({.flags = flags}));
  const RunResult again = Ctl({"--coordinator", cluster.address(), "resume", "online"});
  EXPECT_EQ(again.exit.code, 0) << again.output;
  ASSERT_OK_AND_ASSIGN(const v1::Run online, cluster.WaitForEnd(refused));
  EXPECT_EQ(online.state(), v1::RUN_STATE_COMPLETED) << online.reason();
  const RunResult said = Ctl({"generate", "--server", server->address(), "--tls-ca", In("ca.pem"),
                              "--token-file", In("alice.token"), "--max-tokens", "8", "ROMEO:"});
  EXPECT_NE(said.exit.code, 0) << "alice has no role infer: " << said.output;
  EXPECT_THAT(said.output, HasSubstr("infer"));
}

}  // namespace
}  // namespace tritter::e2e
