// The graph of everything that ships, as Bazel's genquery wrote it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"
#include "tests/build_graph/rules.h"

namespace tritter::build_graph {
namespace {

TEST(BuildGraph, KeepsTheRulesOfTheArchitecture) {
  ASSERT_OK_AND_ASSIGN(const std::string dot,
                       Env::Real()->ReadFile("tests/build_graph/shipped_graph"));
  ASSERT_OK_AND_ASSIGN(const std::string names,
                       Env::Real()->ReadFile("tests/build_graph/roots.txt"));
  const std::vector<std::string> roots = absl::StrSplit(names, '\n', absl::SkipEmpty());
  const Graph graph = ParseDot(dot);
  ASSERT_GT(graph.size(), 50u);  // an empty graph keeps every rule
  for (const std::string& root : roots) EXPECT_TRUE(graph.count(root)) << root;
  EXPECT_THAT(Violations(graph, {roots.begin(), roots.end()}), testing::IsEmpty());
}

}  // namespace
}  // namespace tritter::build_graph
