#include "inference/json_constraint.h"

#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/json_grammar.h"
#include "inference/sampler.h"
#include "inference/testing/list_tokenizer.h"

namespace tritter {
namespace {

using Json = nlohmann::ordered_json;

constexpr int32_t kEnd = 0;

// Every single byte, and longer tokens as a vocabulary has them.
ListTokenizer TestTokenizer() {
  std::vector<std::string> tokens = {""};  // the end
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  for (const char* const t : {"{\"",          "\": ",       "\":",     "\",",   "\"}",
                              "},",           "}}",         "]}",      "[[",    "[]",
                              "{}",           ", \"",       ",\n  ",   "    ",  "true",
                              "false",        "null",       "tru",     "lse",   "12",
                              "345",          "0.5",        "1e",      "-1",    "name",
                              "na",           "me",         "value",   "next",  "a\"",
                              "\"a",          "\"a\"",      "\\n",     "\\u00", "\xc3\xa9",
                              "\xe2\x82",     "\x82\xac",   "x\xe2",   "abc",   "some longer words",
                              "\"name\": \"", "null}",      "\"},{\"", "e9\"",  "\\\"",
                              "\x01z",        "k\xc3\xa4se"})
    tokens.push_back(t);
  tokens.push_back("true");  // the same bytes twice
  return ListTokenizer(std::move(tokens), {kEnd});
}

// JSON Schema as far as the generator below goes.
bool Satisfies(const Json& schema, const Json& value, const Json& root) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (schema.contains("$ref")) {
    const std::string name = schema["$ref"];
    return Satisfies(name == "#" ? root : root["$defs"][name.substr(8)], value, root);
  }
  const auto any = [&](const Json& list, auto holds) {
    return std::any_of(list.begin(), list.end(), holds);
  };
  if (schema.contains("anyOf") &&
      !any(schema["anyOf"], [&](const Json& s) { return Satisfies(s, value, root); }))
    return false;
  if (schema.contains("const") && nlohmann::json(schema["const"]) != nlohmann::json(value))
    return false;
  if (schema.contains("enum") && !any(schema["enum"], [&](const Json& v) {
        return nlohmann::json(v) == nlohmann::json(value);
      }))
    return false;
  if (schema.contains("type")) {
    const auto is = [&](const std::string& type) {
      return type == "object"    ? value.is_object()
             : type == "array"   ? value.is_array()
             : type == "string"  ? value.is_string()
             : type == "integer" ? value.is_number_integer()
             : type == "number"  ? value.is_number()
             : type == "boolean" ? value.is_boolean()
                                 : value.is_null();
    };
    const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
    if (!any(types, [&](const Json& t) { return is(t.get<std::string>()); })) return false;
  }
  if (value.is_string()) {
    const std::string text = value;
    const auto length = std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
    return length >= schema.value("minLength", 0) && length <= schema.value("maxLength", 1 << 30);
  }
  if (value.is_array()) {
    const auto count = static_cast<int64_t>(value.size());
    return count >= schema.value("minItems", 0) && count <= schema.value("maxItems", 1 << 30) &&
           std::all_of(value.begin(), value.end(), [&](const Json& v) {
             return Satisfies(schema.value("items", Json(true)), v, root);
           });
  }
  if (value.is_object()) {
    for (const Json& name : schema.value("required", Json::array()))
      if (!value.contains(name.get<std::string>())) return false;
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [key, v] : value.items()) {
      const Json s = properties.contains(key) ? properties[key]
                                              : schema.value("additionalProperties", Json(true));
      if (!Satisfies(s, v, root)) return false;
    }
  }
  return true;
}

