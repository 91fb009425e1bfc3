// The API as a client sees it: a real server on a loopback port over tiny models.
#include "inference/http/http_api.h"

#include <atomic>
#include <cstring>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "access/access_control.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/kv_pages.h"
#include "inference/testing/fake_model_loader.h"
#include "inference/testing/held_engine.h"
#include "inference/testing/http_client.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class HttpApiTest : public ::testing::Test {
 protected:
  void Start(EngineOptions engine = {}, HttpApiOptions options = {}) {
    loader_ = std::make_unique<FakeModelLoader>(engine);
    registry_ = std::make_unique<ModelRegistry>(loader_.get(), ModelRegistryOptions());
    ASSERT_OK(registry_->Load("tiny", "tiny.tpack"));
    options.fresh_seed = [this] { return seeds_++; };
    options.metrics_text = [] { return std::string("# metrics\n"); };
    api_ = std::make_unique<HttpApi>(registry_.get(), options);
    auto server = HttpServer::Start({}, api_->Routes(), &HttpApi::ErrorBody);
    ASSERT_OK(server.status());
    server_ = *std::move(server);
  }
  Engine* engine() { return (*registry_->Find("tiny"))->engine.get(); }
  HttpReply Post(const std::string& path, const std::string& body) {
    return HttpAsk(server_->address(), "POST", path, body);
  }
  HttpReply Get(const std::string& path) { return HttpAsk(server_->address(), "GET", path); }
  json Complete(const std::string& fields) {
    const HttpReply reply = Post("/v1/completions", absl::StrCat("{", fields, "}"));
    EXPECT_EQ(reply.code, 200) << reply.body;
    return json::parse(reply.body);
  }
  static std::vector<json> Events(const std::string& body) {
    std::vector<json> events;
    for (absl::string_view part : absl::StrSplit(body, "\n\n", absl::SkipEmpty())) {
      EXPECT_TRUE(absl::StartsWith(part, "data: ")) << part;
      if (part != "data: [DONE]") events.push_back(json::parse(part.substr(6)));
    }
    return events;
  }

  std::unique_ptr<FakeModelLoader> loader_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<HttpApi> api_;
  std::unique_ptr<HttpServer> server_;
  std::atomic<uint64_t> seeds_{1};
};

TEST_F(HttpApiTest, AsksForATokenWhereThereIsAnAccessFile) {
  MemoryEnv env;
  ASSERT_OK(WriteFileAtomically(
      &env, "/access",
      "tokens:\n  - {name: app, roles: [infer], token: the-long-token-of-the-app}\n"
      "  - {name: looker, roles: [read], token: the-long-token-of-a-looker}\n"));
  ASSERT_OK_AND_ASSIGN(const auto access,
                       AccessControl::Open(&env, Clock::Real(), {"/access", false}));
  HttpApiOptions options;
  options.access = access.get();
  Start({}, options);
  const auto ask = [&](const std::string& method, const std::string& path,
                       const std::string& token) {
    HttpTestClient client(server_->address());
    client.Ask(method, path, method == "POST" ? "{\"prompt\":\"x\",\"max_tokens\":1}" : "",
               token.empty() ? "" : absl::StrCat("Authorization: Bearer ", token, "\r\n"));
    return client.Read();
  };
  const std::string app = "the-long-token-of-the-app", looker = "the-long-token-of-a-looker";
  EXPECT_EQ(ask("GET", "/health", "").code, 200);
  for (const auto& [method, path] : {std::pair{"GET", "/v1/models"},
                                     {"GET", "/v1/models/tiny"},
                                     {"POST", "/v1/completions"},
                                     {"POST", "/v1/embeddings"},
                                     {"POST", "/v1/chat/completions"},
                                     {"GET", "/metrics"}}) {
    const HttpReply stranger = ask(method, path, "");
    EXPECT_EQ(stranger.code, 401) << path;
    EXPECT_EQ(stranger.headers.at("www-authenticate"), "Bearer") << path;
    EXPECT_EQ(json::parse(stranger.body)["error"]["code"], "invalid_api_key") << path;
    EXPECT_EQ(ask(method, path, "a-token-that-nobody-knows").code, 401) << path;
    EXPECT_EQ(ask(method, path, std::string(path) == "/metrics" ? app : looker).code, 403) << path;
  }
  EXPECT_EQ(ask("POST", "/v1/completions", app).code, 200);
  EXPECT_EQ(ask("GET", "/v1/models", app).code, 200);
  EXPECT_EQ(ask("GET", "/metrics", looker).code, 200);
  server_.reset();  // before what it asks
}

