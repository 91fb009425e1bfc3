#include "tests/load/load_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace tritter::load {
namespace {

using testing::Pair;
using testing::UnorderedElementsAre;

TEST(LoadCounts, PercentilesAreValuesThatOccurred) {
  LoadCounts counts;
  for (int i = 100; i >= 1; --i) counts.Took("report", absl::Milliseconds(i));
  const auto calls = counts.TakeCalls();
  const CallFigures& f = calls.at("report");
  EXPECT_EQ(f.Percentile(0.5), 50);
  EXPECT_EQ(f.Percentile(0.99), 99);
  EXPECT_EQ(f.Percentile(1), 100);
  EXPECT_EQ(f.Percentile(0), 1);
  EXPECT_EQ(CallFigures().Percentile(0.99), 0);
}

TEST(LoadCounts, WhatWasTakenIsForgottenButFailuresStay) {
  LoadCounts counts;
  counts.Sent("plan");
  counts.Failed("plan", absl::UnavailableError("away"));
  EXPECT_EQ(counts.TakeCalls().at("plan").calls, 1);
  EXPECT_TRUE(counts.TakeCalls().empty());
  counts.Failed("plan", absl::UnavailableError("away"));
  EXPECT_THAT(counts.Failures(), UnorderedElementsAre(Pair("plan: UNAVAILABLE: away", 2)));
}

TEST(LoadCounts, FailuresOfManyKindsStayBounded) {
  LoadCounts counts;
  for (int i = 0; i < 100; ++i) counts.Failed("plan", absl::InternalError(absl::StrCat(i)));
  EXPECT_EQ(counts.Failures().size(), 21u);
  EXPECT_EQ(counts.Failures().at("others"), 80);
}

}  // namespace
}  // namespace tritter::load
