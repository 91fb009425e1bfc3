#include "tritterctl/load_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

TEST(LoadReport, PercentilesAreOfTheNearestRank) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(Percentile(values, 50), 50);
  EXPECT_EQ(Percentile(values, 95), 95);
  EXPECT_EQ(Percentile(values, 99), 99);
  EXPECT_EQ(Percentile(values, 100), 100);
  EXPECT_EQ(Percentile({3}, 1), 3);
  EXPECT_EQ(Percentile({}, 50), 0);
}

TEST(LoadReport, TimesCountFromWhenARequestWasDue) {
  LoadSample good;
  good.due = absl::Seconds(1);
  good.first = absl::Seconds(1.5);
  good.end = absl::Seconds(3);
  good.gaps = {absl::Milliseconds(10), absl::Milliseconds(30)};
  good.prompt_tokens = 5;
  good.generated_tokens = 3;
  LoadSample bad;
  bad.due = absl::Seconds(2);
  bad.end = absl::Seconds(5);
  bad.error = "RESOURCE_EXHAUSTED";
  const LoadFigures f = Summarise({good, bad});
  EXPECT_EQ(f.requests, 2);
  EXPECT_EQ(f.failed, 1);
  EXPECT_DOUBLE_EQ(f.seconds, 4);
  EXPECT_DOUBLE_EQ(f.first_token.p50, 0.5);
  EXPECT_DOUBLE_EQ(f.whole.max, 2);
  EXPECT_DOUBLE_EQ(f.inter_token.p50, 0.01);
  EXPECT_DOUBLE_EQ(f.inter_token.p99, 0.03);
  EXPECT_DOUBLE_EQ(f.inter_token.mean, 0.02);
  const OrderedJson json = LoadJson(f);
  EXPECT_EQ(json["errors"]["RESOURCE_EXHAUSTED"], 1);
  EXPECT_EQ(json["generated_tokens_per_second"], 0.75);
  EXPECT_THAT(LoadTable(f), HasSubstr("1 failed with RESOURCE_EXHAUSTED"));
  EXPECT_THAT(LoadTable(f), HasSubstr("first token     500.00"));
}

TEST(LoadReport, NothingIsNoDivisionByZero) {
  const LoadFigures f = Summarise({});
  EXPECT_EQ(f.seconds, 0);
  EXPECT_EQ(LoadJson(f)["requests_per_second"], 0);
}

TEST(LoadReport, ArrivalsHaveTheRateAndAreThoseOfTheSeed) {
  const auto due = PoissonArrivals(50, 20000, 3);
  EXPECT_EQ(due, PoissonArrivals(50, 20000, 3));
  EXPECT_NE(due, PoissonArrivals(50, 20000, 4));
  EXPECT_EQ(due[0], absl::ZeroDuration());
  EXPECT_NEAR(absl::ToDoubleSeconds(due.back()), 400, 12);
  for (size_t i = 1; i < due.size(); ++i) EXPECT_LE(due[i - 1], due[i]);
}

}  // namespace
}  // namespace tritter
