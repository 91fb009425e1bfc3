#include "inference/http/openai_request.h"

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/http/json_fields.h"
#include "inference/testing/list_tokenizer.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

OpenAiRequest Completion(const std::string& fields) {
  auto request = ParseCompletionRequest(absl::StrCat("{\"prompt\":\"p\"", fields, "}"));
  EXPECT_OK(request.status()) << fields;
  return request.ok() ? *request : OpenAiRequest();
}

TEST(OpenAiRequest, DefaultsAreThoseOfTheApi) {
  const OpenAiRequest r = Completion("");
  EXPECT_EQ(r.params.sampling.temperature, 1);
  EXPECT_EQ(r.params.sampling.top_p, 1);
  EXPECT_EQ(r.max_tokens, 16);
  EXPECT_EQ(r.n, 1);
  EXPECT_FALSE(r.stream);
  EXPECT_FALSE(r.seed.has_value());
  EXPECT_FALSE(r.params.logprobs.has_value());
  ASSERT_OK_AND_ASSIGN(const OpenAiRequest chat,
                       ParseChatRequest("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"));
  EXPECT_FALSE(chat.max_tokens.has_value());
}

TEST(OpenAiRequest, EveryParameterReachesTheEngine) {
  const OpenAiRequest r = Completion(
      ",\"model\":\"m\",\"temperature\":0.5,\"top_p\":0.25,\"top_k\":7,\"min_p\":0.125,"
      "\"presence_penalty\":1,\"frequency_penalty\":-1.5,\"repetition_penalty\":1.25,"
      "\"logit_bias\":{\"70\":-100,\"71\":2.5},\"stop\":[\"a\",\"b\"],\"stop_token_ids\":[5],"
      "\"ignore_eos\":true,\"n\":3,\"best_of\":3,\"max_tokens\":9,\"seed\":-1,\"logprobs\":2,"
      "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"user\":\"u\","
      "\"echo\":false,\"suffix\":null");
  EXPECT_EQ(r.model, "m");
  EXPECT_EQ(r.user, "u");
  const SamplingParams& s = r.params.sampling;
  EXPECT_EQ(s.temperature, 0.5);
  EXPECT_EQ(s.top_p, 0.25);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_EQ(s.min_p, 0.125);
  EXPECT_EQ(s.presence_penalty, 1);
  EXPECT_EQ(s.frequency_penalty, -1.5);
  EXPECT_EQ(s.repetition_penalty, 1.25);
  ASSERT_EQ(s.logit_bias.size(), 2u);
  EXPECT_EQ(s.logit_bias[0].id, 70);
  EXPECT_EQ(s.logit_bias[1].bias, 2.5);
  EXPECT_THAT(r.params.stop, ElementsAre("a", "b"));
  EXPECT_THAT(r.params.stop_ids, ElementsAre(5));
  EXPECT_TRUE(r.params.ignore_eos);
  EXPECT_EQ(r.n, 3);
  EXPECT_EQ(r.max_tokens, 9);
  EXPECT_EQ(r.seed, ~uint64_t{0});
  EXPECT_EQ(r.params.logprobs, 2);
  EXPECT_TRUE(r.stream);
  EXPECT_TRUE(r.include_usage);
  EXPECT_THAT(Completion(",\"stop\":\"x\"").params.stop, ElementsAre("x"));
  EXPECT_EQ(Completion(",\"top_p\":0").params.sampling.temperature, 0) << "the likeliest alone";
  EXPECT_EQ(Completion(",\"top_k\":-1").params.sampling.top_k, 0);
  EXPECT_EQ(Completion(",\"temperature\":null").params.sampling.temperature, 1);
}

TEST(OpenAiRequest, PromptsAreTextOrIdsOneOrMany) {
  const auto prompts = [](const std::string& json) {
    auto r = ParseCompletionRequest("{\"prompt\":" + json + "}");
    EXPECT_OK(r.status());
    return r.ok() ? r->prompts : std::vector<OpenAiPrompt>();
  };
  EXPECT_THAT(prompts("\"a\""), ElementsAre(OpenAiPrompt("a")));
  EXPECT_THAT(prompts("[\"a\",\"b\"]"), ElementsAre(OpenAiPrompt("a"), OpenAiPrompt("b")));
  EXPECT_THAT(prompts("[1,20]"), ElementsAre(OpenAiPrompt(std::vector<int32_t>{1, 20})));
  EXPECT_THAT(prompts("[[1],[2,3]]"), ElementsAre(OpenAiPrompt(std::vector<int32_t>{1}),
                                                  OpenAiPrompt(std::vector<int32_t>{2, 3})));
  const Tokenizer& bytes = ByteTokenizer();
  EXPECT_THAT(*PromptIds(OpenAiPrompt("A"), "prompt", bytes), ElementsAre(kBosId, 8 + 'A'));
  EXPECT_THAT(*PromptIds(OpenAiPrompt(std::vector<int32_t>{9}), "prompt", bytes), ElementsAre(9));
  const ListTokenizer refuses({}, {}, absl::InvalidArgumentError("a pattern gives up"));
  const absl::Status refused = PromptIds(OpenAiPrompt("A"), "input", refuses).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("input has no tokens: a pattern gives up")));
  EXPECT_EQ(ParameterOf(refused), "input");
}

