#include "common/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

YamlDocument Parsed(absl::string_view text) {
  absl::StatusOr<YamlDocument> doc = YamlDocument::Parse(text, "run.yaml");
  EXPECT_OK(doc);
  return *std::move(doc);
}

std::string ParseError(absl::string_view text) {
  return std::string(YamlDocument::Parse(text, "run.yaml").status().message());
}

// What a reader finds wrong with `text`.
template <typename Reader>
std::string Errors(absl::string_view text, Reader reader) {
  YamlDocument doc = Parsed(text);
  YamlMap root = doc.Root();
  reader(root);
  return std::string(doc.Finish().message());
}

TEST(Yaml, ReadsEveryType) {
  YamlDocument doc = Parsed(
      "name: shakespeare nano\n"
      "id: \"12\"\n"
      "steps: 1200\n"
      "small: -3\n"
      "peak: 3.0e-3\n"
      "on: true\n"
      "words: [a, 'b c']\n"
      "decay: 20%\n"
      "warmup: 50\n"
      "kind: wsd\n"
      "model:\n  hidden: 64\n"
      "sources:\n  - {name: x}\n  - name: y\n");
  YamlMap root = doc.Root();
  std::string name, id, kind;
  int64_t steps = 0, warmup = 0, untouched = -1;
  int small = 0;
  double peak = 0;
  bool on = false;
  std::vector<std::string> words;
  std::optional<double> fraction, no_fraction;
  std::optional<int64_t> absent;
  EXPECT_TRUE(root.Get("name", &name));
  EXPECT_TRUE(root.Get("id", &id));
  EXPECT_TRUE(root.Get("steps", &steps, 1, 5000));
  EXPECT_TRUE(root.Get("small", &small));
  EXPECT_TRUE(root.Get("peak", &peak, 0, 1));
  EXPECT_TRUE(root.Get("on", &on));
  EXPECT_TRUE(root.Get("words", &words));
  EXPECT_TRUE(root.GetCountOrPercent("decay", &untouched, &fraction));
  EXPECT_TRUE(root.GetCountOrPercent("warmup", &warmup, &no_fraction));
  EXPECT_TRUE(root.GetChoice("kind", {"wsd", "cosine"}, &kind));
  EXPECT_FALSE(root.Get("absent", &absent));
  YamlMap model = root.Map("model");
  int64_t hidden = 0;
  EXPECT_TRUE(model.Get("hidden", &hidden));
  EXPECT_EQ(model.Path(), "model");
  EXPECT_EQ(model.Where(), "run.yaml:12:3");
  std::vector<YamlMap> sources = root.MapList("sources");
  ASSERT_EQ(sources.size(), 2u);
  std::string x, y;
  EXPECT_TRUE(sources[0].Get("name", &x));
  EXPECT_TRUE(sources[1].Get("name", &y));
  EXPECT_EQ(sources[1].Path(), "sources[1]");
  EXPECT_FALSE(root.Map("evaluation").present());
  EXPECT_OK(doc.Finish());

  EXPECT_EQ(name, "shakespeare nano");
  EXPECT_EQ(id, "12");
  EXPECT_EQ(steps, 1200);
  EXPECT_EQ(small, -3);
  EXPECT_EQ(peak, 3.0e-3);
  EXPECT_TRUE(on);
  EXPECT_THAT(words, ElementsAre("a", "b c"));
  EXPECT_EQ(untouched, -1);
  EXPECT_EQ(fraction, 0.2);
  EXPECT_EQ(warmup, 50);
  EXPECT_EQ(no_fraction, std::nullopt);
  EXPECT_EQ(kind, "wsd");
  EXPECT_EQ(absent, std::nullopt);
  EXPECT_EQ(hidden, 64);
  EXPECT_EQ(x + y, "xy");
}

TEST(Yaml, AbsentKeysLeaveTheDefault) {
  YamlDocument doc = Parsed("a: 1\n");
  YamlMap root = doc.Root();
  int64_t a = 0, b = 5;
  EXPECT_TRUE(root.Get("a", &a));
  EXPECT_FALSE(root.Get("b", &b));
  EXPECT_FALSE(root.Map("c").Get("d", &b));
  EXPECT_EQ(b, 5);
  EXPECT_OK(doc.Finish());
}

TEST(Yaml, KeysAreInFileOrderAndHasDoesNotMakeThemKnown) {
  YamlDocument doc = Parsed("zeta: 1\nalpha: 2\n");
  EXPECT_THAT(doc.Root().Keys(), ElementsAre("zeta", "alpha"));
  EXPECT_TRUE(doc.Root().Has("zeta"));
  EXPECT_THAT(doc.Finish(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("zeta")));
}

