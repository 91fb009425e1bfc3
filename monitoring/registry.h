// The metrics of one process, on prometheus-cpp (not visible here). Only what the catalogue lists
// can be made: a name, type or label that is not in it is an error of the program.
//   Counter tokens = registry->GetCounter("tritter_train_tokens_total");
//   registry->GetGauge("tritter_train_loss", {{"run", run}}).Set(loss);
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "monitoring/catalogue.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace tritter {

// Handles: cheap to copy, thread-safe, valid for ever (after RemoveSeries they count into nothing).
class Counter {
 public:
  void Increment(double by = 1);  // by >= 0
  double value() const;

 private:
  friend class Registry;
  explicit Counter(std::shared_ptr<prometheus::Counter> metric) : metric_(std::move(metric)) {}
  std::shared_ptr<prometheus::Counter> metric_;
};

class Gauge {
 public:
  void Set(double value);
  void Add(double by);
  double value() const;

 private:
  friend class Registry;
  explicit Gauge(std::shared_ptr<prometheus::Gauge> metric) : metric_(std::move(metric)) {}
  std::shared_ptr<prometheus::Gauge> metric_;
};

class Histogram {
 public:
  void Observe(double value);

 private:
  friend class Registry;
  explicit Histogram(std::shared_ptr<prometheus::Histogram> metric) : metric_(std::move(metric)) {}
  std::shared_ptr<prometheus::Histogram> metric_;
};

using MetricLabels = std::map<std::string, std::string>;

// Thread-safe. Owned by main (or a test), handed to whoever exports something; outlives the
// Exposer.
class Registry {
 public:
  // Sets tritter_build_info and tritter_start_time_seconds.
  explicit Registry(absl::string_view component);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // The same name and labels give the same metric. Errors: InvalidArgument when the catalogue has
  // no such name, or lists it with another type or other labels.
  absl::StatusOr<Counter> FindCounter(absl::string_view name, const MetricLabels& labels = {});
  absl::StatusOr<Gauge> FindGauge(absl::string_view name, const MetricLabels& labels = {});
  absl::StatusOr<Histogram> FindHistogram(absl::string_view name, const MetricLabels& labels = {});

  // For names written in the code: what would be an error above ends the process.
  Counter GetCounter(absl::string_view name, const MetricLabels& labels = {});
  Gauge GetGauge(absl::string_view name, const MetricLabels& labels = {});
  Histogram GetHistogram(absl::string_view name, const MetricLabels& labels = {});

  // Drops every series with this label, of all metrics: a run that has ended leaves no stale
  // gauges.
  void RemoveSeries(const std::string& label, const std::string& value);

  std::string Text() const;  // Prometheus text format

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tritter