TEST(OpenAiRequest, MessagesAreStringsOrPartsOfText) {
  ASSERT_OK_AND_ASSIGN(
      const OpenAiRequest r,
      ParseChatRequest("{\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\"},"
                       "{\"role\":\"user\",\"name\":\"n\",\"content\":[{\"type\":\"text\","
                       "\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}],"
                       "\"max_tokens\":3,\"max_completion_tokens\":5,\"logprobs\":true,"
                       "\"top_logprobs\":4,\"response_format\":{\"type\":\"text\"},\"tools\":[]}"));
  ASSERT_EQ(r.messages.size(), 2u);
  EXPECT_EQ(r.messages[0].role, "system");
  EXPECT_EQ(r.messages[1].content, "ab");
  EXPECT_EQ(r.max_tokens, 5);
  EXPECT_EQ(r.params.logprobs, 4);
}

struct Bad {
  const char* fields;
  const char* parameter;
  const char* message;
};

TEST(OpenAiRequest, BadCompletionsAreRefusedNamingTheParameter) {
  for (const Bad& c : std::vector<Bad>{
           {"", "prompt", "is needed"},
           {"\"prompt\":[]", "prompt", "is needed"},
           {"\"prompt\":{}", "prompt", "is needed"},
           {"\"prompt\":[1,\"a\"]", "prompt", "no token id"},
           {"\"prompt\":[-1]", "prompt", "no token id"},
           {"\"prompt\":[1.5]", "prompt", "no token id"},
           {"\"prompt\":[99999999999999999999]", "prompt", "no token id"},
           {"\"prompt\":[4294967296]", "prompt", "no token id"},
           {"\"prompt\":[[1],\"a\",{}]", "prompt", "is needed"},
           {"\"prompt\":\"p\",\"temperature\":2.1", "temperature", "allowed are 0 to 2"},
           {"\"prompt\":\"p\",\"temperature\":\"hot\"", "temperature", "a number is needed"},
           {"\"prompt\":\"p\",\"top_p\":-0.1", "top_p", "allowed are 0 to 1"},
           {"\"prompt\":\"p\",\"max_tokens\":0", "max_tokens", "allowed are 1"},
           {"\"prompt\":\"p\",\"max_tokens\":1e3", "max_tokens", "whole number"},
           {"\"prompt\":\"p\",\"max_tokens\":99999999999", "max_tokens", "99999999999"},
           {"\"prompt\":\"p\",\"n\":65", "n", "allowed are 1 to 64"},
           {"\"prompt\":[\"a\",\"b\",\"c\"],\"n\":40", "n", "at most 64"},
           {"\"prompt\":\"p\",\"n\":2,\"best_of\":5", "best_of", "only n"},
           {"\"prompt\":\"p\",\"stop\":5", "stop", "neither"},
           {"\"prompt\":\"p\",\"stop\":[\"a\",5]", "stop", "neither"},
           {"\"prompt\":\"p\",\"stop_token_ids\":[\"a\"]", "stop_token_ids", "list of token ids"},
           {"\"prompt\":\"p\",\"logit_bias\":{\"a\":1}", "logit_bias", "\"a\""},
           {"\"prompt\":\"p\",\"logit_bias\":{\"1\":\"x\"}", "logit_bias", "\"1\""},
           {"\"prompt\":\"p\",\"logit_bias\":[]", "logit_bias", "is not an object"},
           {"\"prompt\":\"p\",\"logprobs\":21", "logprobs", "0 to 20"},
           {"\"prompt\":\"p\",\"echo\":true", "echo", "not supported"},
           {"\"prompt\":\"p\",\"suffix\":\"x\"", "suffix", "not supported"},
           {"\"prompt\":\"p\",\"stream\":1", "stream", "true and false"},
           {"\"prompt\":\"p\",\"stream_options\":{}", "stream_options", "stream: true"},
           {"\"prompt\":\"p\",\"stream\":true,\"stream_options\":{\"x\":1}", "stream_options.x",
            "not a parameter"},
           {"\"prompt\":\"p\",\"temprature\":1", "temprature", "check its spelling"},
           {"\"prompt\":\"p\",\"messages\":[]", "messages", "not a parameter"},
           {"\"prompt\":\"p\",\"model\":5", "model", "a string is needed"},
       }) {
    const absl::Status status = ParseCompletionRequest(absl::StrCat("{", c.fields, "}")).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << c.fields;
    EXPECT_EQ(ParameterOf(status), c.parameter) << c.fields;
  }
}

