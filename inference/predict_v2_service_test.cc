// A real server on a loopback port and a real client.
#include "inference/predict_v2_service.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <thread>

#include "common/testing/fake_clock.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/fake_model_loader.h"
#include "inference/testing/held_engine.h"

namespace tritter {
namespace {

using inference::GRPCInferenceService;
using ::testing::HasSubstr;

class PredictV2ServiceTest : public ::testing::Test {
 protected:
  void Start(EngineOptions engine = {}, const std::string& root = "") {
    loader_ = std::make_unique<FakeModelLoader>(engine);
    ModelRegistryOptions options;
    options.root = root;
    options.env = &env_;
    registry_ = std::make_unique<ModelRegistry>(loader_.get(), options);
    ASSERT_OK(registry_->Load("tiny", "tiny.tpack"));
    service_ = std::make_unique<PredictV2Service>(registry_.get(), &limit_, &waits_, Clock::Real());
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // the client takes 64 KiB before it reads
    stub_ = GRPCInferenceService::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments));
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown();
  }
  static inference::ModelInferRequest Request(std::vector<std::string> texts, int max_tokens) {
    inference::ModelInferRequest request;
    request.set_model_name("tiny");
    auto* input = request.add_inputs();
    input->set_name("text_input");
    input->set_datatype("BYTES");
    input->add_shape(static_cast<int64_t>(texts.size()));
    for (const std::string& text : texts) input->mutable_contents()->add_bytes_contents(text);
    (*request.mutable_parameters())["max_tokens"].set_int64_param(max_tokens);
    (*request.mutable_parameters())["ignore_eos"].set_bool_param(true);
    return request;
  }
  grpc::Status Infer(const inference::ModelInferRequest& request,
                     inference::ModelInferResponse* response) {
    grpc::ClientContext context;
    return stub_->ModelInfer(&context, request, response);
  }
  std::string Text(const std::string& prompt, int max_tokens) {
    inference::ModelInferResponse response;
    EXPECT_TRUE(Infer(Request({prompt}, max_tokens), &response).ok());
    return response.outputs(0).contents().bytes_contents(0);
  }
  bool Ready(const std::string& model) {
    grpc::ClientContext context;
    inference::ModelReadyRequest request;
    inference::ModelReadyResponse response;
    request.set_name(model);
    EXPECT_TRUE(stub_->ModelReady(&context, request, &response).ok());
    return response.ready();
  }
  Engine* engine() { return (*registry_->Find("tiny"))->engine.get(); }

  MemoryEnv env_;
  CallLimit limit_{8};
  FakeClock clock_;  // of the waits alone
  ClientWaits waits_{absl::Minutes(5), &clock_};
  std::unique_ptr<FakeModelLoader> loader_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<PredictV2Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<GRPCInferenceService::Stub> stub_;
};

TEST_F(PredictV2ServiceTest, ContinuesEveryTextOfABatch) {
  Start();
  inference::ModelInferResponse response;
  inference::ModelInferRequest request = Request({"To be", "x"}, 12);
  request.set_id("42");
  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_EQ(response.id(), "42");
  EXPECT_EQ(response.model_name(), "tiny");
  EXPECT_EQ(response.model_version(), "1");
  ASSERT_EQ(response.outputs_size(), 4);
  EXPECT_EQ(response.outputs(0).name(), "text_output");
  EXPECT_EQ(response.outputs(0).contents().bytes_contents(1), Text("x", 12));
  EXPECT_EQ(response.outputs(1).contents().bytes_contents(0), "length");
  EXPECT_EQ(response.outputs(2).contents().int64_contents(0), 6);
  EXPECT_EQ(response.outputs(3).contents().int64_contents(1), 12);
}

