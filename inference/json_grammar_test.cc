#include "inference/json_grammar.h"

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/json_automaton.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

enum class Verdict { kComplete, kOpen, kImpossible };

Verdict Read(const JsonAutomaton& automaton, const std::string& text) {
  JsonState state = automaton.Start(), next;
  for (const char c : text) {
    if (!automaton.Step(state, static_cast<uint8_t>(c), &next)) return Verdict::kImpossible;
    std::swap(state, next);
  }
  return automaton.Complete(state) ? Verdict::kComplete : Verdict::kOpen;
}

struct Case {
  std::string schema;
  std::vector<std::string> complete, open, impossible;
};

TEST(JsonGrammar, AllowsWhatTheSchemaAllows) {
  const std::vector<Case> cases = {
      {R"({"type":"integer"})",
       {"0", "-12", " 7", "123456789012345678"},
       {"", "-", "\n \t"},
       {"01", "1.0", "1e3", "+1", "1234567890123456789", "\"1\"", "1 "}},
      {R"({"type":"number"})",
       {"0", "-0.5", "1e5", "2.5E-07", "10"},
       {"1.", "1e", "1e-"},
       {".5", "1e100", "1.5.5", "--1"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"tr"}, {"null", "True", "truee"}},
      {R"({"type":["string","null"],"maxLength":3})",
       {"null", R"("abc")", R"("\u00e9\n")"},
       {R"("ab)"},
       {R"("abcd")", "1", "\"a\nb\"", R"("\x")", R"("\ud83d)"}},
      {R"({"type":"string","minLength":2,"maxLength":2})",
       {"\"\xc3\xa9\xf0\x9f\x98\x80\"", R"("\"\\")"},
       {"\"a", "\"\xc3"},
       {R"("a")", R"("abc")", "\"\xc0\x80", "\"\xed\xa0\x80", "\"\xf5", "\"\xc3\"", "\"\x80"}},
      {R"({"enum":["a","ab",1,12,null,{"x":[1]}]})",
       {R"("a")", R"("ab")", "1", "12", "null", R"({"x":[1]})"},
       {"\"a", "n"},
       {R"("b")", "2", "123", R"({"x": [1]})", "1,"}},
      {R"({"type":["string","null"],"enum":["a",null]})", {R"("a")", "null"}, {}, {"1"}},
      {R"({"const":"x"})", {R"("x")", "\n  \"x\""}, {}, {R"("y")"}},
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2})",
       {"[1]", "[ 1 , 2 ]", "[12,3\n]"},
       {"[", "[1", "[1,"},
       {"[]", "[1,2,3]", "[,", "[1 2", "[\"\""}},
      {R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {}, {"[1"}},
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{},"c":{"type":"null"}},
           "required":["b"],"additionalProperties":false})",
       {R"({"b":1})", R"({ "a" : 1, "b" : [ {} , "x" ] , "c":null })", R"({"a":-1,"b":true})"},
       {"{", R"({"a":1)", R"({"a":1,)"},
       {"{}", R"({"a":1})", R"({"c)", R"({"b":1,"a)", R"({"b":1,"b)", R"({"d)", R"({"a":"x)", "{,",
        R"({"b":1,})"}},
      {R"({"properties":{"ab":{"type":"null"}},"additionalProperties":{"type":"integer"}})",
       {"{}", R"({"ab":null})", R"({"a":1,"abc":2,"":3})", R"({"ab":null,"x":1})"},
       {R"({"x)"},
       {R"({"ab":1)", R"({"x":null)", R"({"x":1,"ab")", "[", R"({"x\n)"}},
      {R"({"required":["k"]})", {R"({"k":{}})", R"({"k":1,"l":[]})"}, {}, {"{}", R"({"l)"}},
      {R"({"anyOf":[{"type":"object","properties":{"kind":{"const":"a"},"n":{"type":"integer"}},
                     "required":["kind","n"],"additionalProperties":false},
                    {"type":"object","properties":{"kind":{"const":"b"}},"required":["kind"],
                     "additionalProperties":false},{"type":"integer"},{"type":"number"}]})",
       {R"({"kind":"a","n":1})", R"({"kind":"b"})", "1", "1.5"},
       {R"({"kind":)"},
       {R"({"kind":"a"})", R"({"kind":"b","n)", R"({"kind":"c)"}},
      {R"({"$ref":"#/$defs/list","$defs":{"list":{"type":"object","properties":{
            "next":{"anyOf":[{"$ref":"#/$defs/list"},{"type":"null"}]}},"required":["next"],
            "additionalProperties":false}}})",
       {R"({"next":null})", R"({"next":{"next":{"next":null}}})"},
       {R"({"next":{)"},
       {"{}", R"({"next":1)"}},
      {R"({"definitions":{"a/b":{"type":"null"}},"items":{"$ref":"#/definitions/a~1b"}})",
       {"[null,null]"},
       {},
       {"[1"}},
      {"true", {"1", "[[]]", R"({"a":"b"})", "null"}, {}, {"nil"}},
      {R"({"title":"t","description":"d","default":1,"examples":[]})", {"{}", "0"}, {}, {"x"}},
  };
  for (const Case& c : cases) {
    const absl::StatusOr<JsonGrammar> grammar = CompileJsonSchema(c.schema);
    ASSERT_OK(grammar.status());
    const JsonAutomaton automaton(*grammar);
    for (const std::string& text : c.complete)
      EXPECT_EQ(Read(automaton, text), Verdict::kComplete) << c.schema << "\n" << text;
    for (const std::string& text : c.open)
      EXPECT_EQ(Read(automaton, text), Verdict::kOpen) << c.schema << "\n" << text;
    for (const std::string& text : c.impossible)
      EXPECT_EQ(Read(automaton, text), Verdict::kImpossible) << c.schema << "\n" << text;
  }
}

