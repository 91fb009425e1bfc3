// The real binary: comes up without a coordinator, tells its health and metrics, ends as SIGTERM
// asks, refuses bad flags.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <string>
#include <vector>

#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

using testing::HasSubstr;

std::unique_ptr<Subprocess> Launch(std::vector<std::string> flags) {
  SubprocessOptions options;
  options.argv = {"worker/tritter_worker", "--coordinator", "127.0.0.1:1", "--threads", "1"};
  options.argv.insert(options.argv.end(), flags.begin(), flags.end());
  options.output = SubprocessOptions::Output::kPipe;
  auto process = Subprocess::Start(options);
  EXPECT_OK(process.status());
  return *std::move(process);
}

TEST(WorkerMain, ComesUpWithoutACoordinatorAndLeavesOnSigterm) {
  const std::string ready = JoinPath(testing::TempDir(), "worker_ready.json");
  ASSERT_OK(Env::Real()->RemoveTree(ready));
  auto process = Launch({"--name", "worker-a", "--ready-file", ready});
  while (!Env::Real()->Exists(ready)) {
    ASSERT_FALSE(process->Wait(absl::Milliseconds(10)).has_value()) << process->ReadOutput();
  }
  ASSERT_OK_AND_ASSIGN(const std::string text, Env::Real()->ReadFile(ready));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["name"], "worker-a");
  EXPECT_THAT(std::string(json["device"]), HasSubstr("cpu"));
  const auto channel = grpc::CreateChannel(json["address"], grpc::InsecureChannelCredentials());
  EXPECT_TRUE(
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30)));
  EXPECT_FALSE(std::string(json["metrics_address"]).empty());
  process->Signal(SIGTERM);
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->ToString() << process->ReadOutput();
}

TEST(WorkerMain, WrongUseIsExitCodeTwoAndNamesTheFlag) {
  for (const auto& [flags, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--threads", "-3"}, "--threads"},
           {{"--device", "tpu"}, "--device"},
           {{"--advertise-host", "10.1.2.3"}, "--advertise-host"},
           {{"--nonsense"}, "nonsense"}}) {
    auto process = Launch(flags);
    const auto exit = process->Wait(absl::Seconds(60));
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 2);
    EXPECT_THAT(process->ReadOutput(), HasSubstr(message));
  }
}

TEST(WorkerMain, CudaThatIsNotThereIsAnErrorAndNoFallback) {
  auto process = Launch({"--device", "cuda"});
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 1);
  EXPECT_THAT(process->ReadOutput(), HasSubstr("no CUDA device"));
}

}  // namespace
}  // namespace tritter