TEST(Yaml, ReportsEveryErrorInFileOrder) {
  EXPECT_EQ(Errors("name: 12\n"
                   "model:\n"
                   "  hiden: 3\n"
                   "  heads: many\n"
                   "name: again\n"
                   "extra: 1\n",
                   [](YamlMap& root) {
                     std::string name;
                     int64_t n;
                     root.Require("training");
                     root.Get("name", &name);
                     YamlMap model = root.Map("model");
                     model.Get("heads", &n);
                     model.Get("hidden", &n);
                     root.Require("data");
                   }),
            "run.yaml:1:1: training: required key is missing\n"
            "run.yaml:1:1: data: required key is missing\n"
            "run.yaml:1:7: name: expected a string, got the number 12; write \"12\"\n"
            "run.yaml:3:3: model.hiden: unknown key (did you mean `hidden`?)\n"
            "run.yaml:4:10: model.heads: expected an integer, got the string \"many\"\n"
            "run.yaml:5:1: name: duplicate key (first given in line 1)\n"
            "run.yaml:6:1: extra: unknown key");
}

TEST(Yaml, FinishTwiceGivesTheSame) {
  YamlDocument doc = Parsed("a: 1\n");
  doc.Root();
  const absl::Status first = doc.Finish();
  EXPECT_FALSE(first.ok());
  EXPECT_EQ(doc.Finish(), first);
}

struct WrongType {
  const char* text;
  const char* expected;  // the message after the position and path
};

TEST(Yaml, WrongTypesNameWhatWasExpectedAndFound) {
  const std::string where = "run.yaml:1:4: v: ";
  auto read = [](auto value) { return [value](YamlMap& r) mutable { r.Get("v", &value); }; };
  for (const WrongType& c :
       {WrongType{"v: [1]", "expected an integer, got a list"},
        {"v: {a: 1}", "expected an integer, got a mapping"},
        {"v: 1.5", "expected an integer, got the number 1.5"},
        {"v: true", "expected an integer, got true"},
        {"v: '12'",
         "expected an integer, got the string \"12\" "
         "(remove the quotes)"},
        {"v: 99999999999999999999", "99999999999999999999 does not fit a 64-bit integer"}}) {
    EXPECT_EQ(Errors(c.text, read(int64_t{0})), where + c.expected) << c.text;
  }
  for (const WrongType& c : {WrongType{"v: .inf", "expected a number, got the string \".inf\""},
                             {"v: nan", "expected a number, got the string \"nan\""},
                             {"v: 0x10", "expected a number, got the string \"0x10\""},
                             {"v: 1e999", "expected a number, got the string \"1e999\""}}) {
    EXPECT_EQ(Errors(c.text, read(0.0)), where + c.expected) << c.text;
  }
  for (const WrongType& c : {WrongType{"v: yes", "expected true or false, got the string \"yes\""},
                             {"v: 1", "expected true or false, got the number 1"},
                             {"v: 'true'", "expected true or false, got the string \"true\""}}) {
    EXPECT_EQ(Errors(c.text, read(false)), where + c.expected) << c.text;
  }
  EXPECT_EQ(Errors("v: false", read(std::string())),
            where + "expected a string, got false; write \"false\"");
  EXPECT_EQ(Errors("v: word", read(std::vector<std::string>())),
            where + "expected a list of strings, for example [a, b], got the string \"word\"");
  EXPECT_EQ(Errors("v: [a, 2]", read(std::vector<std::string>())),
            "run.yaml:1:8: v[1]: expected a string, got the number 2");
  EXPECT_EQ(Errors("v: 3", [](YamlMap& r) { r.Map("v"); }),
            where + "expected a mapping, got the number 3");
  EXPECT_EQ(Errors("v: ~", read(int64_t{0})),
            "run.yaml:1:1: v: expected an integer, got nothing; give a value or remove the key");
  EXPECT_EQ(Errors("v:", [](YamlMap& r) { r.Map("v"); }),
            "run.yaml:1:1: v: expected a mapping, got nothing; give a value or remove the key");
  EXPECT_EQ(Errors("v: [1, {a: 2}]",
                   [](YamlMap& r) {
                     int64_t a;
                     for (YamlMap& m : r.MapList("v")) m.Get("a", &a);
                   }),
            "run.yaml:1:5: v[0]: expected a mapping, got the number 1");
}

TEST(Yaml, WrongValueLeavesTheDefault) {
  YamlDocument doc = Parsed("a: x\nb: 7\nc: [x, 1]\n");
  YamlMap root = doc.Root();
  int64_t a = 1, b = 2;
  std::vector<std::string> c = {"kept"};
  EXPECT_FALSE(root.Get("a", &a));
  EXPECT_FALSE(root.Get("b", &b, 0, 5));
  EXPECT_FALSE(root.Get("c", &c));
  EXPECT_EQ(a, 1);
  EXPECT_EQ(b, 2);
  EXPECT_THAT(c, ElementsAre("kept"));
}

