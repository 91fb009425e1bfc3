// The real binary: starts, answers, refuses bad input, and ends as SIGTERM asks.
#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "access/testing/certificates.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/grpc_predict_v2.grpc.pb.h"
#include "inference/testing/http_client.h"
#include "inference/testing/tiny_models.h"
#include "nlohmann/json.hpp"
#include "tests/testing/random_model.h"
#include "tests/testing/server_surface.h"
#include "tritter/v1/inference.grpc.pb.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

class InferenceMainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = JoinPath(::testing::TempDir(),
                       ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(Env::Real()->CreateDirs(folder_));
    model_ = JoinPath(folder_, "tiny.tpack");
    ready_ = JoinPath(folder_, "ready.json");
    ASSERT_OK(WriteRandomModel(Env::Real(), model_, TinyConfig(), 5));
  }
  std::unique_ptr<Subprocess> Launch(std::vector<std::string> flags) {
    SubprocessOptions options;
    options.argv = {
        "inference/tritter_inference", "--model", model_, "--ready-file", ready_, "--threads", "1"};
    options.argv.insert(options.argv.end(), flags.begin(), flags.end());
    options.output = SubprocessOptions::Output::kPipe;
    auto process = Subprocess::Start(options);
    EXPECT_OK(process.status());
    return *std::move(process);
  }
  std::string AwaitAddress(Subprocess& process) { return Await(process)["address"]; }
  nlohmann::json Await(Subprocess& process) {
    while (!Env::Real()->Exists(ready_)) {
      if (process.Wait(absl::Milliseconds(10)).has_value()) {
        ADD_FAILURE() << process.ReadOutput();
        return {{"address", ""}, {"metrics_address", ""}};
      }
    }
    return nlohmann::json::parse(*Env::Real()->ReadFile(ready_));
  }

  std::string folder_, model_, ready_;
};

TEST_F(InferenceMainTest, ServesAndFinishesRunningRequestsAfterSigterm) {
  auto process = Launch({"--listen", "127.0.0.1:0", "--verify"});
  const std::string address = AwaitAddress(*process);
  auto stub = v1::InferenceService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_text("x");
  request.set_max_tokens(250);
  request.set_ignore_eos(true);
  auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  process->Signal(SIGTERM);
  while (reader->Read(&response)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(response.usage().generated_tokens(), 250);
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->ToString() << process->ReadOutput();
}

// A model that takes for ever to load: its first file is a pipe, which somebody has open for
// writing and writes nothing to.
class EndlessModel {
 public:
  explicit EndlessModel(const std::string& folder) : pipe_(JoinPath(folder, "config.json")) {
    EXPECT_OK(Env::Real()->CreateDirs(folder));
    EXPECT_EQ(mkfifo(pipe_.c_str(), 0600), 0);
  }
  ~EndlessModel() { close(writer_); }
  // Returns when somebody reads it.
  void AwaitReader() { writer_ = open(pipe_.c_str(), O_WRONLY | O_CLOEXEC); }

 private:
  const std::string pipe_;
  int writer_ = -1;
};

TEST_F(InferenceMainTest, SigtermDoesNotWaitForALoadThatAClientAskedFor) {
  const std::string root = JoinPath(folder_, "root");
  EndlessModel slow(JoinPath(root, "slow"));
  auto process = Launch({"--listen", "127.0.0.1:0", "--model-root", root});
  auto stub = inference::GRPCInferenceService::NewStub(
      grpc::CreateChannel(AwaitAddress(*process), grpc::InsecureChannelCredentials()));
  grpc::Status status;
  std::thread client([&] {
    grpc::ClientContext context;
    inference::RepositoryModelLoadRequest request;
    inference::RepositoryModelLoadResponse response;
    request.set_model_name("slow");
    status = stub->RepositoryModelLoad(&context, request, &response);
  });
  slow.AwaitReader();
  process->Signal(SIGTERM);
  client.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("going down; loading model \"slow\" of"));
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->ToString() << process->ReadOutput();
}

TEST_F(InferenceMainTest, SigtermDoesNotWaitForALoadAtTheStart) {
  EndlessModel slow(JoinPath(folder_, "slow"));
  auto process = Launch({"--listen", "127.0.0.1:0", "--model", JoinPath(folder_, "slow")});
  slow.AwaitReader();
  process->Signal(SIGTERM);
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->ToString() << process->ReadOutput();
}

