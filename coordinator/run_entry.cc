#include "coordinator/run_entry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/decide/devices.h"
#include "coordinator/decide/run_life.h"
#include "coordinator/decide/training_words.h"

namespace tritter {
namespace {

// Of the last steps of the live epoch: those before it say nothing of the workers that it has.
struct Pace {
  int64_t steps = 0;
  double seconds = 0, tokens = 0;
};

Pace PaceOf(const RunEntry& run) {
  constexpr int64_t kWindow = 20;  // steps
  Pace pace;
  if (!run.epoch.has_value()) return pace;
  for (auto it = run.recent_metrics.rbegin(); it != run.recent_metrics.rend(); ++it) {
    const v1::StepMetrics& m = it->second;
    if (m.epoch() != run.epoch->record.epoch || pace.steps == kWindow) break;
    ++pace.steps;
    pace.seconds += m.step_seconds();
    pace.tokens += static_cast<double>(m.tokens());
  }
  return pace;
}

// Of the newest evaluation, all sources and weights. 0: none is known.
double EvaluationSeconds(const RunEntry& run) {
  double seconds = 0;
  for (const auto& [sequence, point] : run.recent_evaluations) {
    if (point.step() == run.recent_evaluations.back().second.step()) seconds += point.seconds();
  }
  return seconds;
}

// Of the newest step that counts: what was trained after it is gone with a run that was killed, and
// what a lost epoch reports late is of earlier steps.
const v1::StepMetrics* NewestMetrics(const RunEntry& run) {
  const v1::StepMetrics* newest = nullptr;
  for (const auto& [sequence, m] : run.recent_metrics) {
    if (m.step() <= run.record.step && (newest == nullptr || m.step() >= newest->step()))
      newest = &m;
  }
  return newest;
}

// Heartbeats are ahead of reports. While steps are made people are shown the one whose loss they
// are shown.
int64_t ShownStep(const RunEntry& run) {
  const v1::StepMetrics* newest = NewestMetrics(run);
  if (!run.epoch.has_value() || newest == nullptr) return run.record.step;
  return std::max({newest->step(), run.epoch->record.start_step, run.committed_step()});
}

// Of one with a live epoch that has been given steps.
TrainingView ViewOf(const RunEntry& run) {
  const EpochEntry& epoch = *run.epoch;
  TrainingView view;
  view.step = ShownStep(run);
  view.total_steps = run.record.total_steps;
  view.epoch = epoch.record.epoch;
  for (const MemberRecord& member : epoch.record.members) view.members.push_back(member.worker);
  view.stopping = epoch.done_reason;
  view.trouble = run.commit_error;
  for (const v1::Plan& plan : epoch.plans) {
    for (const v1::CheckpointOrder& order : plan.checkpoints()) {
      if (order.step() <= run.committed_step()) continue;
      if (order.step() <= view.step) {
        view.writing_checkpoint = order.step();
      } else if (view.next_checkpoint == 0) {
        view.next_checkpoint = order.step();
      }
    }
  }
  if (view.next_checkpoint > 0) return view;
  const int64_t every = run.spec.checkpoint_every;
  view.next_checkpoint = view.total_steps;
  if (every > 0) {
    const int64_t next = (epoch.planned_end() / every + 1) * every;
    view.next_checkpoint = std::min(view.next_checkpoint, RoundEnd(run.spec, next));
  }
  return view;
}

}  // namespace

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

bool EpochEntry::Owes(int rank, int64_t committed_step) const {
  for (const v1::Plan& plan : plans) {
    for (const v1::CheckpointOrder& order : plan.checkpoints()) {
      const auto given = shares.find(order.step());
      if (order.step() > committed_step && (given == shares.end() || !given->second.contains(rank)))
        return true;
    }
  }
  return false;
}

bool RunEntry::mixed() const {
  std::vector<std::string> devices;
  for (const MemberRecord& m : epoch->record.members) devices.push_back(m.device);
  return AreMixed(spec, devices);
}

WaitCause RunEntry::waiting() const {
  if (NeedsWorkers(record.state)) return epoch.has_value() ? WaitCause::kNone : wait_cause;
  const bool at_work =
      record.state == v1::RUN_STATE_EXPORTING || record.state == v1::RUN_STATE_DEPLOYING;
  return at_work && wait_cause != WaitCause::kUndecided ? wait_cause : WaitCause::kNone;
}

bool RunEntry::active() const {
  if (record.started_ms == 0 || spec.job != "train") return false;
  return NeedsWorkers(record.state) || epoch.has_value();
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

void RunEntry::Shrink() {
  if (!IsFinal(record.state)) return;
  const v1::StepMetrics* newest = NewestMetrics(*this);
  const int64_t shown = newest == nullptr ? -1 : newest->step();
  std::erase_if(recent_metrics, [&](const auto& m) { return m.second.step() != shown; });
  recent_metrics.shrink_to_fit();
  if (record.state != v1::RUN_STATE_FAILED) recent_evaluations.clear();
  recent_evaluations.shrink_to_fit();
  needs.reset();
  speeds.clear();
  uncommitted_seconds.clear();
}

bool RunEntry::Evaluated(int64_t step) const {
  return std::any_of(recent_evaluations.begin(), recent_evaluations.end(),
                     [&](const auto& e) { return e.second.step() == step; });
}

void RunEntry::RewindTo(int64_t step) {
  std::erase_if(recent_metrics, [&](const auto& m) { return m.second.step() > step; });
  std::erase_if(recent_evaluations, [&](const auto& e) { return e.second.step() > step; });
  last_evaluation.clear();
  for (const auto& [sequence, point] : recent_evaluations) {
    if (point.weights() != "raw") last_evaluation[point.source()] = point;
  }
}

double SecondsUntil(const RunEntry& run, int64_t to) {
  const Pace pace = PaceOf(run);
  const int64_t at = run.record.step;
  if (pace.seconds <= 0 || to <= at) return 0;
  const int64_t evaluations = CountDue(at, to, run.spec.evaluate_every, run.spec.steps);
  return static_cast<double>(to - at) * pace.seconds / static_cast<double>(pace.steps) +
         static_cast<double>(evaluations) * EvaluationSeconds(run);
}

std::string ShownState(const RunEntry& run) {
  const bool waits = run.record.state == v1::RUN_STATE_RUNNING && run.waiting() != WaitCause::kNone;
  return waits ? "waiting" : StateName(run.record.state);
}

v1::Run DescribeRun(const RunEntry& run) {
  const RunRecord& r = run.record;
  v1::Run out;
  out.set_run_id(r.run_id);
  out.set_name(r.name);
  out.set_state(r.state);
  // What is stored is what happened last: with whom the epoch was formed, and from where it trains.
  // Once it does there is more to say.
  const bool trains =
      r.state == v1::RUN_STATE_RUNNING && run.epoch.has_value() && !run.epoch->plans.empty();
  out.set_reason(trains ? TrainingWords(ViewOf(run)) : r.reason);
  if (!run.goes_on_from.empty() && ForWorkers(run.waiting()))
    out.set_reason(absl::StrCat(r.reason, "; ", run.goes_on_from));
  if (run.epoch.has_value() && run.epoch->straggler.has_value())
    out.set_reason(absl::StrCat(out.reason(), "; ", StragglerWords(*run.epoch->straggler)));
  out.set_total_steps(r.total_steps);
  out.set_step(ShownStep(run));
  out.set_committed_step(run.committed_step());
  out.set_epoch(r.epoch);
  out.set_created_ms(r.created_ms);
  out.set_started_ms(r.started_ms);
  out.set_finished_ms(r.finished_ms);
  out.set_spec_yaml(r.spec_yaml);
  out.set_spec_hash(r.spec_hash);
  out.set_run_dir(r.run_dir);
  out.set_epochs_lost(static_cast<int32_t>(r.epochs_lost));
  out.set_waiting_cause(WaitCauseName(run.waiting()));
  out.set_reported_tokens(r.reported_tokens);
  out.set_reported_seconds(static_cast<double>(r.reported_us) / 1e6);
  if (run.epoch.has_value()) {
    out.set_phase(v1::PHASE_FULL);
    int32_t rank = 0;
    for (const MemberRecord& member : run.epoch->record.members) {
      v1::RunMember* m = out.add_members();
      m->set_worker(member.worker);
      m->set_incarnation(member.incarnation);
      m->set_device(member.device);
      if (!run.epoch->plans.empty() && rank < run.epoch->plans.back().shares_size())
        m->set_sequences(run.epoch->plans.back().shares(rank).count());
      m->set_rank(rank++);
    }
  }
  out.set_job(run.spec.job);
  out.set_project(run.spec.project);
  if (run.last_failure.has_value()) *out.mutable_last_failure() = *run.last_failure;
  for (const auto& [source, point] : run.last_evaluation) *out.add_last_evaluation() = point;
  for (const v1::Artifact& artifact : run.artifacts) *out.add_artifacts() = artifact;
  if (const v1::StepMetrics* newest = NewestMetrics(run)) *out.mutable_last_metrics() = *newest;
  const Pace pace = PaceOf(run);
  if (pace.seconds > 0) {
    out.set_tokens_per_second(pace.tokens / pace.seconds);
    out.set_eta_seconds(SecondsUntil(run, r.total_steps));
  }
  return out;
}

}  // namespace tritter
