#include "coordinator/decide/straggler.h"

#include <gtest/gtest.h>

#include <limits>

namespace tritter {
namespace {

TEST(FindStraggler, NamesTheSlowestBeyondTheLimit) {
  const auto s = FindStraggler({{"a", 0.4}, {"b", 0.84}, {"c", 0.41}}, "");
  ASSERT_TRUE(s.has_value());
  EXPECT_EQ(s->worker, "b");
  EXPECT_EQ(s->others, 0.41);
  EXPECT_EQ(StragglerWords(*s),
            "b takes 0.84 s to compute its part of a step, the others 0.41 s: all wait for it");
  EXPECT_FALSE(FindStraggler({{"a", 0.4}, {"b", 0.59}}, "").has_value());
  EXPECT_TRUE(FindStraggler({{"a", 0.4}, {"b", 0.61}}, "").has_value());
}

TEST(FindStraggler, WhoIsNamedStaysSoUntilItIsClearlyFaster) {
  EXPECT_TRUE(FindStraggler({{"a", 0.4}, {"b", 0.52}}, "b").has_value());
  EXPECT_FALSE(FindStraggler({{"a", 0.4}, {"b", 0.52}}, "a").has_value());
  EXPECT_FALSE(FindStraggler({{"a", 0.4}, {"b", 0.49}}, "b").has_value());
}

TEST(FindStraggler, NobodyWhereNothingIsKnown) {
  EXPECT_FALSE(FindStraggler({}, "").has_value());
  EXPECT_FALSE(FindStraggler({{"a", 9}}, "").has_value());
  EXPECT_FALSE(FindStraggler({{"a", 0}, {"b", 9}}, "").has_value());
  EXPECT_FALSE(
      FindStraggler({{"a", std::numeric_limits<double>::quiet_NaN()}, {"b", 9}}, "").has_value());
}

}  // namespace
}  // namespace tritter
