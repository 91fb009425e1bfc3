#include "monitoring/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/testing/status_matchers.h"
#include "common/version.h"

namespace tritter {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::Not;

TEST(Registry, ExportsValuesWithHelpAndType) {
  Registry registry("worker");
  registry.GetCounter("tritter_train_tokens_total").Increment(128);
  registry.GetGauge("tritter_train_loss", {{"run", "r-1"}}).Set(2.5);
  registry.GetHistogram("tritter_batch_size").Observe(3);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("# HELP tritter_train_loss Training loss of the last step, mean per "
                              "token.\n# TYPE tritter_train_loss gauge\n"
                              "tritter_train_loss{run=\"r-1\"} 2.5"));
  EXPECT_THAT(text, HasSubstr("# TYPE tritter_train_tokens_total counter\n"
                              "tritter_train_tokens_total 128"));
  EXPECT_THAT(text, HasSubstr("tritter_batch_size_bucket{le=\"2\"} 0"));
  EXPECT_THAT(text, HasSubstr("tritter_batch_size_bucket{le=\"4\"} 1"));
  EXPECT_THAT(text, HasSubstr("tritter_batch_size_sum 3"));
}

TEST(Registry, SaysWhatRuns) {
  Registry registry("coordinator");
  EXPECT_THAT(registry.Text(), HasSubstr(std::string("tritter_build_info{component=\"coordinator\","
                                                     "version=\"") +
                                         kVersion + "\"} 1"));
  EXPECT_GT(registry.GetGauge("tritter_start_time_seconds").value(), 1.7e9);
}

TEST(Registry, RefusesWhatTheCatalogueDoesNotList) {
  Registry registry("test");
  EXPECT_THAT(registry.FindCounter("tritter_inventions_total"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("monitoring/catalogue.cc")));
  EXPECT_THAT(registry.FindGauge("tritter_train_tokens_total"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("is a counter, not a gauge")));
  EXPECT_THAT(registry.FindGauge("tritter_train_loss"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("has the labels {run}, got {}")));
  EXPECT_THAT(registry.FindGauge("tritter_train_loss", {{"rank", "0"}}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("got {rank}")));
  EXPECT_THAT(registry.FindHistogram("tritter_batch_size", {{"run", "r"}}),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_DEATH(registry.GetCounter("tritter_inventions_total"), "metric_not_declared");
}

TEST(Registry, EveryCatalogueEntryCanBeMade) {
  Registry registry("test");
  for (const MetricInfo& m : Catalogue()) {
    MetricLabels labels;
    for (const std::string& label : m.labels) labels[label] = "x";
    switch (m.type) {
      case MetricType::kCounter:
        EXPECT_OK(registry.FindCounter(m.name, labels));
        break;
      case MetricType::kGauge:
        EXPECT_OK(registry.FindGauge(m.name, labels));
        break;
      case MetricType::kHistogram:
        EXPECT_OK(registry.FindHistogram(m.name, labels));
        break;
    }
    EXPECT_THAT(registry.Text(), HasSubstr("# TYPE " + m.name + " "));
  }
}

TEST(Registry, SameNameAndLabelsAreTheSameMetric) {
  Registry registry("test");
  registry.GetCounter("tritter_requests_total", {{"outcome", "ok"}}).Increment();
  registry.GetCounter("tritter_requests_total", {{"outcome", "ok"}}).Increment(2);
  EXPECT_EQ(registry.GetCounter("tritter_requests_total", {{"outcome", "ok"}}).value(), 3);
  EXPECT_EQ(registry.GetCounter("tritter_requests_total", {{"outcome", "failed"}}).value(), 0);
}

TEST(Registry, RemovedSeriesAreGoneAndTheirHandlesHarmless) {
  Registry registry("test");
  Gauge old = registry.GetGauge("tritter_train_loss", {{"run", "old"}});
  old.Set(1);
  registry.GetGauge("tritter_train_loss", {{"run", "new"}}).Set(2);
  registry.RemoveSeries("run", "old");
  old.Set(3);
  EXPECT_THAT(registry.Text(), Not(HasSubstr("run=\"old\"")));
  EXPECT_THAT(registry.Text(), HasSubstr("run=\"new\""));
}

TEST(Registry, CountsFromManyThreads) {
  Registry registry("test");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        registry.GetCounter("tritter_heartbeats_total").Increment();
        registry.GetGauge("tritter_run_step", {{"run", std::to_string(i % 7)}}).Set(i);
        if (i % 100 == 0) registry.Text();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(registry.GetCounter("tritter_heartbeats_total").value(), 2000);
}

}  // namespace
}  // namespace tritter