TEST(JsonGrammar, AnyObjectIsAnObjectOfAnyContent) {
  const JsonAutomaton automaton(AnyJsonObject());
  EXPECT_EQ(Read(automaton, R"({"a":[1,{"b":null}],"c":"d"})"), Verdict::kComplete);
  EXPECT_EQ(Read(automaton, "{}"), Verdict::kComplete);
  EXPECT_EQ(Read(automaton, "{}}"), Verdict::kImpossible);
  EXPECT_EQ(Read(automaton, "[]"), Verdict::kImpossible);
  // Nested for ever is not offered; what is closed again is.
  std::string deep = "{\"a\":";
  for (int i = 0; i < 62; ++i) deep += "[";
  EXPECT_EQ(Read(automaton, deep), Verdict::kOpen);
  EXPECT_EQ(Read(automaton, deep + "[[[["), Verdict::kImpossible);
}

TEST(JsonGrammar, WhitespaceIsBounded) {
  const JsonAutomaton automaton(AnyJsonObject());
  for (const std::string space : {"", " ", "\n", "\n\t", "\n                                "})
    EXPECT_EQ(Read(automaton, "{" + space + "}"), Verdict::kComplete);
  for (const std::string space : {"  ", " \n", "\t", "\r\n", "\n\n"})
    EXPECT_EQ(Read(automaton, "{" + space), Verdict::kImpossible);
  EXPECT_EQ(Read(automaton, "{\n" + std::string(33, ' ')), Verdict::kImpossible);
}

TEST(JsonGrammar, RefusesWhatItDoesNotSupportWithItsPath) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "not JSON"},
      {"[]", "json_schema: #: expected an object or true, actual []"},
      {"false", "#: expected an object or true"},
      {R"({"type":"strin"})", "#/type: expected object, array, string"},
      {R"({"type":[]})", "#/type: expected at least one type"},
      {R"({"type":["null","string","null"]})", "#/type: names a type twice"},
      {R"({"const":)" + std::string(500, '[') + std::string(500, ']') + "}", "501 levels deep"},
      {R"({"type":"integer","minimum":3})", "#/minimum: not supported here; supported are: type"},
      {R"({"properties":{"a":{"type":"string","pattern":"x"}}})",
       "#/properties/a/pattern: not supported here; supported are: type, enum, const, minLength"},
      {R"({"properties":{"a/b":{"items":{"format":"date"}}}})",
       "#/properties/a~1b/items/format: not supported"},
      {R"({"items":{"oneOf":[]}})", "#/items/oneOf: not supported"},
      {R"({"type":"string","items":{}})", "#/items: not supported here"},
      {R"({"anyOf":[{"type":"null"},{"allOf":[]}]})", "#/anyOf/1/allOf: not supported"},
      {R"({"anyOf":[]})", "#/anyOf: expected an array with at least one schema"},
      {R"({"enum":[]})", "#/enum: expected an array with at least one value"},
      {R"({"type":"string","enum":["a",1]})", "#/enum: 1 is not of type \"string\""},
      {R"({"type":["string","null"],"enum":[1]})", "#/enum: 1 is not of type"},
      {R"({"$ref":"#/$defs/x"})", "#/$ref: refers to \"#/$defs/x\", which is not there"},
      {R"({"$ref":"other.json"})", "refers to \"other.json\""},
      {R"({"$ref":"#"})", "#: refers to nothing but itself"},
      {R"({"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"})",
       "refers to nothing but itself"},
      {R"({"properties":{"next":{"$ref":"#"}},"required":["next"]})",
       "#: contains itself without end"},
      {R"({"minItems":3,"maxItems":2})", "#: minItems 3 is more than maxItems 2"},
      {R"({"minLength":-1})", "#/minLength: expected a whole number of 0 and more, actual -1"},
      {R"({"maxLength":1.5})", "#/maxLength: expected a whole number"},
      {R"({"required":["a"],"additionalProperties":false})",
       "#/required: \"a\" is not among `properties`"},
      {R"({"required":"a"})", "#/required: expected an array of names"},
      {R"({"properties":[]})", "#/properties: expected an object"},
  };
  for (const auto& [schema, words] : cases) {
    EXPECT_THAT(CompileJsonSchema(schema).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(words)))
        << schema;
  }
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += R"({"items":)";
  EXPECT_THAT(CompileJsonSchema(deep + "true" + std::string(200, '}')).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nested deeper than 100")));
  EXPECT_THAT(CompileJsonSchema(std::string(300 << 10, ' ')).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("307200 bytes")));
}

}  // namespace
}  // namespace tritter