TEST(Yaml, RangesAreInTheMessage) {
  auto with = [](absl::string_view text, auto... bounds) {
    return Errors(text, [=](YamlMap& r) {
      int64_t v;
      r.Get("v", &v, bounds...);
    });
  };
  EXPECT_EQ(with("v: 9", 1, 8), "run.yaml:1:4: v: must be between 1 and 8, got 9");
  EXPECT_EQ(with("v: 0", 1), "run.yaml:1:4: v: must be at least 1, got 0");
  EXPECT_EQ(with("v: 8", 1, 8), "");
  EXPECT_EQ(with("v: 1", 1, 8), "");
  EXPECT_EQ(Errors("v: 2.5",
                   [](YamlMap& r) {
                     double v;
                     r.Get("v", &v, -std::numeric_limits<double>::infinity(), 1);
                   }),
            "run.yaml:1:4: v: must be at most 1, got 2.5");
  EXPECT_EQ(Errors("v: 120%",
                   [](YamlMap& r) {
                     int64_t v;
                     std::optional<double> f;
                     r.GetCountOrPercent("v", &v, &f);
                   }),
            "run.yaml:1:4: v: must be between 0% and 100%, got 120%");
}

TEST(Yaml, ChoiceListsThemAndSuggests) {
  auto choose = [](absl::string_view text) {
    return Errors(text, [](YamlMap& r) {
      std::string v;
      r.GetChoice("v", {"wsd", "cosine"}, &v);
    });
  };
  EXPECT_EQ(choose("v: cosin"),
            "run.yaml:1:4: v: must be one of wsd, cosine, got \"cosin\" (did you mean `cosine`?)");
  EXPECT_THAT(Errors("v: gpu",
                     [](YamlMap& r) {
                       std::string v;
                       r.GetChoice("v", {"cpu", "cuda"}, &v);
                     }),
              testing::HasSubstr("(did you mean `cuda`?)"));
  EXPECT_EQ(choose("v: linear"), "run.yaml:1:4: v: must be one of wsd, cosine, got \"linear\"");
}

TEST(Yaml, CallersAddErrorsAtTheValueOrItsMapping) {
  EXPECT_EQ(Errors("m:\n  a: 3\n",
                   [](YamlMap& r) {
                     YamlMap m = r.Map("m");
                     int64_t a;
                     m.Get("a", &a);
                     m.Error("a", "must divide 64, got 3");
                     m.Error("", "too small");
                     m.Error("b", "cannot be guessed");
                     r.Map("absent").Error("x", "is needed");
                   }),
            "run.yaml:1:1: absent.x: is needed\n"
            "run.yaml:2:3: m: too small\n"
            "run.yaml:2:3: m.b: cannot be guessed\n"
            "run.yaml:2:6: m.a: must divide 64, got 3");
}

TEST(Yaml, UnknownKeysInsideListsAreFound) {
  EXPECT_EQ(Errors("s:\n  - {name: a}\n  - {nam: b}\n",
                   [](YamlMap& r) {
                     std::string name;
                     for (YamlMap& m : r.MapList("s")) m.Get("name", &name);
                   }),
            "run.yaml:3:6: s[1].nam: unknown key (did you mean `name`?)");
}

TEST(Yaml, AtMostAHundredErrorsAreShown) {
  std::string text = "known: 1\n";
  for (int i = 0; i < 500; ++i) absl::StrAppend(&text, "key", i, ": 1\n");
  const std::string errors = Errors(text, [](YamlMap&) {});
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 100);
  EXPECT_THAT(errors, HasSubstr("run.yaml: further errors are not shown"));
}

TEST(Yaml, ParseRefusesWhatIsNotOneMapping) {
  EXPECT_EQ(ParseError(""), "run.yaml:1:1: empty: expected a mapping");
  EXPECT_THAT(ParseError("# only a comment\n"), HasSubstr("empty: expected a mapping"));
  EXPECT_EQ(ParseError("- a\n"), "run.yaml:1:1: expected a mapping (key: value) at the top");
  EXPECT_EQ(ParseError("a: 1\n---\nb: 2\n"),
            "run.yaml:3:1: a second document starts here; expected one (remove the ---)");
  EXPECT_THAT(ParseError("a: [1\nb: 2\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(ParseError("a: b: c\n"), testing::StartsWith("run.yaml:1:5: not valid YAML"));
  EXPECT_THAT(ParseError("\ta: 1\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(YamlDocument::Parse("a: [", "f"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_OK(YamlDocument::Parse("---\na: 1\n...\n", "f"));
}

}  // namespace
}  // namespace tritter
