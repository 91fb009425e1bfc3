#include "inference/http/openai_response.h"

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/http/json_fields.h"

namespace tritter {
namespace {

using nlohmann::json;

OpenAiAnswer Answer(bool chat) {
  OpenAiAnswer answer;
  answer.chat = chat;
  answer.id = "id-1";
  answer.model = "m";
  answer.created = 5;
  answer.tokenizer = &ByteTokenizer();
  return answer;
}

json OfEvent(const std::string& event) {
  EXPECT_EQ(event.substr(0, 6), "data: ");
  EXPECT_EQ(event.substr(event.size() - 2), "\n\n");
  EXPECT_EQ(event.find('\n'), event.size() - 2) << "an event is one line";
  return json::parse(event.substr(6));
}

TEST(OpenAiResponse, WholeAnswersHaveTheShapeOfTheApi) {
  OpenAiChoice choice;
  choice.index = 1;
  choice.text = "hi\n\"\x01";
  choice.finish = FinishReason::kLength;
  EXPECT_EQ(json::parse(WholeAnswer(Answer(false), {choice}, {3, 2, 4})),
            json::parse(R"({"id":"id-1","object":"text_completion","created":5,"model":"m",
      "choices":[{"index":1,"text":"hi\n\"\u0001","logprobs":null,"finish_reason":"length"}],
      "usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,
               "prompt_tokens_details":{"cached_tokens":2}}})"));
  choice.finish = FinishReason::kStop;
  EXPECT_EQ(json::parse(WholeAnswer(Answer(true), {choice}, {}))["choices"][0],
            json::parse(R"({"index":1,"message":{"role":"assistant","content":"hi\n\"\u0001",
      "refusal":null},"logprobs":null,"finish_reason":"stop"})"));
}

TEST(OpenAiResponse, ChunksOfAChatBeginWithTheRoleAndEndWithTheReason) {
  OpenAiAnswer answer = Answer(true);
  json first = OfEvent(FirstChunk(answer, 2));
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(first["choices"][0]["index"], 2);
  EXPECT_EQ(first.count("usage"), 0u);
  OpenAiChoice news;
  news.text = "x\ny";
  EXPECT_EQ(OfEvent(Chunk(answer, news))["choices"][0],
            json::parse(R"({"index":0,"delta":{"content":"x\ny"},"logprobs":null,
                            "finish_reason":null})"));
  news.text.clear();
  news.finish = FinishReason::kStop;
  EXPECT_EQ(OfEvent(Chunk(answer, news))["choices"][0],
            json::parse(R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"})"));
  answer.include_usage = true;
  EXPECT_TRUE(OfEvent(Chunk(answer, news))["usage"].is_null());
  const json usage = OfEvent(UsageChunk(answer, {1, 0, 2}));
  EXPECT_EQ(usage["choices"], json::array());
  EXPECT_EQ(usage["usage"]["total_tokens"], 3);
}

TEST(OpenAiResponse, LogprobsNameTokensThatAreNoWholeCharacters) {
  OpenAiChoice choice;
  choice.has_logprobs = true;
  PositionScore score = {};
  score.id = 8 + 'a';
  score.logprob = -0.5;
  score.top = {{8 + 'a', 1.0, -0.5}, {8 + 0xe4, 0.5, -1.0}, {kEosId, 0.25, -1.25}, {265, 0, -1.5}};
  choice.logprobs = {score};
  const json completion =
      json::parse(WholeAnswer(Answer(false), {choice}, {}))["choices"][0]["logprobs"];
  EXPECT_EQ(completion, json::parse(R"({"tokens":["a"],"token_logprobs":[-0.5],
      "top_logprobs":[{"a":-0.5,"bytes:\\xe4":-1.0,"<eos>":-1.25,"token_id:265":-1.5}]})"));
  const json chat = json::parse(WholeAnswer(Answer(true), {choice}, {}))["choices"][0]["logprobs"];
  EXPECT_EQ(chat["content"][0]["token"], "a");
  EXPECT_EQ(chat["content"][0]["bytes"], json::array({97}));
  EXPECT_EQ(chat["content"][0]["top_logprobs"][1]["bytes"], json::array({0xe4}));
}

TEST(OpenAiResponse, EveryStatusHasItsCodeAndTheUsualBody) {
  struct Case {
    absl::StatusCode code;
    int http;
  };
  for (const Case& c : std::vector<Case>{{absl::StatusCode::kInvalidArgument, 400},
                                         {absl::StatusCode::kOutOfRange, 400},
                                         {absl::StatusCode::kFailedPrecondition, 400},
                                         {absl::StatusCode::kNotFound, 404},
                                         {absl::StatusCode::kResourceExhausted, 429},
                                         {absl::StatusCode::kInternal, 500},
                                         {absl::StatusCode::kUnavailable, 503},
                                         {absl::StatusCode::kDeadlineExceeded, 504}}) {
    const OpenAiError error = ToOpenAiError(absl::Status(c.code, "why \xff"));
    EXPECT_EQ(error.code, c.http);
    const json body = json::parse(error.body)["error"];
    EXPECT_EQ(body["message"], "why \xef\xbf\xbd");
    EXPECT_TRUE(body["type"].is_string());
    EXPECT_TRUE(body.count("param") == 1 && body.count("code") == 1);
  }
  const json body =
      json::parse(ToOpenAiError(ParameterError("n", "is bad", "unknown_parameter")).body)["error"];
  EXPECT_EQ(body["param"], "n");
  EXPECT_EQ(body["code"], "unknown_parameter");
  EXPECT_EQ(body["type"], "invalid_request_error");
}

}  // namespace
}  // namespace tritter