TEST_F(PredictV2ServiceTest, StreamsTheTextInPartsAndErrorsAsMessages) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->ModelStreamInfer(&context);
  for (int round = 0; round < 2; ++round) {
    inference::ModelInferRequest request = Request({"To be"}, 40);
    request.set_id(std::to_string(round));
    ASSERT_TRUE(stream->Write(request));
    std::string text;
    inference::ModelStreamInferResponse part;
    do {
      ASSERT_TRUE(stream->Read(&part));
      EXPECT_EQ(part.error_message(), "");
      EXPECT_EQ(part.infer_response().id(), request.id());
      text += part.infer_response().outputs(0).contents().bytes_contents(0);
    } while (!part.infer_response().parameters().at("triton_final_response").bool_param());
    EXPECT_EQ(text, Text("To be", 40));
    inference::ModelInferRequest bad = Request({"a", "b"}, 4);
    bad.set_id("bad");
    ASSERT_TRUE(stream->Write(bad));
    ASSERT_TRUE(stream->Read(&part));
    EXPECT_THAT(part.error_message(), HasSubstr("send them one by one"));
    EXPECT_EQ(part.infer_response().id(), "bad");
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(PredictV2ServiceTest, ErrorsHaveTheirCode) {
  EngineOptions options;
  options.max_queue = 1;
  Start(options);
  inference::ModelInferResponse response;
  EXPECT_EQ(Infer(Request({}, 5), &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Infer(Request({"x"}, 5000), &response).error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(Infer(Request({"x", "y"}, 5), &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT)
      << "the queue never holds two";
  inference::ModelInferRequest request = Request({"x"}, 5);
  request.set_model_name("other");
  EXPECT_EQ(Infer(request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_model_name("tiny");
  request.set_model_version("9");
  EXPECT_EQ(Infer(request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  HeldEngine held(engine());
  held.FillQueue(1);
  EXPECT_EQ(Infer(Request({"x"}, 5), &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(PredictV2ServiceTest, ADisconnectedClientStopsTheWork) {
  Start();
  engine()->SetObserver(std::make_shared<SlowSteps>(absl::Milliseconds(10)));
  {
    grpc::ClientContext context;
    auto stream = stub_->ModelStreamInfer(&context);
    ASSERT_TRUE(stream->Write(Request({"x"}, 250)));
    inference::ModelStreamInferResponse part;
    ASSERT_TRUE(stream->Read(&part));
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
    inference::ModelInferResponse response;
    EXPECT_EQ(stub_->ModelInfer(&context, Request({"x"}, 250), &response).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  server_->Shutdown();  // waits for the handlers
  EXPECT_EQ(engine()->stats().active, 0);
  EXPECT_LT(engine()->stats().generated_tokens, 400);
}

TEST_F(PredictV2ServiceTest, LoadsUnloadsAndListsTheRepository) {
  ASSERT_OK(env_.CreateDirs("/models"));
  ASSERT_OK(WriteFileAtomically(&env_, "/models/x.tpack", "x"));
  Start({}, "/models");
  const auto index = [&] {
    grpc::ClientContext context;
    inference::RepositoryIndexResponse response;
    EXPECT_TRUE(stub_->RepositoryIndex(&context, {}, &response).ok());
    std::string text;
    for (const auto& m : response.models())
      text += m.name() + "/" + m.version() + " " + m.state() + ";";
    return text;
  };
  const auto load = [&](const std::string& name) {
    grpc::ClientContext context;
    inference::RepositoryModelLoadRequest request;
    inference::RepositoryModelLoadResponse response;
    request.set_model_name(name);
    return stub_->RepositoryModelLoad(&context, request, &response).error_code();
  };
  EXPECT_EQ(index(), "tiny/1 READY;x/ UNAVAILABLE;");
  EXPECT_FALSE(Ready("x"));
  EXPECT_EQ(load("x"), grpc::StatusCode::OK);
  EXPECT_EQ(load("x"), grpc::StatusCode::OK);
  EXPECT_EQ(load("y"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(load("../x"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(index(), "tiny/1 READY;x/2 READY;");
  EXPECT_TRUE(Ready("x"));
  grpc::ClientContext context;
  inference::RepositoryModelUnloadRequest request;
  inference::RepositoryModelUnloadResponse response;
  request.set_model_name("x");
  (*request.mutable_parameters())["unload_dependents"].set_bool_param(false);
  EXPECT_TRUE(stub_->RepositoryModelUnload(&context, request, &response).ok());
  EXPECT_EQ(index(), "tiny/1 READY;x/2 UNAVAILABLE;");
  EXPECT_FALSE(Ready("x"));
}

TEST_F(PredictV2ServiceTest, WithoutARootNobodyLoads) {
  Start();
  grpc::ClientContext context;
  inference::RepositoryModelLoadRequest request;
  inference::RepositoryModelLoadResponse response;
  request.set_model_name("tiny");
  EXPECT_EQ(stub_->RepositoryModelLoad(&context, request, &response).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(PredictV2ServiceTest, DescribesServerAndModel) {
  Start();
  grpc::ClientContext c1, c2;
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(stub_->ServerMetadata(&c1, {}, &server).ok());
  EXPECT_EQ(server.name(), "tritter");
  inference::ModelMetadataRequest request;
  inference::ModelMetadataResponse model;
  request.set_name("tiny");
  ASSERT_TRUE(stub_->ModelMetadata(&c2, request, &model).ok());
  EXPECT_EQ(model.versions(0), "1");
  EXPECT_EQ(model.inputs(0).name(), "text_input");
  EXPECT_EQ(model.outputs(0).datatype(), "BYTES");
}

TEST_F(PredictV2ServiceTest, DrainingIsNotReadyAndEndsIdleStreams) {
  Start();
  EXPECT_TRUE(Ready("tiny"));
  grpc::ClientContext c1, c2, c3;
  auto idle = stub_->ModelStreamInfer(&c1);
  auto busy = stub_->ModelStreamInfer(&c2);
  // Every part says the request's id, more than the client takes before it reads: the answer is
  // under way until then.
  inference::ModelInferRequest request = Request({"x"}, 200);
  request.set_id(std::string(1 << 20, 'i'));
  ASSERT_TRUE(busy->Write(request));
  while (limit_.at_work() < 2 || engine()->stats().generated_tokens < 200)
    std::this_thread::yield();
  service_->StartDraining();
  EXPECT_FALSE(Ready("tiny"));
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(stub_->ServerReady(&c3, {}, &ready).ok());
  EXPECT_FALSE(ready.ready());
  bool whole = false;
  inference::ModelStreamInferResponse part;
  while (busy->Read(&part))
    whole = part.infer_response().parameters().at("triton_final_response").bool_param();
  EXPECT_TRUE(whole);
  EXPECT_TRUE(busy->Finish().ok());
  EXPECT_EQ(idle->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(PredictV2ServiceTest, AnIdleStreamIsEndedAndToldTheLimit) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->ModelStreamInfer(&context);
  std::atomic<bool> ended{false};
  std::thread watch([&] {
    while (!ended) {
      clock_.Advance(absl::Minutes(6));
      waits_.EndOverdue();
      std::this_thread::yield();
    }
  });
  const grpc::Status status = stream->Finish();
  ended = true;
  watch.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), HasSubstr("no request came on this stream for 5m, which"));
  EXPECT_THAT(status.error_message(), HasSubstr("--idle-limit"));
  while (limit_.at_work() > 0) std::this_thread::yield();
}

}  // namespace
}  // namespace tritter
