// A real server on a loopback port and a real client.
#include "inference/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <set>
#include <thread>

#include "common/testing/fake_clock.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/engine_requests.h"
#include "inference/testing/fake_model_loader.h"
#include "inference/testing/held_engine.h"
#include "tritter/v1/errors.pb.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

class InferenceServiceTest : public ::testing::Test {
 protected:
  void Start(EngineOptions options = {}, int max_calls = 8) {
    loader_ = std::make_unique<FakeModelLoader>(options);
    registry_ = std::make_unique<ModelRegistry>(loader_.get(), ModelRegistryOptions());
    ASSERT_OK(registry_->Load("tiny", "tiny.tpack"));
    engine_ = (*registry_->Find("tiny"))->engine.get();
    limit_ = std::make_unique<CallLimit>(max_calls);
    service_ = std::make_unique<InferenceRpcService>(registry_.get(), limit_.get(), &waits_,
                                                     Clock::Real());
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = "127.0.0.1:" + std::to_string(port);
    stub_ = v1::InferenceService::NewStub(
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  struct Streamed {
    grpc::Status status;
    std::string text;
    std::vector<int32_t> ids;
    std::vector<v1::ScoredToken> logprobs;
    v1::GenerateResponse last;
  };
  Streamed Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    Streamed s;
    auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse r;
    while (reader->Read(&r)) {
      s.text += r.text();
      s.ids.insert(s.ids.end(), r.token_ids().begin(), r.token_ids().end());
      s.logprobs.insert(s.logprobs.end(), r.logprobs().begin(), r.logprobs().end());
      s.last = r;
    }
    s.status = reader->Finish();
    return s;
  }
  static v1::GenerateRequest Request(const std::string& text, int max_tokens) {
    v1::GenerateRequest r;
    r.set_text(text);
    r.set_max_tokens(max_tokens);
    r.set_ignore_eos(true);
    return r;
  }
  static v1::ErrorDetail::Reason ReasonOf(const grpc::Status& status) {
    v1::ErrorDetail detail;
    EXPECT_TRUE(detail.ParseFromString(status.error_details()));
    return detail.reason();
  }

  FakeClock clock_;  // of the waits alone
  ClientWaits waits_{absl::Minutes(5), &clock_};
  std::string address_;
  std::unique_ptr<FakeModelLoader> loader_;
  std::unique_ptr<ModelRegistry> registry_;
  Engine* engine_ = nullptr;
  std::unique_ptr<CallLimit> limit_;
  std::unique_ptr<InferenceRpcService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

TEST_F(InferenceServiceTest, StreamsTokensWithUsageInTheLastMessage) {
  Start();
  const Streamed s = Generate(Request("To be", 10));
  ASSERT_TRUE(s.status.ok()) << s.status.error_message();
  EXPECT_EQ(s.ids.size(), 10u);
  EXPECT_EQ(s.last.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(s.last.usage().prompt_tokens(), 6);  // bos and five bytes
  EXPECT_EQ(s.last.usage().generated_tokens(), 10);
  GenerateParams same;
  same.prompt = {kBosId, 8 + 'T', 8 + 'o', 8 + ' ', 8 + 'b', 8 + 'e'};
  same.max_tokens = 10;
  same.ignore_eos = true;
  ASSERT_OK_AND_ASSIGN(auto g, engine_->Generate(same));
  std::vector<int32_t> ids;
  GenerateEvent event;
  do {
    g->Next(absl::InfiniteDuration(), &event);
    ids.insert(ids.end(), event.tokens.begin(), event.tokens.end());
  } while (event.finish == FinishReason::kNone);
  EXPECT_EQ(s.ids, ids);
}

TEST_F(InferenceServiceTest, AConversationIsWhatTheTemplateRenders) {
  Start();
  ASSERT_OK(registry_->Load("chat", "chat.tpack"));
  v1::GenerateRequest plain = Request("", 10), chat = plain;
  plain.set_model("chat");
  for (const int32_t id : ByteIds("<s>shm;uhi;a")) plain.mutable_tokens()->add_ids(id);
  chat.set_model("chat");
  const auto add = [&](const char* role, const char* content) {
    v1::ChatMessage* m = chat.mutable_chat()->add_messages();
    m->set_role(role);
    m->set_content(content);
  };
  EXPECT_EQ((chat.mutable_chat(), Generate(chat).status.error_code()),
            grpc::StatusCode::INVALID_ARGUMENT);
  add("system", "hm");
  add("user", "hi");
  EXPECT_EQ(Generate(chat).ids, Generate(plain).ids);
  add("user", "again");
  EXPECT_THAT(Generate(chat).status.error_message(), HasSubstr("two questions in a row"));
  add("bot", "x");
  EXPECT_THAT(Generate(chat).status.error_message(), HasSubstr("chat.messages[3].role is \"bot\""));
  chat.set_model("tiny");
  chat.mutable_chat()->mutable_messages()->RemoveLast();
  EXPECT_EQ(Generate(chat).status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::ModelInfo info;
  v1::GetModelRequest which;
  for (const char* name : {"tiny", "chat"}) {
    grpc::ClientContext context;
    which.set_model(name);
    ASSERT_TRUE(stub_->GetModel(&context, which, &info).ok());
    EXPECT_EQ(info.chat(), which.model() == "chat");
  }
}

TEST_F(InferenceServiceTest, SamplingParametersReachTheEngine) {
  Start();
  v1::GenerateRequest r = Request("x", 40);
  r.mutable_sampling()->set_temperature(1.3);
  r.mutable_sampling()->set_seed(5);
  const Streamed a = Generate(r), again = Generate(r);
  r.mutable_sampling()->set_seed(6);
  const Streamed other = Generate(r);
  EXPECT_EQ(a.ids, again.ids);
  EXPECT_NE(a.ids, other.ids);
  r.mutable_sampling()->set_seed(5);
  r.add_stop_ids(a.ids[3]);
  const Streamed stopped = Generate(r);
  EXPECT_EQ(stopped.last.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_LE(stopped.ids.size(), 3u);
}

TEST_F(InferenceServiceTest, PenaltiesBiasAndLogProbabilitiesReachTheEngine) {
  Start();
  v1::GenerateRequest r = Request("x", 12);
  r.set_logprobs(3);
  const Streamed plain = Generate(r);
  std::vector<int32_t> scored;
  ASSERT_EQ(plain.logprobs.size(), 12u);
  for (const v1::ScoredToken& t : plain.logprobs) {
    scored.push_back(t.id());
    ASSERT_EQ(t.top_size(), 3);
    EXPECT_EQ(t.top(0).id(), t.id()) << "greedy";
    EXPECT_EQ(t.top(0).logprob(), t.logprob());
  }
  EXPECT_EQ(scored, plain.ids);
  v1::Sampling* sampling = r.mutable_sampling();
  (*sampling->mutable_logit_bias())[77] = 100;
  EXPECT_EQ(Generate(r).ids, std::vector<int32_t>(12, 77));
  sampling->set_frequency_penalty(2);
  sampling->set_presence_penalty(2);
  sampling->set_repetition_penalty(100);
  const Streamed varied = Generate(r);
  EXPECT_EQ(varied.ids[0], 77);
  EXPECT_GT(std::set<int32_t>(varied.ids.begin(), varied.ids.end()).size(), 6u);
  sampling->set_min_p(1.5);
  EXPECT_THAT(Generate(r).status.error_message(), HasSubstr("sampling.min_p is 1.5"));
  r = Request("x", 5);
  r.set_logprobs(21);
  EXPECT_THAT(Generate(r).status.error_message(), HasSubstr("logprobs is 21"));
}

TEST_F(InferenceServiceTest, ErrorsHaveACodeAndATypedReason) {
  Start();
  Streamed s = Generate(Request("x", 1000));
  EXPECT_EQ(s.status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(ReasonOf(s.status), v1::ErrorDetail::CONTEXT_EXCEEDED);
  v1::GenerateRequest r = Request("x", 5);
  r.set_model("other");
  s = Generate(r);
  EXPECT_EQ(s.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(s.status.error_message(), HasSubstr("\"other\" is not served here, \"tiny\" is"));
  EXPECT_EQ(ReasonOf(s.status), v1::ErrorDetail::UNKNOWN_MODEL);
  EXPECT_EQ(Generate(v1::GenerateRequest()).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  r = Request("x", 5);
  r.mutable_sampling()->set_top_p(2);
  EXPECT_EQ(Generate(r).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(InferenceServiceTest, AFullQueueIsRefusedAtOnce) {
  EngineOptions options;
  options.max_queue = 1;
  Start(options);
  HeldEngine held(engine_);
  held.FillQueue(1);
  const Streamed s = Generate(Request("x", 5));
  EXPECT_EQ(s.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(s.status), v1::ErrorDetail::QUEUE_FULL);
}

TEST_F(InferenceServiceTest, AConnectionIsAClientThatHasItsTurn) {
  EngineOptions options;
  options.scheduler.max_batch = 1;
  Start(options);
  HeldEngine held(engine_);
  std::vector<std::unique_ptr<Generation>> flood;  // of nobody in particular
  for (int i = 0; i < 20; ++i) flood.push_back(*engine_->Generate(Params({kBosId}, 3)));
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request("x", 5));
  while (engine_->stats().queued < 21) std::this_thread::yield();
  held.Open();
  v1::GenerateResponse r;
  while (reader->Read(&r)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  // It came last and is admitted second.
  const absl::Duration queued = absl::Seconds(r.usage().queue_seconds());
  for (size_t i = 0; i < flood.size(); ++i) {
    const absl::Duration other = Collect(*flood[i]).usage.queued;
    if (i > 0) EXPECT_GT(other, queued) << i;
  }
}

TEST_F(InferenceServiceTest, TooManyCallsAreRefused) {
  Start({}, 0);
  const Streamed s = Generate(Request("x", 5));
  EXPECT_EQ(s.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(s.status.error_message(), HasSubstr("0 calls are at work already"));
}

TEST_F(InferenceServiceTest, ADefaultLengthGivesWayToTheContext) {
  Start();
  const Streamed s = Generate(Request(std::string(250, 'a'), 0));
  ASSERT_TRUE(s.status.ok()) << s.status.error_message();
  EXPECT_EQ(s.ids.size(), 5u);  // 256 - bos - 250
}

TEST_F(InferenceServiceTest, ADisconnectedClientStopsTheWork) {
  Start();
  {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, Request("x", 250));
    v1::GenerateResponse r;
    ASSERT_TRUE(reader->Read(&r));
    context.TryCancel();
    while (reader->Read(&r)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  server_->Shutdown();  // waits for the handler
  EXPECT_EQ(engine_->stats().active, 0);
  EXPECT_EQ(engine_->stats().kv_pages_used, 0);
  EXPECT_EQ(limit_->at_work(), 0);
}

TEST_F(InferenceServiceTest, AClientThatDoesNotReadIsEndedAndToldTheLimit) {
  Start();
  grpc::ChannelArguments narrow;  // of what is not read, little fits on the way
  narrow.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  narrow.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto stub = v1::InferenceService::NewStub(
      grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), narrow));
  grpc::ClientContext context;
  v1::GenerateRequest request = Request("x", 250);
  request.set_logprobs(20);
  const auto finished = [&] {  // the warm-up among them
    return engine_->stats().finished[static_cast<size_t>(FinishReason::kLength)];
  };
  const int64_t before = finished();
  auto reader = stub->Generate(&context, request);
  // Everything is generated, and most of it not taken.
  while (finished() == before) std::this_thread::yield();
  EXPECT_EQ(limit_->at_work(), 1);
  while (limit_->at_work() > 0) {
    clock_.Advance(absl::Minutes(6));
    waits_.EndOverdue();
    std::this_thread::yield();
  }
  v1::GenerateResponse r;
  while (reader->Read(&r)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), HasSubstr("nothing of the answer was read for 5m, which"));
  EXPECT_THAT(status.error_message(), HasSubstr("--idle-limit"));
}

TEST_F(InferenceServiceTest, ScoresAndTokenizes) {
  Start();
  grpc::ClientContext c1, c2;
  v1::ScoreRequest request;
  request.set_text("abc");
  request.set_top(2);
  v1::ScoreResponse scores;
  ASSERT_TRUE(stub_->Score(&c1, request, &scores).ok());
  ASSERT_EQ(scores.tokens_size(), 3);
  EXPECT_EQ(scores.tokens(0).id(), 8 + 'a');
  EXPECT_EQ(scores.tokens(0).top_size(), 2);
  EXPECT_GT(scores.tokens(0).logit_stddev(), 0);
  EXPECT_DOUBLE_EQ(scores.total_logprob(), scores.tokens(0).logprob() + scores.tokens(1).logprob() +
                                               scores.tokens(2).logprob());
  v1::TokenizeRequest text;
  text.set_text("A");
  text.set_add_bos(true);
  v1::TokenizeResponse ids;
  ASSERT_TRUE(stub_->Tokenize(&c2, text, &ids).ok());
  ASSERT_EQ(ids.ids_size(), 2);
  EXPECT_EQ(ids.ids(0), kBosId);
  EXPECT_EQ(ids.ids(1), 8 + 'A');
  EXPECT_EQ(ids.tokenizer_hash(), ByteTokenizer().hash());
}

TEST_F(InferenceServiceTest, ATextThatIsTooLongToScoreIsToldSo) {
  Start();
  grpc::ClientContext context;
  v1::ScoreRequest request;
  request.set_text(std::string(256, 'a'));  // and the beginning
  v1::ScoreResponse scores;
  const grpc::Status status = stub_->Score(&context, request, &scores);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  v1::ErrorDetail detail;
  ASSERT_TRUE(detail.ParseFromString(status.error_details()));
  EXPECT_EQ(detail.reason(), v1::ErrorDetail::CONTEXT_EXCEEDED);
  EXPECT_EQ(detail.field(), "input");
  EXPECT_EQ(detail.hint(), "score a shorter text, or this one in parts");
}

TEST_F(InferenceServiceTest, EmbedsTextsAndTokens) {
  Start();
  v1::EmbedRequest request;
  request.add_inputs()->set_text("abc");
  v1::TokenIds* ids = request.add_inputs()->mutable_tokens();
  for (const int32_t id : {int32_t{kBosId}, 8 + 'a', 8 + 'b', 8 + 'c'}) ids->add_ids(id);
  request.set_pooling(v1::POOLING_LAST);
  request.set_normalise(true);
  const auto embed = [&](v1::EmbedResponse* response) {
    grpc::ClientContext context;
    return stub_->Embed(&context, request, response);
  };
  v1::EmbedResponse last, mean;
  ASSERT_TRUE(embed(&last).ok());
  request.set_pooling(v1::POOLING_UNSPECIFIED);
  ASSERT_TRUE(embed(&mean).ok());
  ASSERT_EQ(last.embeddings_size(), 2);
  EXPECT_EQ(last.dimensions(), 40);
  EXPECT_EQ(last.prompt_tokens(), 8);
  ASSERT_EQ(last.embeddings(0).values_size(), 40);
  double squares = 0;
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(last.embeddings(0).values(i), last.embeddings(1).values(i));
    squares += last.embeddings(0).values(i) * last.embeddings(0).values(i);
  }
  EXPECT_NEAR(squares, 1, 1e-5);
  EXPECT_NE(last.embeddings(0).values(0), mean.embeddings(0).values(0));
  request.add_inputs();
  EXPECT_THAT(embed(&last).error_message(), HasSubstr("inputs[2] has nothing in it"));
  request.clear_inputs();
  EXPECT_EQ(embed(&last).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.add_inputs()->set_text(std::string(256, 'a'));
  const grpc::Status status = embed(&last);
  EXPECT_EQ(ReasonOf(status), v1::ErrorDetail::CONTEXT_EXCEEDED);
  v1::ErrorDetail detail;
  ASSERT_TRUE(detail.ParseFromString(status.error_details()));
  EXPECT_EQ(detail.field(), "inputs");
  EXPECT_EQ(detail.hint(), "embed a shorter text, or this one in parts");
}

TEST_F(InferenceServiceTest, ConstrainsTheTextToJson) {
  Start();
  v1::GenerateRequest r = Request("x", 60);
  for (const char c : {' ', '\n'})  // which this random model is fond of
    (*r.mutable_sampling()->mutable_logit_bias())[kFirstByteId + c] = -100;
  r.set_json_schema(R"({"type":"array","items":{"const":17},"minItems":2,"maxItems":2})");
  Streamed s = Generate(r);
  EXPECT_EQ(s.last.finish_reason(), v1::FINISH_REASON_STOP) << s.text;
  EXPECT_EQ(s.text, "[17,17]");
  r.set_json_object(true);
  s = Generate(r);
  EXPECT_EQ(s.text[0], '{');
  r.set_json_schema(R"({"type":"string","pattern":"x"})");
  s = Generate(r);
  EXPECT_EQ(s.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(s.status.error_message(), HasSubstr("json_schema: #/pattern: not supported"));
}

TEST_F(InferenceServiceTest, EveryModelIsServedUnderItsName) {
  Start();
  ASSERT_OK(registry_->Load("other", "other.tpack"));
  v1::GenerateRequest r = Request("x", 20);
  r.set_model("tiny");
  const Streamed a = Generate(r);
  r.set_model("other");
  const Streamed b = Generate(r);
  ASSERT_TRUE(b.status.ok()) << b.status.error_message();
  EXPECT_NE(a.ids, b.ids);
  r.clear_model();
  const Streamed nameless = Generate(r);
  EXPECT_EQ(nameless.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(nameless.status.error_message(), HasSubstr("name one of them"));
}

TEST_F(InferenceServiceTest, ARequestAtWorkEndsOnTheVersionItBeganOn) {
  Start();
  const Streamed alone = Generate(Request("x", 200));
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request("x", 200));
  v1::GenerateResponse r;
  ASSERT_TRUE(reader->Read(&r));
  std::vector<int32_t> ids(r.token_ids().begin(), r.token_ids().end());
  ASSERT_OK(registry_->Load("tiny", "two.tpack"));
  while (reader->Read(&r)) ids.insert(ids.end(), r.token_ids().begin(), r.token_ids().end());
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(ids, alone.ids);
  EXPECT_NE(Generate(Request("x", 200)).ids, alone.ids);
}

TEST_F(InferenceServiceTest, DescribesTheModel) {
  Start();
  grpc::ClientContext context;
  v1::ModelInfo info;
  ASSERT_TRUE(stub_->GetModel(&context, v1::GetModelRequest(), &info).ok());
  EXPECT_EQ(info.name(), "tiny");
  EXPECT_EQ(info.parameters(), ParameterCount(TinyConfig()));
  EXPECT_EQ(info.kernel(), BestTernaryKernel().name);
  EXPECT_EQ(info.context(), 256);
  EXPECT_THAT(info.config_yaml(), HasSubstr("hidden: 40"));
}

}  // namespace
}  // namespace tritter
