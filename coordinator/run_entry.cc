#include "coordinator/run_entry.h"

#include <algorithm>

namespace tritter {

int EpochEntry::RankOf(const std::string& worker) const {
  for (size_t i = 0; i < record.members.size(); ++i) {
    if (record.members[i].worker == worker) return static_cast<int>(i);
  }
  return -1;
}

bool EpochEntry::OrdersCheckpoint(int64_t step) const {
  for (const v1::Plan& plan : plans) {
    for (const v1::CheckpointOrder& order : plan.checkpoints()) {
      if (order.step() == step) return true;
    }
  }
  return false;
}

void RunEntry::Remember(const v1::StepMetrics& metrics) {
  recent_metrics.emplace_back(next_sequence++, metrics);
  if (recent_metrics.size() > kRecentMetrics) recent_metrics.pop_front();
}

void RunEntry::Remember(const v1::EvaluationPoint& point) {
  recent_evaluations.emplace_back(next_sequence++, point);
  if (recent_evaluations.size() > kRecentMetrics) recent_evaluations.pop_front();
  if (point.weights() != "raw") last_evaluation[point.source()] = point;
}

void RunEntry::RewindTo(int64_t step) {
  std::erase_if(recent_metrics, [&](const auto& m) { return m.second.step() > step; });
  std::erase_if(recent_evaluations, [&](const auto& e) { return e.second.step() > step; });
  last_evaluation.clear();
  for (const auto& [sequence, point] : recent_evaluations) {
    if (point.weights() != "raw") last_evaluation[point.source()] = point;
  }
}

v1::Run DescribeRun(const RunEntry& run) {
  const RunRecord& r = run.record;
  v1::Run out;
  out.set_run_id(r.run_id);
  out.set_name(r.name);
  out.set_state(r.state);
  out.set_reason(r.reason);
  out.set_total_steps(r.total_steps);
  out.set_step(r.step);
  out.set_committed_step(run.committed_step());
  out.set_epoch(r.epoch);
  out.set_created_ms(r.created_ms);
  out.set_started_ms(r.started_ms);
  out.set_finished_ms(r.finished_ms);
  out.set_spec_yaml(r.spec_yaml);
  out.set_spec_hash(r.spec_hash);
  out.set_run_dir(r.run_dir);
  out.set_epochs_lost(static_cast<int32_t>(r.epochs_lost));
  out.set_reported_tokens(r.reported_tokens);
  out.set_reported_seconds(static_cast<double>(r.reported_us) / 1e6);
  if (run.epoch.has_value()) {
    out.set_phase(v1::PHASE_FULL);
    int32_t rank = 0;
    for (const MemberRecord& member : run.epoch->record.members) {
      v1::RunMember* m = out.add_members();
      m->set_worker(member.worker);
      m->set_incarnation(member.incarnation);
      m->set_rank(rank++);
      m->set_device(member.device);
    }
  }
  for (const auto& [source, point] : run.last_evaluation) *out.add_last_evaluation() = point;
  for (const v1::Artifact& artifact : run.artifacts) *out.add_artifacts() = artifact;
  if (!run.recent_metrics.empty()) *out.mutable_last_metrics() = run.recent_metrics.back().second;
  if (run.epoch.has_value() && !run.recent_metrics.empty()) {
    constexpr size_t kWindow = 20;  // steps
    double seconds = 0, tokens = 0;
    const size_t n = std::min(kWindow, run.recent_metrics.size());
    for (size_t i = run.recent_metrics.size() - n; i < run.recent_metrics.size(); ++i) {
      seconds += run.recent_metrics[i].second.step_seconds();
      tokens += static_cast<double>(run.recent_metrics[i].second.tokens());
    }
    if (seconds > 0) {
      out.set_tokens_per_second(tokens / seconds);
      out.set_eta_seconds(static_cast<double>(r.total_steps - r.step) * seconds /
                          static_cast<double>(n));
    }
  }
  return out;
}

}  // namespace tritter
