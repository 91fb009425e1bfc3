#include "inference/http/json_fields.h"

#include <limits>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

absl::Status Parse(const std::string& text) { return ParseJsonObject(text).status(); }

TEST(ParseJsonObject, RefusesWhatIsNoObjectWithoutThrowing) {
  EXPECT_OK(Parse("{\"a\":[1,{}]}"));
  const auto invalid = [](const char* what) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what));
  };
  EXPECT_THAT(Parse(""), invalid("not JSON"));
  EXPECT_THAT(Parse("[1]"), invalid("is array"));
  EXPECT_THAT(Parse("1e999"), invalid("not JSON"));
  EXPECT_THAT(Parse("{\"a\":1e999}"), invalid("not JSON"));
  EXPECT_THAT(Parse("{\"a\":"), invalid("line 1, column"));
  EXPECT_THAT(Parse("{\"a\":\"\xff\xfe\"}"), invalid("not JSON"));
  EXPECT_THAT(Parse("{} {}"), invalid("not JSON"));
  EXPECT_THAT(Parse(std::string("{\"a\0\":1}", 9)), invalid("not JSON"));
}

TEST(ParseJsonObject, DepthIsBoundedBeforeParsing) {
  const auto nested = [](int depth) {
    return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_OK(Parse(nested(kMaxJsonDepth)));
  EXPECT_THAT(Parse(nested(kMaxJsonDepth + 1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("65 levels deep")));
  EXPECT_THAT(Parse(std::string(1 << 20, '[')), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_OK(Parse("{\"a\":\"" + std::string(1000, '[') + "\\\"[\"}"));
}

TEST(ParseJsonObject, ErrorMessagesAreUtf8) {
  const std::string message(Parse("{\"\xc3\x28\":1}").message());
  EXPECT_NO_THROW((void)nlohmann::json(message).dump());
}

TEST(JsonFields, ReadsValuesAndNamesWhatIsWrong) {
  struct Case {
    const char* json;
    const char* message;  // "" for OK
  };
  for (const Case& c : std::vector<Case>{
           {"{}", ""},
           {"{\"b\":null,\"n\":null,\"i\":null,\"s\":null}", ""},
           {"{\"b\":true,\"n\":1,\"i\":-3,\"s\":\"x\"}", ""},
           {"{\"b\":1}", "at.b is number"},
           {"{\"n\":\"1\"}", "at.n is string, a number is needed"},
           {"{\"n\":2.5}", "at.n is 2.5, allowed are 0 to 2"},
           {"{\"n\":-1e300}", "at.n is -1e+300"},
           {"{\"i\":1.5}", "at.i is a number with a fraction"},
           {"{\"i\":1e30}", "at.i is a number with a fraction or exponent"},
           {"{\"i\":18446744073709551615}", "is 18446744073709551615, allowed are -5 to 5"},
           {"{\"i\":6}", "is 6, allowed"},
           {"{\"s\":{}}", "at.s is object"},
           {"{\"x\":1}", "at.x is not a parameter"},
           {"{\"t\":[{}]}", "at.t is not supported"},
           {"{\"t\":[],\"u\":5}", ""},
       }) {
    ASSERT_OK_AND_ASSIGN(const nlohmann::json json, ParseJsonObject(c.json));
    JsonFields fields(json, "at.");
    bool b = false;
    double n = 0;
    int64_t i = 0;
    std::string s;
    fields.Bool("b", &b);
    fields.Number("n", 0, 2, &n);
    fields.Integer("i", -5, 5, &i);
    fields.String("s", &s);
    fields.Unsupported({"t"});
    fields.Ignore({"u"});
    const absl::Status status = fields.Finish();
    if (c.message[0] == '\0') {
      EXPECT_OK(status) << c.json;
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
      EXPECT_THAT(ParameterOf(status), HasSubstr("at.")) << c.json;
    }
  }
}

}  // namespace
}  // namespace tritter