TEST_F(HttpApiTest, CompletesAPrompt) {
  Start();
  const json answer =
      Complete("\"model\":\"tiny\",\"prompt\":\"To be\",\"max_tokens\":8,\"ignore_eos\":true");
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 6);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_FALSE(answer["choices"][0]["text"].get<std::string>().empty());
}

TEST_F(HttpApiTest, TheSameSeedGivesTheSameTextAndNoneAnotherEachTime) {
  Start();
  const auto text = [&](const std::string& seed) {
    return Complete("\"prompt\":\"x\",\"max_tokens\":30,\"ignore_eos\":true" +
                    seed)["choices"][0]["text"];
  };
  EXPECT_EQ(text(",\"seed\":5"), text(",\"seed\":5"));
  EXPECT_NE(text(",\"seed\":5"), text(",\"seed\":6"));
  EXPECT_NE(text(""), text(""));
  EXPECT_EQ(text(",\"temperature\":0"), text(",\"temperature\":0,\"seed\":9"));
}

TEST_F(HttpApiTest, StreamsTheSameTextAsAnEventStream) {
  Start();
  const std::string fields =
      "\"prompt\":[\"a\",\"bcd\"],\"n\":2,\"max_tokens\":20,\"ignore_eos\":true,\"seed\":3,"
      "\"logprobs\":1";
  const json whole = Complete(fields);
  const HttpReply reply =
      Post("/v1/completions", absl::StrCat("{", fields,
                                           ",\"stream\":true,\"stream_options\":{\"include_usage\":"
                                           "true}}"));
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream");
  EXPECT_TRUE(absl::EndsWith(reply.body, "data: [DONE]\n\n"));
  std::vector<std::string> texts(4), reasons(4);
  std::vector<size_t> tokens(4);
  json usage;
  for (const json& event : Events(reply.body)) {
    EXPECT_EQ(event["object"], "text_completion");
    if (event["choices"].empty()) {
      usage = event["usage"];
      continue;
    }
    const json& choice = event["choices"][0];
    const size_t i = choice["index"];
    texts[i] += choice["text"].get<std::string>();
    tokens[i] += choice["logprobs"]["tokens"].size();
    if (!choice["finish_reason"].is_null())
      reasons[i] += choice["finish_reason"].get<std::string>();
  }
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(texts[i], whole["choices"][i]["text"].get<std::string>()) << i;
    EXPECT_EQ(reasons[i], "length");
    EXPECT_EQ(tokens[i], 20u);
  }
  EXPECT_EQ(usage["completion_tokens"], 80);
  EXPECT_EQ(usage["prompt_tokens"], 2 + 4) << "each prompt once";
  EXPECT_EQ(whole["usage"]["total_tokens"], 86);
}

TEST_F(HttpApiTest, ErrorsHaveTheUsualShapeAndCode) {
  EngineOptions options;
  options.max_kv_bytes = 4 * KvPageLayout(TinyConfig(), KvFormat::kF32).page_bytes;
  options.max_queue = 3;
  Start(options);
  struct Case {
    const char* body;
    int code;
    const char* word;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{
           {"{", 400, "", "not JSON"},
           {"", 400, "", "not JSON"},
           {"[]", 400, "", "object is needed"},
           {"{\"prompt\":\"x\",\"model\":\"other\"}", 404, "model_not_found", "\"tiny\" is"},
           {"{\"prompt\":\"x\",\"temperature\":9}", 400, "", "temperature is 9"},
           {"{\"prompt\":\"x\",\"wat\":9}", 400, "unknown_parameter", "wat is not a parameter"},
           {"{\"prompt\":\"x\",\"max_tokens\":1000}", 400, "context_length_exceeded", "context"},
           {"{\"prompt\":\"x\",\"max_tokens\":200}", 400, "not_possible_here", "--max-kv-memory"},
           {"{\"prompt\":\"x\",\"n\":4}", 400, "", "this server lets 3 wait; ask for fewer"},
           {"{\"prompt\":[99999]}", 400, "", "token ids are 0 to 269"},
       }) {
    const HttpReply reply = Post("/v1/completions", c.body);
    EXPECT_EQ(reply.code, c.code) << c.body;
    const json error = json::parse(reply.body)["error"];
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(c.message)) << c.body;
    if (c.word[0] != '\0') EXPECT_EQ(error["code"], c.word) << c.body;
  }
  EXPECT_EQ(json::parse(Get("/v1/nothing").body)["error"]["type"], "invalid_request_error");
  EXPECT_EQ(Get("/v1/nothing").code, 404);
  EXPECT_EQ(Get("/v1/completions").code, 405);
}