// SIGTERM while clients of both fronts are at work: every answer that began is finished whole,
// whoever comes later is told to go elsewhere, and the exit code is 0.
TEST_F(InferenceMainTest, SigtermUnderLoadLosesNothing) {
  auto process = Launch({"--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"});
  const nlohmann::json ready = Await(*process);
  const std::string http = ready["http_address"];
  auto stub = v1::InferenceService::NewStub(
      grpc::CreateChannel(ready["address"], grpc::InsecureChannelCredentials()));
  std::atomic<int> begun{0}, whole{0}, refused{0}, lost{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      for (;;) {
        grpc::ClientContext context;
        v1::GenerateRequest request;
        request.set_text("x");
        request.set_max_tokens(200);
        request.set_ignore_eos(true);
        auto reader = stub->Generate(&context, request);
        v1::GenerateResponse r;
        bool any = false;
        while (reader->Read(&r)) {
          if (!std::exchange(any, true)) ++begun;
        }
        const grpc::Status status = reader->Finish();
        if (status.ok() && r.usage().generated_tokens() == 200) {
          ++whole;
          continue;
        }
        ++(any ? lost : refused);
        return;
      }
    });
    clients.emplace_back([&] {
      for (;;) {
        HttpTestClient client(http);
        client.Ask("POST", "/v1/completions",
                   "{\"prompt\":\"x\",\"max_tokens\":200,\"ignore_eos\":true,\"stream\":true}");
        const HttpReply reply = client.Read();
        if (reply.code == 200) {
          ++begun;
          ++(absl::EndsWith(reply.body, "data: [DONE]\n\n") ? whole : lost);
          continue;
        }
        EXPECT_TRUE(reply.code == 503 || reply.code == 0) << reply.body;  // 0: gone already
        ++refused;
        return;
      }
    });
  }
  while (whole < 8) std::this_thread::yield();
  process->Signal(SIGTERM);
  for (std::thread& client : clients) client.join();
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->ToString() << process->ReadOutput();
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(begun, whole);
  EXPECT_EQ(refused, 8);
}

TEST_F(InferenceMainTest, ServesSeveralModelsAndRefusesWhatDoesNotFit) {
  const std::string other = JoinPath(folder_, "other.tpack");
  ASSERT_OK(WriteRandomModel(Env::Real(), other, TinyConfig(), 6));
  auto process =
      Launch({"--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--model", other + "=b"});
  const nlohmann::json ready = Await(*process);
  EXPECT_EQ(ready["models"], (nlohmann::json{"tiny", "b"}));
  const auto text = [&](const std::string& name) {
    return nlohmann::json::parse(
        HttpAsk(ready["http_address"], "POST", "/v1/completions",
                absl::StrCat("{\"model\":\"", name, "\",\"prompt\":\"x\",\"temperature\":0}"))
            .body)["choices"][0]["text"];
  };
  EXPECT_NE(text("tiny"), text("b"));
  ASSERT_OK(Env::Real()->RemoveFile(ready_));
  auto second = Launch({"--model", other + "=b", "--max-kv-memory", "1MB", "--max-memory", "2MB"});
  const auto exit = second->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 1);
  const std::string said = second->ReadOutput();
  EXPECT_THAT(said, HasSubstr("raise --max-memory to"));
  EXPECT_THAT(said, ::testing::ContainsRegex(
                        " = [1-9][0-9]* of weights [+] [0-9]+ of KV cache [+] [1-9][0-9]* of "
                        "activations, "));
}

// A model of half a megabyte in half of it: the same text, the figures in the metrics, and too
// little refused with what would do.
TEST_F(InferenceMainTest, StreamsLayersOfAModelBeyondItsMemory) {
  ASSERT_OK(WriteRandomModel(Env::Real(), model_, Deep(TinyConfig(), 10), 5));
  const auto text = [&](const nlohmann::json& ready) {
    return nlohmann::json::parse(HttpAsk(ready["http_address"], "POST", "/v1/completions",
                                         R"({"prompt":"x","temperature":0,"max_tokens":20})")
                                     .body)["choices"][0]["text"];
  };
  const std::vector<std::string> http = {"--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"};
  const auto with = [&](std::vector<std::string> flags) {
    flags.insert(flags.end(), http.begin(), http.end());
    return flags;
  };
  auto resident = Launch(http);
  const nlohmann::json expected = text(Await(*resident));
  ASSERT_OK(Env::Real()->RemoveFile(ready_));
  auto streamed = Launch(with({"--max-weight-memory", "400KB", "--stream-layers", "1",
                               "--max-memory", "4MB", "--max-kv-memory", "1MB", "--verify"}));
  const nlohmann::json ready = Await(*streamed);
  EXPECT_EQ(text(ready), expected);
  const std::string metrics = HttpAsk(ready["metrics_address"], "GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("tritter_stream_read_bytes_total{model=\"tiny\"}"));
  EXPECT_THAT(metrics, HasSubstr("tritter_stream_source_bytes_per_second{model=\"tiny\"}"));
  ASSERT_OK(Env::Real()->RemoveFile(ready_));
  auto refused = Launch(with({"--max-weight-memory", "100KB"}));
  const auto exit = refused->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 1);
  EXPECT_THAT(refused->ReadOutput(), HasSubstr("--max-weight-memory allows 100000; raise it to"));
}

TEST_F(InferenceMainTest, ShowsHealthReflectionAndMetrics) {
  auto process = Launch({"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"});
  const nlohmann::json ready = Await(*process);
  ExpectServerSurface({"inference",
                       ready["address"],
                       ready["metrics_address"],
                       {"tritter.v1.InferenceService", "inference.GRPCInferenceService"}});
}