Json RandomSchema(Philox& random, int depth) {
  const auto flip = [&] { return random.Below(2) == 0; };
  switch (random.Below(depth > 0 ? 11 : 7)) {
    case 0:
      return {{"type", "integer"}};
    case 1:
      return {{"type", flip() ? "number" : "boolean"}};
    case 2: {
      Json s = {{"type", "string"}};
      const uint64_t least = random.Below(4);
      if (flip()) s["minLength"] = least;
      if (random.Below(4) > 0) s["maxLength"] = least + random.Below(6);
      return s;
    }
    case 3: {
      const Json values = {"a",     "name",
                           1,       12,
                           -3,      true,
                           nullptr, "k\xc3\xa4se \"x\"",
                           1.5,     Json::object({{"a", Json::array({1})}})};
      Json s = {{"enum", Json::array()}};
      for (uint64_t n = 1 + random.Below(4); n > 0; --n)
        s["enum"].push_back(values[random.Below(values.size())]);
      return s;
    }
    case 4:
      return {{"const", flip() ? Json("next") : Json(123)}};
    case 5:
      return {{"type", {"integer", "null"}}};
    case 6:
      return {{"$ref", flip() ? "#/$defs/list" : "#/$defs/short"}};
    case 7: {
      Json s = {{"type", "array"}, {"items", RandomSchema(random, depth - 1)}};
      const uint64_t least = random.Below(3);
      if (flip()) s["minItems"] = least;
      if (random.Below(3) > 0) s["maxItems"] = least + random.Below(4);
      return s;
    }
    case 8: {
      Json s = {{"anyOf", Json::array()}};
      for (uint64_t n = 1 + random.Below(3); n > 0; --n)
        s["anyOf"].push_back(RandomSchema(random, depth - 1));
      return s;
    }
    default: {
      Json s = {{"type", "object"}, {"properties", Json::object()}};
      const std::vector<std::string> names = {"name", "na", "value", "next", "k\xc3\xa4se", "q\"s"};
      for (uint64_t n = random.Below(5); n > 0; --n) {
        const std::string name = names[random.Below(names.size())];
        s["properties"][name] = RandomSchema(random, depth - 1);
        if (flip()) s["required"].push_back(name);
      }
      if (random.Below(3) > 0)
        s["additionalProperties"] = flip() ? Json(false) : RandomSchema(random, depth - 1);
      return s;
    }
  }
}

TEST(JsonConstraint, WhateverTheLogitsEveryFinishedTextSatisfiesItsSchema) {
  const ListTokenizer tokenizer = TestTokenizer();
  const int32_t vocabulary = tokenizer.vocabulary();
  // Some ids more than the tokenizer has, as models have.
  const auto tokens = std::make_shared<JsonVocabulary>(tokenizer, vocabulary + 9);
  Philox random(5);
  int finished = 0;
  constexpr int kTexts = 300;
  for (int round = 0; round < kTexts; ++round) {
    Json schema = RandomSchema(random, 3);
    schema["$defs"]["short"] = {{"type", "string"}, {"maxLength", 3}};
    schema["$defs"]["list"] = Json::parse(
        R"({"type":"object","properties":{"value":{"type":"integer"},"next":{"anyOf":[
            {"$ref":"#/$defs/list"},{"type":"null"}]}},"required":["next"],
            "additionalProperties":false})");
    ASSERT_OK_AND_ASSIGN(JsonGrammar grammar, CompileJsonSchema(schema.dump()));
    const auto automaton = std::make_shared<JsonAutomaton>(std::move(grammar));
    JsonConstraint constraint(automaton, tokens, {kEnd});
    std::string text;
    bool ended = false;
    for (int step = 0; step < 600 && !ended; ++step) {
      std::vector<float> logits(static_cast<size_t>(vocabulary) + 9);
      for (float& l : logits) l = static_cast<float>(2 * random.Normal());
      for (const char c : {'"', '}', ']', '1', 'n'}) logits[static_cast<size_t>(c) + 1] += 4;
      ASSERT_FALSE(constraint.allowed().empty()) << schema << "\n" << text;
      ASSERT_EQ(constraint.allowed().Has(kEnd), constraint.complete());
      const int32_t id = Sample(logits, {.temperature = 1, .top_p = 0.99, .seed = 9},
                                random.Below(1 << 30), {}, &constraint.allowed());
      ended = id == kEnd;
      if (ended) break;
      text += tokenizer.TokenBytes(id);
      constraint.Accept(id);
    }
    if (!ended) continue;
    ++finished;
    const Json value = Json::parse(text, nullptr, false);
    ASSERT_FALSE(value.is_discarded()) << schema << "\n" << text;
    EXPECT_TRUE(Satisfies(schema, value, schema)) << schema << "\n" << text;
  }
  EXPECT_GT(finished, kTexts * 4 / 5);
}