TEST_F(HttpApiTest, AChatWithAModelWithoutATemplateIsRefused) {
  Start();
  const HttpReply reply =
      Post("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
  EXPECT_EQ(reply.code, 400);
  EXPECT_EQ(json::parse(reply.body)["error"]["code"], "no_chat_template");
}

TEST_F(HttpApiTest, AChatIsTheCompletionOfWhatTheTemplateRenders) {
  Start();
  ASSERT_OK(registry_->Load("chat", "chat.tpack"));
  const auto chat = [&](const std::string& fields) {
    return Post("/v1/chat/completions",
                absl::StrCat("{\"model\":\"chat\",\"seed\":3,\"max_tokens\":12,", fields, "}"));
  };
  const auto completed = [&](absl::string_view text) {
    json ids = json::array();  // as they are: no bos before them
    for (const int32_t id : ByteIds(text)) ids.push_back(id);
    return Complete(absl::StrCat("\"model\":\"chat\",\"seed\":3,\"max_tokens\":12,\"prompt\":",
                                 ids.dump()))["choices"][0]["text"];
  };
  const std::string question = "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
  const json answer = json::parse(chat(question).body);
  EXPECT_EQ(answer["choices"][0]["message"]["content"], completed("<s>uhi;a"));
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 8);
  const json other =
      json::parse(chat(question + ",\"chat_template_kwargs\":{\"end\":\"!!\"}").body);
  EXPECT_EQ(other["choices"][0]["message"]["content"], completed("<s>uhi!!a"));
  const HttpReply refused = chat(
      "\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]");
  EXPECT_EQ(refused.code, 400);
  const json error = json::parse(refused.body)["error"];
  EXPECT_EQ(error["param"], "messages");
  EXPECT_THAT(std::string(error["message"]), HasSubstr("two questions in a row"));
  EXPECT_EQ(chat(question + ",\"chat_template_kwargs\":[]").code, 400);
}

TEST_F(HttpApiTest, EmbedsTextsAsNumbersOrBase64) {
  Start();
  const auto embed = [&](const std::string& fields) {
    const HttpReply reply = Post("/v1/embeddings", absl::StrCat("{", fields, "}"));
    EXPECT_EQ(reply.code, 200) << reply.body;
    return json::parse(reply.body);
  };
  const json numbers = embed("\"input\":[\"abc\",\"x\"]");
  ASSERT_EQ(numbers["data"].size(), 2u);
  EXPECT_EQ(numbers["data"][1]["index"], 1);
  EXPECT_EQ(numbers["usage"]["prompt_tokens"], 6);
  const std::vector<float> vector = numbers["data"][0]["embedding"];
  EXPECT_EQ(vector.size(), 40u);
  double squares = 0;
  for (const float v : vector) squares += v * v;
  EXPECT_NEAR(squares, 1, 1e-5);
  std::string bytes;
  ASSERT_TRUE(absl::Base64Unescape(
      embed("\"input\":\"abc\",\"encoding_format\":\"base64\"")["data"][0]["embedding"]
          .get<std::string>(),
      &bytes));
  ASSERT_EQ(bytes.size(), 160u);
  float first;
  std::memcpy(&first, bytes.data(), sizeof first);
  EXPECT_EQ(first, vector[0]);
  EXPECT_EQ(Post("/v1/embeddings", "{\"input\":\"\",\"model\":\"other\"}").code, 404);
}

TEST_F(HttpApiTest, ConstrainsTheTextToASchema) {
  Start();
  const json answer = Complete(
      "\"prompt\":\"x\",\"max_tokens\":60,\"logit_bias\":{\"40\":-100,\"18\":-100,\"17\":-100,"
      "\"21\":-100},\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\","
      "\"schema\":{\"type\":\"array\",\"items\":{\"const\":17},\"minItems\":2,\"maxItems\":2}}}");
  EXPECT_EQ(answer["choices"][0]["text"], "[17,17]");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(Post("/v1/completions",
                 "{\"prompt\":\"x\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
                 "\"schema\":{\"type\":\"string\",\"pattern\":\"x\"}}}}")
                .code,
            400);
}