// The status of a call with an empty request, over a stream or not.
grpc::Status Ask(const std::shared_ptr<grpc::Channel>& channel,
                 const google::protobuf::MethodDescriptor& method, const std::string& token) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  grpc::CompletionQueue queue;
  const grpc::Slice nothing;
  const auto call = stub.PrepareUnaryCall(
      &context, absl::StrCat("/", method.service()->full_name(), "/", method.name()),
      grpc::ByteBuffer(&nothing, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

TEST_F(InferenceMainTest, EveryCallAsksForItsRoleOverTls) {
  TestAuthority authority;
  const PemPair pair = authority.Issue("server");
  const std::string certificate = JoinPath(folder_, "server.pem"),
                    key = JoinPath(folder_, "server.key"), access = JoinPath(folder_, "access");
  ASSERT_OK(WriteFileAtomically(Env::Real(), certificate, pair.certificate));
  ASSERT_OK(WriteFileAtomically(Env::Real(), key, pair.key));
  ASSERT_OK(WriteFileAtomically(
      Env::Real(), access,
      "tokens:\n  - {name: app, roles: [infer], token: the-long-token-of-the-app}\n"
      "  - {name: looker, roles: [read], token: the-long-token-of-a-looker}\n"));
  auto process = Launch({"--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key,
                         "--access-file", access});
  grpc::SslCredentialsOptions trust;
  trust.pem_root_certs = authority.pem();
  const auto channel = grpc::CreateChannel(AwaitAddress(*process), grpc::SslCredentials(trust));
  const std::set<std::string> open = {"ServerLive", "ServerReady", "ModelReady"};
  const std::set<std::string> operate = {"RepositoryModelLoad", "RepositoryModelUnload"};
  for (const char* name : {"inference.GRPCInferenceService", "tritter.v1.InferenceService"}) {
    const auto* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    for (int i = 0; i < service->method_count(); ++i) {
      const auto& method = *service->method(i);
      const auto code = [&](const std::string& token) {
        return Ask(channel, method, token).error_code();
      };
      const bool asks = !open.contains(method.name());
      EXPECT_EQ(code("") == grpc::StatusCode::UNAUTHENTICATED, asks) << method.name();
      EXPECT_EQ(code("the-long-token-of-a-looker") == grpc::StatusCode::PERMISSION_DENIED, asks)
          << method.name();
      if (operate.contains(method.name())) {
        EXPECT_EQ(code("the-long-token-of-the-app"), grpc::StatusCode::PERMISSION_DENIED);
      } else if (method.name() == "GetModel" || method.name() == "RepositoryIndex") {
        EXPECT_EQ(code("the-long-token-of-the-app"), grpc::StatusCode::OK) << method.name();
      }
    }
  }
}

TEST_F(InferenceMainTest, APortInUseIsAClearError) {
  auto first = Launch({"--listen", "127.0.0.1:0"});
  const std::string address = AwaitAddress(*first);
  auto second = Launch({"--listen", address});
  const auto exit = second->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 1);
  EXPECT_THAT(second->ReadOutput(), HasSubstr("in use"));
}

TEST_F(InferenceMainTest, WithoutAGpuOneThatIsAskedForIsRefusedAndAutoIsTheCpu) {
  setenv("CUDA_VISIBLE_DEVICES", "", 1);
  auto process = Launch({"--listen", "127.0.0.1:0", "--device", "cuda"});
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 1);
  const std::string output = process->ReadOutput();
  // For want of the library, of one of these sources, or of a device.
  EXPECT_THAT(output, HasSubstr("--device cuda: no GPU can be used: "));
  EXPECT_THAT(output, HasSubstr("serve with --device cpu"));
  process = Launch({"--listen", "127.0.0.1:0", "--device", "auto"});
  EXPECT_NE(AwaitAddress(*process), "");
  process->Signal(SIGTERM);
  EXPECT_TRUE(process->Wait(absl::Seconds(60)).has_value());
  EXPECT_THAT(process->ReadOutput(), HasSubstr("no_gpu"));
}

TEST_F(InferenceMainTest, ADamagedModelIsRefusedNamingTheTensor) {
  ASSERT_OK_AND_ASSIGN(std::string bytes, Env::Real()->ReadFile(model_));
  bytes[bytes.size() - 100] ^= 1;
  ASSERT_OK(WriteFileAtomically(Env::Real(), model_, bytes));
  auto process = Launch({"--listen", "127.0.0.1:0", "--verify"});
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 1);
  EXPECT_THAT(process->ReadOutput(), HasSubstr("DATA_LOSS"));
}

TEST_F(InferenceMainTest, WrongUseExitsWithTwo) {
  auto process = Launch({"--listen", "0.0.0.0:0"});
  const auto exit = process->Wait(absl::Seconds(60));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->code, 2);
  EXPECT_THAT(process->ReadOutput(), HasSubstr("--insecure"));
}

}  // namespace
}  // namespace tritter
