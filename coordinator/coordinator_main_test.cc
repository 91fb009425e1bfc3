// The real binary: starts, serves, refuses what it must with one sentence and its exit code, and
// ends on SIGTERM.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "tests/testing/server_surface.h"
#include "tritter/v1/runs.grpc.pb.h"

namespace tritter {
namespace {

using testing::HasSubstr;

class CoordinatorMainTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(testing::TempDir(), "/coordinatorXXXXXX");
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Subprocess> Launch(const std::string& name, std::vector<std::string> flags) {
    SubprocessOptions options;
    options.argv = {"coordinator/tritter_coordinator", "--ready-file", Ready(name)};
    options.argv.insert(options.argv.end(), flags.begin(), flags.end());
    options.output = SubprocessOptions::Output::kPipe;
    absl::StatusOr<std::unique_ptr<Subprocess>> process = Subprocess::Start(options);
    EXPECT_OK(process);
    return *std::move(process);
  }
  std::string Ready(const std::string& name) const {
    return absl::StrCat(folder_, "/", name, ".json");
  }
  std::string Data(const std::string& name) const { return absl::StrCat(folder_, "/", name); }
  nlohmann::json Await(Subprocess& process, const std::string& name) {
    while (!Env::Real()->Exists(Ready(name))) {
      if (process.Wait(absl::Milliseconds(10)).has_value()) {
        ADD_FAILURE() << process.ReadOutput();
        return {{"address", ""}};
      }
    }
    return nlohmann::json::parse(*Env::Real()->ReadFile(Ready(name)));
  }
  void ExpectExit(Subprocess& process, int code, const std::string& text) {
    const std::optional<ExitStatus> exit = process.Wait(absl::Seconds(60));
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, code);
    EXPECT_THAT(process.ReadOutput(), HasSubstr(text));
  }

  std::string folder_;
};

TEST_F(CoordinatorMainTest, ServesUntilSigtermAndStartsAgainOnItsStore) {
  for (const std::string round : {"first", "second"}) {
    auto process = Launch(round, {"--listen", "127.0.0.1:0", "--data-dir", Data("store")});
    const nlohmann::json ready = Await(*process, round);
    auto stub = v1::RunService::NewStub(grpc::CreateChannel(ready["address"].get<std::string>(),
                                                            grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::ListRunsResponse response;
    EXPECT_TRUE(stub->ListRuns(&context, v1::ListRunsRequest(), &response).ok());
    EXPECT_EQ(ready["pid"].get<int64_t>(), process->pid());
    process->Signal(SIGTERM);
    const std::optional<ExitStatus> exit = process->Wait(absl::Seconds(60));
    ASSERT_TRUE(exit.has_value());
    EXPECT_TRUE(exit->ok()) << process->ReadOutput();
  }
}

TEST_F(CoordinatorMainTest, ShowsHealthReflectionAndMetrics) {
  auto process = Launch("shown", {"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                                  "--data-dir", Data("store")});
  const nlohmann::json ready = Await(*process, "shown");
  ExpectServerSurface(
      {"coordinator",
       ready["address"],
       ready["metrics_address"],
       {"tritter.v1.RunService", "tritter.v1.WorkerService", "tritter.v1.AccessService"}});
}

TEST_F(CoordinatorMainTest, RefusesASecondCoordinatorAPortInUseAndAForeignStore) {
  auto first = Launch("first", {"--listen", "127.0.0.1:0", "--data-dir", Data("store")});
  const nlohmann::json ready = Await(*first, "first");
  auto second = Launch("second", {"--listen", "127.0.0.1:0", "--data-dir", Data("store")});
  ExpectExit(*second, 1, absl::StrCat(first->pid()));
  auto third = Launch(
      "third", {"--listen", ready["address"].get<std::string>(), "--data-dir", Data("other")});
  ExpectExit(*third, 1, "in use");
  std::filesystem::create_directories(Data("foreign"));
  std::ofstream(Data("foreign") + "/coordinator.db") << std::string(5000, 'x');
  auto fourth = Launch("fourth", {"--listen", "127.0.0.1:0", "--data-dir", Data("foreign")});
  ExpectExit(*fourth, 1, "not a database");
}

TEST_F(CoordinatorMainTest, BacksUpWhileItServesAndStartsOnWhatIsRestored) {
  auto serving = Launch("serving", {"--listen", "127.0.0.1:0", "--data-dir", Data("store")});
  Await(*serving, "serving");
  auto backup = Launch("b", {"backup", "--data-dir", Data("store"), "--to", Data("backup.db")});
  ExpectExit(*backup, 0, "backed up store store-");
  auto again = Launch("g", {"backup", "--data-dir", Data("store"), "--to", Data("backup.db")});
  ExpectExit(*again, 1, "is there already");
  auto restore = Launch("r", {"restore", "--data-dir", Data("other"), "--from", Data("backup.db")});
  ExpectExit(*restore, 0, "restored store store-");
  auto restored = Launch("restored", {"--listen", "127.0.0.1:0", "--data-dir", Data("other")});
  EXPECT_NE(Await(*restored, "restored")["address"], "");
}

TEST_F(CoordinatorMainTest, APasswordInTheAddressOfTheStoreIsRefusedAndNotRepeated) {
  auto process = Launch("open", {"--data-dir", Data("store"), "--store",
                                 "postgresql://tritter:geheim@127.0.0.1/tritter"});
  const std::optional<ExitStatus> exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 2);
  const std::string said = process->ReadOutput();
  EXPECT_THAT(said, HasSubstr("--store: the address has a password in it"));
  EXPECT_THAT(said, testing::Not(HasSubstr("geheim")));
}

TEST_F(CoordinatorMainTest, RefusesWrongUseWithExitCodeTwo) {
  auto open = Launch("open", {"--listen", "0.0.0.0:0", "--data-dir", Data("store")});
  ExpectExit(*open, 2, "--insecure");
  auto nowhere = Launch("nowhere", {"--listen", "127.0.0.1:0"});
  ExpectExit(*nowhere, 2, "--data-dir");
  auto weight = Launch("weight", {"--data-dir", Data("store"), "--project-weight", "speech=0"});
  ExpectExit(*weight, 2, "\"speech=0\" is not NAME=WEIGHT with a weight from 0.001 to 1000");
  auto twice = Launch(
      "twice", {"--data-dir", Data("store"), "--project-weight", "a=2", "--project-weight", "a=3"});
  ExpectExit(*twice, 2, "project a has two weights");
  auto flag = Launch("flag", {"--lisen", "127.0.0.1:0"});
  ExpectExit(*flag, 2, "--help");
}

}  // namespace
}  // namespace tritter
