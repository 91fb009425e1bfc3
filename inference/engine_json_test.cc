#include <nlohmann/json.hpp>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/engine.h"
#include "inference/sequence.h"
#include "inference/testing/engine_requests.h"
#include "inference/testing/list_tokenizer.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

GenerateParams JsonParams(const std::string& schema, uint64_t seed) {
  GenerateParams p = Params({1, 80, 90}, 200);
  p.ignore_eos = false;
  p.format = schema.empty() ? OutputFormat::kJsonObject : OutputFormat::kJsonSchema;
  p.json_schema = schema;
  p.sampling = {.temperature = 1.5, .seed = seed};
  return p;
}

TEST(EngineJson, AnObjectOfAnyContent) {
  auto engine = MakeEngine();
  int finished = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const Result r = Generate(*engine, JsonParams("", seed));
    EXPECT_EQ(r.text[r.text.find_first_not_of(" \n\t\r")], '{');
    if (r.finish != FinishReason::kStop) continue;  // cut by max_tokens
    ++finished;
    EXPECT_TRUE(nlohmann::json::parse(r.text, nullptr, false).is_object()) << r.text;
  }
  EXPECT_GT(finished, 3);
}

TEST(EngineJson, AValueOfTheSchemaEndsByItself) {
  auto engine = MakeEngine();
  const std::string schema =
      R"({"type":"object","properties":{"city":{"enum":["Bern","Oslo"]},"n":{"type":"boolean"}},
          "required":["city","n"],"additionalProperties":false})";
  for (uint64_t seed = 0; seed < 10; ++seed) {
    GenerateParams p = JsonParams(schema, seed);
    p.ignore_eos = seed % 2 == 0;
    p.sampling.logit_bias = {{8 + ' ', -100}, {8 + '\n', -100}, {8 + '\t', -100}, {8 + '\r', -100}};
    const Result r = Generate(*engine, p);
    EXPECT_EQ(r.finish, FinishReason::kStop);
    const auto json = nlohmann::json::parse(r.text, nullptr, false);
    ASSERT_TRUE(json.is_object()) << r.text;
    EXPECT_TRUE(json["city"] == "Bern" || json["city"] == "Oslo");
    EXPECT_TRUE(json["n"].is_boolean());
  }
}

TEST(EngineJson, ANumberEndsWithAnIdThatEndsTexts) {
  auto engine = MakeEngine();
  GenerateParams p = JsonParams(R"({"type":"integer"})", 1);
  p.sampling.logit_bias = {{kEosId, 100}};
  const Result r = Generate(*engine, p);
  EXPECT_EQ(r.finish, FinishReason::kStop);
  EXPECT_TRUE(nlohmann::json::parse(r.text, nullptr, false).is_number_integer()) << r.text;
}

TEST(EngineJson, RefusesASchemaThatItDoesNotSupport) {
  auto engine = MakeEngine();
  EXPECT_THAT(engine->Generate(JsonParams(R"({"type":"integer","minimum":1})", 1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("json_schema: #/minimum: not supported")));
}

TEST(EngineJson, FailsWhereNoTokenContinues) {
  const ListTokenizer quotes({"", "\"", "x"}, {0});
  JsonGrammar grammar = *CompileJsonSchema(R"({"const":"z"})");
  auto constraint = std::make_unique<JsonConstraint>(
      std::make_shared<JsonAutomaton>(std::move(grammar)),
      std::make_shared<JsonVocabulary>(quotes, 3), std::vector<int32_t>{0});
  auto channel = std::make_shared<RequestChannel>();
  Sequence s(Params({1}, 5), channel, &quotes, std::move(constraint), absl::ZeroDuration());
  ASSERT_TRUE(s.allowed()->Has(1));
  s.Constrain(1);
  s.Accept(1, {}, absl::ZeroDuration());
  s.Publish();
  Generation generation(channel);
  const Result r = Collect(generation);
  EXPECT_EQ(r.finish, FinishReason::kFailed);
  EXPECT_THAT(r.error, StatusIs(absl::StatusCode::kInternal,
                                HasSubstr("after 1 tokens no token of the vocabulary")));
}

}  // namespace
}  // namespace tritter
