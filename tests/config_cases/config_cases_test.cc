// Runs as people write them, with what they are told: each *.yaml beside this file begins with
// comment lines
//   # expect: line:column: key: message     (one for each error, in order)
// or
//   # expect: ok
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"
#include "model/run_spec.h"

namespace tritter {
namespace {

constexpr char kFolder[] = "tests/config_cases";
constexpr char kMark[] = "# expect: ";

std::vector<std::string> Expected(const std::string& text) {
  std::vector<std::string> expected;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, kMark)) expected.emplace_back(line.substr(sizeof(kMark) - 1));
  }
  return expected;
}

// What a user is told, without the name of the file.
std::vector<std::string> Told(const std::string& text) {
  const absl::StatusOr<RunSpec> spec = ParseRunSpec(text, "run.yaml", "/base");
  if (spec.ok()) return {"ok"};
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  std::vector<std::string> told;
  for (absl::string_view line : absl::StrSplit(spec.status().message(), '\n')) {
    EXPECT_TRUE(absl::ConsumePrefix(&line, "run.yaml:")) << line;
    told.emplace_back(line);
  }
  return told;
}

TEST(ConfigCases, EachIsToldExactlyWhatItSays) {
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, Env::Real()->ListDir(kFolder));
  int cases = 0;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".yaml")) continue;
    ++cases;
    ASSERT_OK_AND_ASSIGN(const std::string text, Env::Real()->ReadFile(JoinPath(kFolder, name)));
    const std::vector<std::string> expected = Expected(text);
    EXPECT_FALSE(expected.empty()) << name << " has no `# expect:`";
    EXPECT_EQ(absl::StrJoin(Told(text), "\n"), absl::StrJoin(expected, "\n")) << name;
  }
  EXPECT_GE(cases, 25);
}

}  // namespace
}  // namespace tritter
