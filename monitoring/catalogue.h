// Every metric the servers export: the one list behind the registry and
// docs/reference/metrics.md.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

enum class MetricType { kCounter, kGauge, kHistogram };

struct MetricInfo {
  std::string name;  // tritter_…; counters end in _total
  MetricType type;
  std::vector<std::string>
      labels;                   // names; their values are bounded sets or names of runs and models
  std::string unit;             // seconds, bytes, ratio, or what is counted: tokens, requests …
  std::string servers;          // who exports it: coordinator, worker, inference, all
  std::string meaning;          // one sentence
  std::vector<double> buckets;  // upper bounds, ascending; histograms only
};

absl::Span<const MetricInfo> Catalogue();
const MetricInfo* FindMetric(absl::string_view name);  // null when it is not in the catalogue
absl::string_view MetricTypeName(MetricType type);     // counter, gauge, histogram

// docs/reference/metrics.md as text.
std::string CatalogueAsMarkdown();

}  // namespace tritter
