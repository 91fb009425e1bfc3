#include "monitoring/registry.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cstdlib>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "common/version.h"

namespace tritter {
namespace {

using Metric =
    std::variant<std::shared_ptr<prometheus::Counter>, std::shared_ptr<prometheus::Gauge>,
                 std::shared_ptr<prometheus::Histogram>>;

Metric Make(const MetricInfo& info) {
  switch (info.type) {
    case MetricType::kCounter:
      return std::make_shared<prometheus::Counter>();
    case MetricType::kGauge:
      return std::make_shared<prometheus::Gauge>();
    case MetricType::kHistogram:
      break;
  }
  return std::make_shared<prometheus::Histogram>(info.buckets);
}

prometheus::MetricType TypeOf(const MetricInfo& info) {
  switch (info.type) {
    case MetricType::kCounter:
      return prometheus::MetricType::Counter;
    case MetricType::kGauge:
      return prometheus::MetricType::Gauge;
    case MetricType::kHistogram:
      break;
  }
  return prometheus::MetricType::Histogram;
}

absl::StatusOr<const MetricInfo*> Declared(absl::string_view name, MetricType type,
                                           const MetricLabels& labels) {
  const MetricInfo* info = FindMetric(name);
  if (info == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("metric ", name, " is not in monitoring/catalogue.cc; add it there first"));
  }
  if (info->type != type) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metric ", name, " is a ", MetricTypeName(info->type), ", not a ", MetricTypeName(type)));
  }
  bool same = labels.size() == info->labels.size();
  for (const std::string& label : info->labels) same &= labels.count(label) == 1;
  if (!same) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metric ", name, " has the labels {", absl::StrJoin(info->labels, ", "), "}, got {",
        absl::StrJoin(labels, ", ", [](std::string* out, const auto& l) { *out += l.first; }),
        "}"));
  }
  return info;
}

template <typename T>
T OrDie(absl::StatusOr<T> metric) {
  if (!metric.ok()) {
    LogError("metric_not_declared", {{"reason", metric.status().message()}});
    abort();
  }
  return *std::move(metric);
}

}  // namespace

struct Registry::Impl {
  mutable Mutex mu;
  std::map<const MetricInfo*, std::map<MetricLabels, Metric>> series GUARDED_BY(mu);

  template <typename T>
  absl::StatusOr<std::shared_ptr<T>> Find(absl::string_view name, MetricType type,
                                          const MetricLabels& labels) {
    ASSIGN_OR_RETURN(const MetricInfo* info, Declared(name, type, labels));
    MutexLock lock(&mu);
    std::map<MetricLabels, Metric>& of_name = series[info];
    auto it = of_name.find(labels);
    if (it == of_name.end()) it = of_name.emplace(labels, Make(*info)).first;
    return std::get<std::shared_ptr<T>>(it->second);
  }
};

void Counter::Increment(double by) { metric_->Increment(by); }
double Counter::value() const { return metric_->Value(); }
void Gauge::Set(double value) { metric_->Set(value); }
void Gauge::Add(double by) { metric_->Increment(by); }
double Gauge::value() const { return metric_->Value(); }
void Histogram::Observe(double value) { metric_->Observe(value); }

Registry::Registry(absl::string_view component) : impl_(std::make_unique<Impl>()) {
  GetGauge("tritter_build_info", {{"version", kVersion}, {"component", std::string(component)}})
      .Set(1);
  GetGauge("tritter_start_time_seconds")
      .Set(absl::ToDoubleSeconds(Clock::Real()->Now() - absl::UnixEpoch()));
}

Registry::~Registry() = default;

absl::StatusOr<Counter> Registry::FindCounter(absl::string_view name, const MetricLabels& labels) {
  ASSIGN_OR_RETURN(auto m, impl_->Find<prometheus::Counter>(name, MetricType::kCounter, labels));
  return Counter(std::move(m));
}

absl::StatusOr<Gauge> Registry::FindGauge(absl::string_view name, const MetricLabels& labels) {
  ASSIGN_OR_RETURN(auto m, impl_->Find<prometheus::Gauge>(name, MetricType::kGauge, labels));
  return Gauge(std::move(m));
}

absl::StatusOr<Histogram> Registry::FindHistogram(absl::string_view name,
                                                  const MetricLabels& labels) {
  ASSIGN_OR_RETURN(auto m,
                   impl_->Find<prometheus::Histogram>(name, MetricType::kHistogram, labels));
  return Histogram(std::move(m));
}

Counter Registry::GetCounter(absl::string_view name, const MetricLabels& labels) {
  return OrDie(FindCounter(name, labels));
}

Gauge Registry::GetGauge(absl::string_view name, const MetricLabels& labels) {
  return OrDie(FindGauge(name, labels));
}

Histogram Registry::GetHistogram(absl::string_view name, const MetricLabels& labels) {
  return OrDie(FindHistogram(name, labels));
}

void Registry::RemoveSeries(const std::string& label, const std::string& value) {
  MutexLock lock(&impl_->mu);
  for (auto& [info, of_name] : impl_->series) {
    std::erase_if(of_name, [&](const auto& entry) {
      const auto it = entry.first.find(label);
      return it != entry.first.end() && it->second == value;
    });
  }
}

std::string Registry::Text() const {
  std::vector<prometheus::MetricFamily> families;
  {
    MutexLock lock(&impl_->mu);
    for (const MetricInfo& info : Catalogue()) {  // in the order of the catalogue
      const auto it = impl_->series.find(&info);
      if (it == impl_->series.end() || it->second.empty()) continue;
      prometheus::MetricFamily& family = families.emplace_back();
      family.name = info.name;
      family.help = info.meaning;
      family.type = TypeOf(info);
      for (const auto& [labels, metric] : it->second) {
        family.metric.push_back(std::visit([](const auto& m) { return m->Collect(); }, metric));
        for (const auto& [name, value] : labels)
          family.metric.back().label.push_back({name, value});
      }
    }
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace tritter
