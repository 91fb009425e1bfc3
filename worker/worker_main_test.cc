// The real binary: comes up without a coordinator, tells its health and metrics, ends as SIGTERM
// asks, refuses bad flags.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "nlohmann/json.hpp"
#include "tests/testing/server_surface.h"
#include "tritter/v1/errors.pb.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter {
namespace {

using testing::HasSubstr;

std::unique_ptr<Subprocess> Launch(std::vector<std::string> flags) {
  SubprocessOptions options;
  options.argv = {"worker/tritter_worker", "--threads", "1"};
  options.argv.insert(options.argv.end(), flags.begin(), flags.end());
  options.output = SubprocessOptions::Output::kPipe;
  auto process = Subprocess::Start(options);
  EXPECT_OK(process.status());
  return *std::move(process);
}

nlohmann::json Await(Subprocess& process, const std::string& ready) {
  while (!Env::Real()->Exists(ready)) {
    if (process.Wait(absl::Milliseconds(10)).has_value()) {
      ADD_FAILURE() << process.ReadOutput();
      return {{"name", ""}, {"device", ""}, {"address", ""}, {"metrics_address", ""}};
    }
  }
  return nlohmann::json::parse(*Env::Real()->ReadFile(ready));
}

// Takes every worker and has nothing to do for it.
class IdleCoordinator final : public v1::WorkerService::Service {
 public:
  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest*,
                        v1::RegisterResponse* response) override {
    response->set_heartbeat_interval_ms(50);
    return grpc::Status::OK;
  }
  grpc::Status Session(grpc::ServerContext*,
                       grpc::ServerReaderWriter<v1::Command, v1::Heartbeat>* stream) override {
    if (!refusal.empty())
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "another process", refusal);
    for (v1::Heartbeat heartbeat; stream->Read(&heartbeat);) {
      if (!heard_.HasBeenNotified()) heard_.Notify();
    }
    return grpc::Status::OK;
  }
  void AwaitSession() { heard_.WaitForNotification(); }
  std::string refusal;  // a v1::ErrorDetail; "": none. Set before there is a session.

 private:
  absl::Notification heard_;
};

TEST(WorkerMain, ShowsHealthReflectionAndMetricsOnceTheCoordinatorKnowsIt) {
  IdleCoordinator coordinator;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&coordinator);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const std::string ready = JoinPath(testing::TempDir(), "worker_shown.json");
  ASSERT_OK(Env::Real()->RemoveTree(ready));
  auto process = Launch({"--coordinator", absl::StrCat("127.0.0.1:", port), "--ready-file", ready});
  const nlohmann::json json = Await(*process, ready);
  ASSERT_NE(json["address"], "");
  coordinator.AwaitSession();
  ExpectServerSurface({"worker", json["address"], json["metrics_address"], {}});
  process->Signal(SIGTERM);
  EXPECT_TRUE(process->Wait(absl::Seconds(60)).has_value());
  server->Shutdown(std::chrono::system_clock::now());
}

TEST(WorkerMain, ComesUpWithoutACoordinatorAndLeavesOnSigterm) {
  const std::string ready = JoinPath(testing::TempDir(), "worker_ready.json");
  ASSERT_OK(Env::Real()->RemoveTree(ready));
  auto process =
      Launch({"--coordinator", "127.0.0.1:1", "--name", "worker-a", "--ready-file", ready});
  const nlohmann::json json = Await(*process, ready);
  EXPECT_EQ(json["name"], "worker-a");
  EXPECT_THAT(std::string(json["device"]), HasSubstr("cpu"));
  const auto channel = grpc::CreateChannel(json["address"], grpc::InsecureChannelCredentials());
  EXPECT_TRUE(
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30)));
  int status = 0;
  EXPECT_THAT(HttpGet(json["metrics_address"], "/healthz", &status),
              testing::StartsWith("no session with the coordinator at 127.0.0.1:1: "));
  EXPECT_EQ(status, 503);
  process->Signal(SIGTERM);
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  const std::string output = process->ReadOutput();
  EXPECT_TRUE(exit->ok()) << exit->ToString() << output;
  EXPECT_THAT(
      output,
      HasSubstr("--device is auto, no GPU: th"));  // why the device is this one: "this machine has
                                                   // no NVIDIA driver", "there is no library …"
}

// No end as any other: supervisors and people should see that another process has its name.
TEST(WorkerMain, WhoHasLostItsNameEndsWithCodeTwo) {
  IdleCoordinator coordinator;
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::STALE_INCARNATION);
  coordinator.refusal = detail.SerializeAsString();
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&coordinator);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  auto process = Launch({"--coordinator", absl::StrCat("127.0.0.1:", port)});
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 2) << exit->ToString();
  EXPECT_THAT(process->ReadOutput(), HasSubstr("superseded"));
}

TEST(WorkerMain, WrongUseIsExitCodeTwoAndNamesTheFlag) {
  for (const auto& [flags, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--threads", "-3"}, "--threads"},
           {{"--device", "cuda"}, "--device is cuda, but there is no libtritter_worker_cuda.so"},
           {{"--device", "tpu"}, "--device is tpu"},
           {{"--advertise-host", "10.1.2.3"}, "--advertise-host"},
           {{"--nonsense"}, "nonsense"}}) {
    std::vector<std::string> all = {"--coordinator", "127.0.0.1:1"};
    all.insert(all.end(), flags.begin(), flags.end());
    auto process = Launch(all);
    const auto exit = process->Wait(absl::Seconds(60));
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 2);
    EXPECT_THAT(process->ReadOutput(), HasSubstr(message));
  }
}

}  // namespace
}  // namespace tritter
