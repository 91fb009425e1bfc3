#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"
#include "model/run_spec.h"
#include "model/run_spec_keys.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A document that gives `path` no value: {training: {steps: null}}.
std::string WithNull(const std::string& path) {
  std::string open, close;
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (absl::string_view part : parts) {
    const bool list = absl::ConsumeSuffix(&part, "[]");
    absl::StrAppend(&open, "{\"", part, "\": ", list ? "[" : "");
    close.insert(0, list ? "]}" : "}");
  }
  return open + "null" + close;
}

std::string Told(const std::string& path) {
  return std::string(ParseRunSpec(WithNull(path), "run.yaml", "/").status().message());
}

TEST(RunYamlReference, ThePageIsWhatTheTablesSay) {
  ASSERT_OK_AND_ASSIGN(const std::string page, Env::Real()->ReadFile("docs/reference/run_yaml.md"));
  EXPECT_EQ(page, RunYamlReference())
      << "bazel run //model:print_run_yaml_reference > docs/reference/run_yaml.md";
}

TEST(RunYamlReference, TheParserKnowsEveryKeyOfThePage) {
  for (const YamlKeyDoc& key : RunYamlKeys()) {
    if (absl::StrContains(key.path, "<")) continue;  // a name of the user's
    EXPECT_THAT(Told(key.path), HasSubstr("got nothing")) << key.path;
    EXPECT_THAT(Told(key.path), Not(HasSubstr("unknown key"))) << key.path;
    EXPECT_THAT(Told(key.path + "x"), HasSubstr("unknown key")) << key.path;
  }
}

TEST(RunYamlReference, EveryKeyHasTypeDefaultAndMeaningOnce) {
  std::set<std::string> paths;
  for (const YamlKeyDoc& key : RunYamlKeys()) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path;
    EXPECT_FALSE(key.type.empty() || key.fallback.empty() || key.meaning.empty()) << key.path;
  }
}

TEST(RunYamlReference, ThePageKnowsEveryKeyOfTheEffectiveConfiguration) {
  ASSERT_OK_AND_ASSIGN(
      const RunSpec spec,
      ParseRunSpec(
          "{model: {preset: nano}, data: {sources: [{shards: a}], stages: {decay: {a: 1}}}, "
          "training: {steps: 10}}",
          "run.yaml", "/"));
  std::set<std::string> known;
  for (const YamlKeyDoc& key : RunYamlKeys()) known.insert(key.path);
  std::vector<std::string> path;  // by depth
  for (absl::string_view line : absl::StrSplit(CanonicalYaml(spec), '\n', absl::SkipEmpty())) {
    const size_t indent = line.find_first_not_of(" -");
    path.resize(indent / 2);
    const std::vector<absl::string_view> parts =
        absl::StrSplit(line.substr(indent), absl::MaxSplits(':', 1));
    path.push_back(std::string(parts[0]));
    if (parts[1].empty()) continue;  // a mapping follows
    const std::string key =
        absl::StrReplaceAll(absl::StrJoin(path, "."), {{"data.sources..", "data.sources[]."},
                                                       {"data.stages..", "data.stages[]."},
                                                       {"weights.\"a\"", "weights.<source>"}});
    EXPECT_EQ(known.count(key), 1u) << key;
  }
}

}  // namespace
}  // namespace tritter