TEST_F(HttpApiTest, ListsModels) {
  Start();
  ASSERT_OK(registry_->Load("b", "b.tpack"));
  const json list = json::parse(Get("/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 2u);
  EXPECT_EQ(list["data"][0]["id"], "b");
  EXPECT_EQ(list["data"][1]["id"], "tiny");
  EXPECT_EQ(json::parse(Get("/v1/models/tiny").body), list["data"][1]);
  EXPECT_EQ(Get("/v1/models/x").code, 404);
  EXPECT_EQ(Get("/metrics").body, "# metrics\n");
}

TEST_F(HttpApiTest, AFullQueueIs429) {
  EngineOptions options;
  options.max_queue = 1;
  Start(options);
  HeldEngine held(engine());
  held.FillQueue(1);
  HttpReply reply = Post("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(reply.code, 429);
  EXPECT_EQ(reply.headers["retry-after"], "1");
  EXPECT_EQ(json::parse(reply.body)["error"]["code"], "queue_full");
}

TEST_F(HttpApiTest, UsersOfOneAddressTakeTurns) {
  EngineOptions options;
  options.scheduler.max_batch = 1;
  Start(options);
  HeldEngine held(engine());
  HttpTestClient flood(server_->address()), single(server_->address());
  flood.Ask("POST", "/v1/completions",
            R"({"prompt":"x","n":8,"max_tokens":250,"ignore_eos":true,"user":"a"})");
  while (engine()->stats().queued < 8) std::this_thread::yield();
  single.Ask("POST", "/v1/completions", R"({"prompt":"x","max_tokens":1,"user":"b"})");
  while (engine()->stats().queued < 9) std::this_thread::yield();
  held.Open();
  EXPECT_EQ(single.Read().code, 200);
  EXPECT_GT(engine()->stats().queued, 0) << "the flood still waits";
  EXPECT_EQ(flood.Read().code, 200);
}

TEST_F(HttpApiTest, ManyChoicesOfWhatIsRefusedAreNeverMade) {
  Start();
  const std::string prompt(1 << 20, 'x');  // beyond the context
  const HttpReply reply =
      Post("/v1/completions", absl::StrCat(R"({"n":64,"prompt":")", prompt, "\"}"));
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(reply.body, HasSubstr("exceed the model's context"));
  const HttpReply user = Post(
      "/v1/completions", absl::StrCat(R"({"prompt":"x","user":")", std::string(513, 'u'), "\"}"));
  EXPECT_EQ(user.code, 400);
  EXPECT_THAT(user.body, HasSubstr("has 513 bytes, at most 512"));
}

TEST_F(HttpApiTest, ADisconnectedClientStopsTheWork) {
  Start();
  engine()->SetObserver(std::make_shared<SlowSteps>(absl::Milliseconds(10)));
  for (const char* stream : {"true", "false"}) {
    {
      HttpTestClient client(server_->address());
      client.Ask("POST", "/v1/completions",
                 absl::StrCat("{\"prompt\":\"x\",\"max_tokens\":250,\"ignore_eos\":true,\"n\":2,"
                              "\"stream\":",
                              stream, "}"));
      while (engine()->stats().active < 2) std::this_thread::yield();
    }
    EXPECT_TRUE(server_->Drain(absl::Seconds(20)));
    EXPECT_EQ(engine()->stats().active, 0);
  }
  EXPECT_EQ(engine()->stats().finished[static_cast<size_t>(FinishReason::kCancelled)], 4);
}

TEST_F(HttpApiTest, DrainingRefusesNewWorkAndSaysSo) {
  Start();
  EXPECT_EQ(Get("/health").code, 200);
  HttpTestClient client(server_->address());
  client.Ask("POST", "/v1/completions",
             "{\"prompt\":\"x\",\"max_tokens\":250,\"ignore_eos\":true,\"stream\":true}");
  std::string body = client.ReadSome();
  api_->StartDraining();
  EXPECT_EQ(Get("/health").code, 503);
  EXPECT_EQ(Post("/v1/completions", "{\"prompt\":\"x\"}").code, 503);
  EXPECT_TRUE(server_->Drain(absl::Seconds(20)));
  for (std::string more; !(more = client.ReadSome()).empty();) body += more;
  EXPECT_THAT(body, HasSubstr("data: [DONE]"));
  EXPECT_THAT(body, HasSubstr("\"finish_reason\":\"length\""));
}

TEST_F(HttpApiTest, TheTimeOfARequestIsLimited) {
  HttpApiOptions options;
  options.time_limit = absl::ZeroDuration();
  Start({}, options);
  const std::string body = "{\"prompt\":\"x\",\"max_tokens\":200,\"stream\":";
  EXPECT_EQ(Post("/v1/completions", body + "false}").code, 504);
  const HttpReply streamed = Post("/v1/completions", body + "true}");
  EXPECT_EQ(streamed.code, 200);
  EXPECT_THAT(streamed.body, HasSubstr("\"code\":\"timeout\""));
  EXPECT_FALSE(absl::StrContains(streamed.body, "[DONE]"));
}

}  // namespace
}  // namespace tritter
