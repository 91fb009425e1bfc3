#include "inference/predict_v2.h"

#include <google/protobuf/text_format.h>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

inference::ModelInferRequest Parse(const std::string& text) {
  inference::ModelInferRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

const char kOneText[] =
    "inputs { name: 'text_input' datatype: 'BYTES' shape: 1 contents { bytes_contents: 'a' } } ";

TEST(PredictV2, ReadsTextsTypedAndRaw) {
  ASSERT_OK_AND_ASSIGN(
      PredictRequest r,
      ReadInferRequest(Parse("inputs { name: 'text_input' datatype: 'BYTES' shape: 2 shape: 1 "
                             "contents { bytes_contents: 'a' bytes_contents: '' } }")));
  EXPECT_THAT(r.texts, ElementsAre("a", ""));
  EXPECT_FALSE(r.raw);
  EXPECT_EQ(r.outputs.size(), 4u);
  ASSERT_OK_AND_ASSIGN(
      r, ReadInferRequest(Parse("inputs { name: 'text_input' datatype: 'BYTES' shape: 2 } "
                                "outputs { name: 'text_output' } raw_input_contents: "
                                "'\\003\\000\\000\\000abc\\000\\000\\000\\000'")));
  EXPECT_THAT(r.texts, ElementsAre("abc", ""));
  EXPECT_TRUE(r.raw);
  EXPECT_THAT(r.outputs, ElementsAre("text_output"));
}

TEST(PredictV2, ReadsParametersOfEveryNumberType) {
  ASSERT_OK_AND_ASSIGN(const PredictRequest r,
                       ReadInferRequest(Parse(
                           std::string(kOneText) +
                           "parameters { key: 'max_tokens' value { int64_param: 9 } }"
                           "parameters { key: 'temperature' value { int64_param: 1 } }"
                           "parameters { key: 'top_p' value { double_param: 0.5 } }"
                           "parameters { key: 'top_k' value { uint64_param: 7 } }"
                           "parameters { key: 'seed' value { uint64_param: 18446744073709551615 } }"
                           "parameters { key: 'stop' value { string_param: 'x' } }"
                           "parameters { key: 'ignore_eos' value { bool_param: true } }"
                           "parameters { key: 'timeout' value { int64_param: 2000000 } }"
                           "parameters { key: 'priority' value { uint64_param: 1 } }")));
  EXPECT_EQ(r.max_tokens, 9);
  EXPECT_EQ(r.params.sampling.temperature, 1);
  EXPECT_EQ(r.params.sampling.top_p, 0.5);
  EXPECT_EQ(r.params.sampling.top_k, 7);
  EXPECT_EQ(r.params.sampling.seed, ~uint64_t{0});
  EXPECT_THAT(r.params.stop, ElementsAre("x"));
  EXPECT_TRUE(r.params.ignore_eos);
  EXPECT_EQ(r.params.timeout, absl::Seconds(2));
}

TEST(PredictV2, RefusesWhatItDoesNotUnderstand) {
  struct Case {
    const char* request;  // "+…": beside kOneText
    const char* message;
  };
  for (const Case& c : std::vector<Case>{
           {"", "inputs are 0 tensors; one is needed"},
           {"inputs { name: 'x' }", "the first is \"x\""},
           {"inputs { name: 'text_input' datatype: 'INT64' shape: 1 }", "BYTES is needed"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: -1 }", "dimension of -1"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: 0 }", "dimension of 0"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: 9223372036854775807 shape: 2 }",
            "1 to 64 texts"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: 60 shape: 60 }", "1 to 64 texts"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: 2 contents { bytes_contents: 'a' "
            "} }",
            "1 bytes_contents, its shape says 2"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: 1 } raw_input_contents: 'ab'",
            "end at byte 2 within element 0"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: 1 } raw_input_contents: "
            "'\\377\\377\\377\\377ab'",
            "end at byte 6 within element 0"},
           {"inputs { name: 'text_input' datatype: 'BYTES' shape: 1 } raw_input_contents: "
            "'\\000\\000\\000\\000ab'",
            "2 bytes behind"},
           {"+ raw_input_contents: ''", "must then be empty"},
           {"+ outputs { name: 'logits' }", "\"logits\" is not made here"},
           {"+ parameters { key: 'wat' value { int64_param: 9 } }", "wat is not known"},
           {"+ parameters { key: 'max_tokens' value { double_param: 9 } }", "a whole number"},
           {"+ parameters { key: 'max_tokens' value { uint64_param: 18446744073709551615 } }",
            "a whole number"},
           {"+ parameters { key: 'temperature' value { string_param: '1' } }", "not a number"},
           {"+ parameters { key: 'temperature' value { double_param: nan } }", "not a number"},
           {"+ parameters { key: 'stop' value { int64_param: 1 } }", "not a string"},
           {"+ parameters { key: 'timeout' value { int64_param: 0 } }", "microseconds"},
           {"+ parameters { key: 'ignore_eos' value { int64_param: 0 } }", "true or false"},
           {"+ parameters { key: 'seed' value { } }", "a whole number"},
       }) {
    const std::string text =
        c.request[0] == '+' ? std::string(kOneText) + (c.request + 1) : c.request;
    EXPECT_THAT(ReadInferRequest(Parse(text)).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << text;
  }
}

TEST(PredictV2, AnswersInTheFormOfTheRequest) {
  ServedModel model;
  model.name = "m";
  model.version = 3;
  inference::ModelInferRequest asked;
  asked.set_id("7");
  PredictRequest request;
  request.outputs = {"text_output", "generated_tokens"};
  PredictedText a, b;
  a.text = "xy";
  b.usage.generated_tokens = 258;
  inference::ModelInferResponse typed = MakeInferResponse(asked, model);
  AddOutputs(request, {a, b}, &typed);
  EXPECT_EQ(typed.id(), "7");
  EXPECT_EQ(typed.model_version(), "3");
  ASSERT_EQ(typed.outputs_size(), 2);
  EXPECT_EQ(typed.outputs(0).contents().bytes_contents(0), "xy");
  EXPECT_EQ(typed.outputs(1).contents().int64_contents(1), 258);
  EXPECT_EQ(typed.outputs(1).shape(0), 2);
  request.raw = true;
  inference::ModelInferResponse raw = MakeInferResponse(asked, model);
  AddOutputs(request, {a, b}, &raw);
  ASSERT_EQ(raw.raw_output_contents_size(), 2);
  EXPECT_EQ(raw.raw_output_contents(0), std::string("\x02\0\0\0xy\0\0\0\0", 10));
  EXPECT_EQ(raw.raw_output_contents(1), std::string("\0\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0", 16));
  EXPECT_FALSE(raw.outputs(0).has_contents());
}

}  // namespace
}  // namespace tritter