TEST(JsonConstraint, AllowsExactlyTheTokensWhoseBytesMayFollow) {
  const ListTokenizer tokenizer = TestTokenizer();
  const auto tokens = std::make_shared<JsonVocabulary>(tokenizer, tokenizer.vocabulary());
  Philox random(6);
  for (const char* const schema :
       {R"({"type":"object"})", R"({"type":"string","maxLength":9})",
        R"({"properties":{"name":{"type":"string","minLength":3,"maxLength":5},"na":{}},
            "additionalProperties":{"enum":["a","abc",12,123,true]}})",
        R"({"items":{"anyOf":[{"type":"string","maxLength":4},{"const":"abc"},{"type":"number"},
            {"type":"object","properties":{"value":{"type":"integer"}}}]}})"}) {
    ASSERT_OK_AND_ASSIGN(JsonGrammar grammar, CompileJsonSchema(schema));
    const JsonAutomaton automaton(std::move(grammar));
    for (int round = 0; round < 12; ++round) {
      JsonState state = automaton.Start();
      for (int step = 0; step < 40; ++step) {
        TokenMask mask(tokenizer.vocabulary());
        tokens->AddAllowed(automaton, state, &mask);
        std::vector<JsonState> after;
        for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
          JsonState at = state, next;
          bool follows = id != kEnd;
          for (const char c : tokenizer.TokenBytes(id)) {
            follows = follows && automaton.Step(at, static_cast<uint8_t>(c), &next);
            std::swap(at, next);
          }
          ASSERT_EQ(mask.Has(id), follows) << schema << " token " << tokenizer.TokenBytes(id);
          if (follows) after.push_back(at);
        }
        if (after.empty()) break;
        state = after[random.Below(after.size())];
      }
    }
  }
}

TEST(JsonConstraint, WhatEndsTheTextIsAllowedWhenItIsComplete) {
  const ListTokenizer tokenizer = TestTokenizer();
  const auto tokens = std::make_shared<JsonVocabulary>(tokenizer, tokenizer.vocabulary());
  ASSERT_OK_AND_ASSIGN(JsonGrammar grammar, CompileJsonSchema(R"({"type":"integer"})"));
  const auto automaton = std::make_shared<JsonAutomaton>(std::move(grammar));
  const int32_t one = '1' + 1;
  JsonConstraint stops_at_one(automaton, tokens, {kEnd, one});
  EXPECT_FALSE(stops_at_one.allowed().Has(kEnd));
  EXPECT_TRUE(stops_at_one.allowed().Has(one)) << "for its bytes";
  stops_at_one.Accept('2' + 1);
  EXPECT_TRUE(stops_at_one.allowed().Has(one));
  EXPECT_TRUE(stops_at_one.allowed().Has(kEnd));
  ASSERT_OK_AND_ASSIGN(grammar, CompileJsonSchema(R"({"const":[]})"));
  JsonConstraint endless(std::make_shared<JsonAutomaton>(std::move(grammar)), tokens, {});
  endless.Accept('[' + 1);
  endless.Accept(']' + 1);
  EXPECT_TRUE(endless.complete());
  EXPECT_TRUE(endless.allowed().empty());
}

}  // namespace
}  // namespace tritter
