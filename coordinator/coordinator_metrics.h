// The coordinator's figures for /metrics, copied from a snapshot.
#pragma once

#include <map>
#include <set>
#include <string>

#include "coordinator/coordinator.h"
#include "monitoring/registry.h"

namespace tritter {

// Not thread-safe: one caller, once a second or so. The registry outlives it.
class CoordinatorMetrics {
 public:
  explicit CoordinatorMetrics(Registry* registry) : registry_(registry) {}
  void Update(const CoordinatorStats& stats);
  // Before the first lead, and between two: false. Nothing of the last one is shown then.
  void SetLeads(bool leads);

 private:
  void Raise(const std::string& name, const MetricLabels& labels, double total);

  Registry* const registry_;
  std::map<std::string, double> shown_;                      // counters, by name and labels
  std::set<std::string> runs_;                               // with series of their own
  std::map<std::string, std::set<std::string>> causes_;      // by run: those it has waited for
  std::map<std::string, std::set<std::string>> stragglers_;  // by run: who has been one
  std::set<std::string> run_states_, worker_states_;
};

}  // namespace tritter