TEST(OpenAiRequest, BadChatsAreRefusedNamingTheParameter) {
  const std::string good = "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]";
  for (const Bad& c : std::vector<Bad>{
           {"\"messages\":[]", "messages", "at least one"},
           {"\"messages\":{}", "messages", "at least one"},
           {"\"messages\":[5]", "messages[0]", "not an object"},
           {"\"messages\":[{\"role\":\"user\"}]", "messages[0].content", "neither"},
           {"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]",
            "messages[0].content", "type text"},
           {"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":{}}]}]", "messages[0].content",
            "type text"},
           {"\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]", "messages[0].role",
            "\"robot\", allowed"},
           {"\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"extra\":1}]", "messages[0].extra",
            "not a parameter"},
           {"GOOD,\"tools\":[{\"type\":\"function\"}]", "tools", "not supported"},
           {"GOOD,\"tool_choice\":\"required\"", "tool_choice", "not supported"},
           {"GOOD,\"response_format\":{\"type\":\"xml\"}", "response_format", "type text"},
           {"GOOD,\"response_format\":\"text\"", "response_format", "type text"},
           {"GOOD,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":[]}",
            "response_format", "json_schema.schema"},
           {"GOOD,\"modalities\":[\"audio\"]", "modalities", "[\"text\"]"},
           {"GOOD,\"top_logprobs\":3", "top_logprobs", "logprobs: true"},
           {"GOOD,\"logprobs\":3", "logprobs", "true and false"},
           {"GOOD,\"prompt\":\"x\"", "prompt", "not a parameter"},
       }) {
    std::string fields = c.fields;
    if (fields.rfind("GOOD", 0) == 0) fields = good + fields.substr(4);
    const absl::Status status = ParseChatRequest(absl::StrCat("{", fields, "}")).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << fields;
    EXPECT_EQ(ParameterOf(status), c.parameter) << fields;
  }
}

TEST(OpenAiRequest, TheFormatOfTheTextCanBeConstrained) {
  EXPECT_EQ(Completion(",\"response_format\":{\"type\":\"text\"}").params.format,
            OutputFormat::kText);
  EXPECT_EQ(Completion(",\"response_format\":{\"type\":\"json_object\"}").params.format,
            OutputFormat::kJsonObject);
  const OpenAiRequest r = Completion(
      ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"strict\":"
      "true,"
      "\"schema\":{\"type\":\"object\"}}}");
  EXPECT_EQ(r.params.format, OutputFormat::kJsonSchema);
  EXPECT_EQ(r.params.json_schema, "{\"type\":\"object\"}");
}

TEST(OpenAiRequest, EmbeddingsTakeWhatPromptsTake) {
  ASSERT_OK_AND_ASSIGN(const OpenAiEmbeddingsRequest r,
                       ParseEmbeddingsRequest("{\"input\":[\"a\",\"b\"],\"model\":\"m\","
                                              "\"encoding_format\":\"base64\"}"));
  EXPECT_EQ(r.inputs.size(), 2u);
  EXPECT_TRUE(r.base64);
  for (const Bad& c : std::vector<Bad>{
           {"", "input", "is needed"},
           {"\"input\":\"a\",\"encoding_format\":\"hex\"", "encoding_format", "base64"},
           {"\"input\":\"a\",\"dimensions\":5", "dimensions", "not supported"},
           {"\"input\":\"a\",\"prompt\":5", "prompt", "not a parameter"}}) {
    const absl::Status status = ParseEmbeddingsRequest(absl::StrCat("{", c.fields, "}")).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
    EXPECT_EQ(ParameterOf(status), c.parameter);
  }
}

TEST(OpenAiRequest, ChoicesDifferInTheirSeedAlone) {
  OpenAiRequest r = Completion(",\"n\":2,\"seed\":40,\"max_tokens\":5");
  RequestLimits limits;
  limits.vocabulary = 10;
  limits.context = 100;
  limits.kv_pages = 100;
  ASSERT_OK_AND_ASSIGN(const std::vector<GenerateParams> made,
                       MakeGenerations(r, {{1, 2}, {3}}, limits, 7));
  ASSERT_EQ(made.size(), 4u);
  EXPECT_THAT(made[1].prompt, ElementsAre(1, 2));
  EXPECT_THAT(made[2].prompt, ElementsAre(3));
  EXPECT_EQ(made[0].sampling.seed, 40u);
  EXPECT_EQ(made[3].sampling.seed, 43u);
  r.seed.reset();
  EXPECT_EQ((*MakeGenerations(r, {{1}}, limits, 7))[1].sampling.seed, 8u);
}

TEST(OpenAiRequest, WithoutALimitATextMayFillTheContextOrTheMemory) {
  OpenAiRequest r;
  RequestLimits limits;
  limits.vocabulary = 10;
  limits.context = 100;
  limits.kv_pages = 100;
  EXPECT_EQ((*MakeGenerations(r, {{1, 2}}, limits, 7))[0].max_tokens, 98);
  limits.kv_pages = 2;
  EXPECT_EQ((*MakeGenerations(r, {{1, 2}}, limits, 7))[0].max_tokens, 30);
  EXPECT_THAT(MakeGenerations(r, {std::vector<int32_t>(40, 1)}, limits, 7).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace tritter
