#include "monitoring/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/match.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

TEST(Catalogue, EveryEntryIsWellFormed) {
  std::set<std::string> names;
  for (const MetricInfo& m : Catalogue()) {
    SCOPED_TRACE(m.name);
    EXPECT_TRUE(names.insert(m.name).second) << "twice";
    EXPECT_THAT(m.name, testing::MatchesRegex("tritter_[a-z0-9]+(_[a-z0-9]+)*"));
    EXPECT_EQ(absl::EndsWith(m.name, "_total"), m.type == MetricType::kCounter);
    for (const char* kept : {"_count", "_sum", "_bucket"})
      EXPECT_FALSE(absl::EndsWith(m.name, kept));
    for (const char* unit :
         {"_ms", "_millis", "_milliseconds", "_minutes", "_kb", "_mb", "_mib", "_percent"}) {
      EXPECT_FALSE(absl::StrContains(m.name + "_", std::string(unit) + "_")) << "not a base unit";
    }
    // A base unit is in the name and in the entry, or in neither; so is a rate of one.
    for (const std::string unit : {"seconds", "bytes"}) {
      const bool rate = absl::EndsWith(m.name, "_per_second");
      EXPECT_EQ(absl::StrContains(m.name, "_" + unit),
                m.unit == (rate ? unit + " per second" : unit));
    }
    EXPECT_FALSE(m.unit.empty());
    EXPECT_THAT(m.servers, testing::AnyOf("all", "coordinator", "worker", "inference"));
    EXPECT_TRUE(absl::EndsWith(m.meaning, ".")) << m.meaning;
    EXPECT_THAT(m.meaning, testing::Not(testing::HasSubstr("|")));  // it stands in a table
    std::set<std::string> labels;
    for (const std::string& label : m.labels) {
      EXPECT_THAT(label, testing::MatchesRegex("[a-z][a-z_]*"));
      EXPECT_NE(label, "le");
      EXPECT_TRUE(labels.insert(label).second);
    }
    EXPECT_EQ(m.buckets.empty(), m.type != MetricType::kHistogram);
    for (size_t i = 1; i < m.buckets.size(); ++i) EXPECT_LT(m.buckets[i - 1], m.buckets[i]);
  }
}

TEST(Catalogue, FindsByName) {
  ASSERT_NE(FindMetric("tritter_train_loss"), nullptr);
  EXPECT_EQ(FindMetric("tritter_train_loss")->type, MetricType::kGauge);
  EXPECT_EQ(FindMetric("tritter_train_los"), nullptr);
}

TEST(Catalogue, ReferencePageIsUpToDate) {
  ASSERT_OK_AND_ASSIGN(const std::string page, Env::Real()->ReadFile("docs/reference/metrics.md"));
  EXPECT_TRUE(page == CatalogueAsMarkdown())
      << "renew it: bazel run //monitoring:print_metrics > docs/reference/metrics.md";
}

}  // namespace
}  // namespace tritter
