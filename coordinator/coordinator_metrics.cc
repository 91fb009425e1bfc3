#include "coordinator/coordinator_metrics.h"

#include "absl/strings/str_cat.h"

namespace tritter {

void CoordinatorMetrics::Raise(const std::string& name, const MetricLabels& labels, double total) {
  std::string key = name;
  for (const auto& [label, value] : labels) absl::StrAppend(&key, "\n", label, "=", value);
  double& shown = shown_[key];
  Counter counter = registry_->GetCounter(name, labels);
  if (total > shown) {
    counter.Increment(total - shown);
    shown = total;
  }
}

void CoordinatorMetrics::SetLeads(bool leads) {
  registry_->GetGauge("tritter_coordinator_leads", {}).Set(leads ? 1 : 0);
  if (leads) return;
  Update({});      // what another leads is not ours to show
  shown_.clear();  // the next lead counts from 0
}

void CoordinatorMetrics::Update(const CoordinatorStats& stats) {
  for (const auto& [state, n] : stats.runs_by_state) run_states_.insert(state);
  for (const std::string& state : run_states_) {
    const auto it = stats.runs_by_state.find(state);
    registry_->GetGauge("tritter_runs", {{"state", state}})
        .Set(it == stats.runs_by_state.end() ? 0 : static_cast<double>(it->second));
  }
  for (const auto& [state, n] : stats.workers_by_state) worker_states_.insert(state);
  for (const std::string& state : worker_states_) {
    const auto it = stats.workers_by_state.find(state);
    registry_->GetGauge("tritter_workers", {{"state", state}})
        .Set(it == stats.workers_by_state.end() ? 0 : static_cast<double>(it->second));
  }
  registry_->GetGauge("tritter_store_bytes", {}).Set(static_cast<double>(stats.store_bytes));
  Raise("tritter_heartbeats_total", {}, static_cast<double>(stats.heartbeats));
  Raise("tritter_plans_total", {}, static_cast<double>(stats.plans));
  for (const auto& [reason, n] : stats.epochs_by_reason) {
    Raise("tritter_epochs_total", {{"reason", reason}}, static_cast<double>(n));
  }
  for (const auto& [reason, n] : stats.losses_by_reason) {
    Raise("tritter_worker_losses_total", {{"reason", reason}}, static_cast<double>(n));
  }
  Raise("tritter_checkpoint_commits_total", {{"result", "committed"}},
        static_cast<double>(stats.commits));
  Raise("tritter_checkpoint_commits_total", {{"result", "failed"}},
        static_cast<double>(stats.failed_commits));
  std::set<std::string> now;
  for (const auto& [run, figures] : stats.training) {
    now.insert(run);
    registry_->GetGauge("tritter_run_step", {{"run", run}}).Set(static_cast<double>(figures.step));
    registry_->GetGauge("tritter_checkpoint_age_seconds", {{"run", run}})
        .Set(figures.checkpoint_age_seconds);
    std::set<std::string>& causes = causes_[run];
    if (!figures.waiting.empty()) causes.insert(figures.waiting);
    for (const std::string& cause : causes) {
      registry_->GetGauge("tritter_run_waiting", {{"run", run}, {"cause", cause}})
          .Set(cause == figures.waiting ? 1 : 0);
    }
    std::set<std::string>& stragglers = stragglers_[run];
    if (!figures.straggler.empty()) stragglers.insert(figures.straggler);
    for (const std::string& worker : stragglers) {
      registry_->GetGauge("tritter_run_straggler", {{"run", run}, {"worker", worker}})
          .Set(worker == figures.straggler ? figures.straggler_ratio : 0);
    }
    Raise("tritter_run_active_seconds_total", {{"run", run}}, figures.active_seconds);
    Raise("tritter_run_productive_seconds_total", {{"run", run}}, figures.productive_seconds);
  }
  for (const std::string& run : runs_) {
    if (now.contains(run)) continue;
    registry_->RemoveSeries("run", run);
    causes_.erase(run);
    stragglers_.erase(run);
    std::erase_if(shown_, [&](const auto& entry) { return entry.first.ends_with("\nrun=" + run); });
  }
  runs_ = std::move(now);
}

}  // namespace tritter
