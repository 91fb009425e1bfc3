#include "tests/simulation/invariants.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator/decide/plan.h"
#include "coordinator/decide/run_life.h"

namespace tritter::simulation {
namespace {

bool Near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(b)); }

// What of the inputs of a step is not as it must be; empty when all is.
std::string Difference(const StepInputs& actual, const StepInputs& expected) {
  if (actual.first_slot != expected.first_slot || actual.slots != expected.slots) {
    return absl::StrCat("samples ", actual.first_slot, " to ", actual.first_slot + actual.slots - 1,
                        ", expected ", expected.first_slot, " to ",
                        expected.first_slot + expected.slots - 1);
  }
  if (!Near(actual.learning_rate, expected.learning_rate))
    return absl::StrCat("learning rate ", actual.learning_rate, ", expected ",
                        expected.learning_rate);
  if (actual.text != expected.text || actual.code != expected.code) {
    return absl::StrCat("weights ", actual.text, " and ", actual.code, ", expected ", expected.text,
                        " and ", expected.code);
  }
  return actual.full ? "" : "another phase than full";
}

}  // namespace

void Invariants::Expect(const RunWish& wish) {
  oracles_[wish.name] = std::make_unique<Oracle>(wish);
}

void Invariants::OnBatch(const WriteBatch& batch) {
  for (const RunRecord& r : batch.runs) OnRunRecord(r);
  for (const EpochRecord& e : batch.epochs) OnEpoch(e, batch);
  for (const PlanRecord& p : batch.plans) OnPlanStored(p);
  for (const CheckpointRecord& c : batch.checkpoints) OnCheckpoint(c);
  for (const CheckpointKey& c : batch.dropped_checkpoints) {
    KnownRun& run = runs_[c.run_id];
    if (run.checkpoints.empty()) continue;
    // One that was damaged unnoticed counts among them, as long as it is not the newest.
    const int64_t newer = std::distance(run.checkpoints.upper_bound(c.step), run.checkpoints.end());
    if (!run.damaged.contains(c.step) && newer < run.oracle->wish().keep)
      Break("run ", c.run_id, ": its newest ", run.oracle->wish().keep,
            " checkpoints are kept, but that of step ", c.step, " is dropped");
    run.checkpoints.erase(c.step);
  }
  OnMetrics(batch);
  for (const v1::Event& e : batch.events)
    world_->Note("event ", e.kind(), " ", e.run_id(), ": ", e.message());
}

void Invariants::OnRunRecord(const RunRecord& record) {
  KnownRun& run = runs_[record.run_id];
  if (run.oracle == nullptr) {
    const auto oracle = oracles_.find(record.name);
    if (oracle == oracles_.end()) return Break("nobody submitted run ", record.name);
    run.oracle = oracle->second.get();
    for (const auto& [id, other] : runs_) {
      if (id != record.run_id && other.record.name == record.name)
        return Break("one submission makes one run, but ", record.name, " is ", id, " and ",
                     record.run_id);
    }
  } else {
    const v1::RunState before = run.record.state;
    const bool ended = before == v1::RUN_STATE_COMPLETED || before == v1::RUN_STATE_CANCELLED;
    if (ended && record.state != before)
      Break("run ", record.run_id, ": ", StateName(before), " is final, it became ",
            StateName(record.state));
    if (record.epoch < run.record.epoch)
      Break("run ", record.run_id, ": epochs rise, ", record.epoch, " follows ", run.record.epoch);
  }
  if (record.reason.empty())
    Break("run ", record.run_id, " always has a reason, in state ", StateName(record.state));
  if (record.state == v1::RUN_STATE_COMPLETED && !run.checkpoints.contains(record.total_steps))
    Break("run ", record.run_id, " is complete without the checkpoint of its last step");
  run.record = record;
}

void Invariants::OnEpoch(const EpochRecord& record, const WriteBatch& batch) {
  KnownRun& run = runs_[record.run_id];
  if (!record.live) {
    if (!run.live.has_value() || run.live->record.epoch != record.epoch) return;  // said again
    // One that is to begin from memory begins again: in whose memory is not stored.
    if (absl::StartsWith(record.end_reason, "the coordinator restarted before"))
      ++unanswered_[record.run_id];
    run.live.reset();
    run.reached = record.end_step;
    return;
  }
  if (run.live.has_value() && run.live->record.epoch != record.epoch)
    return Break("run ", record.run_id, " has one live epoch, but ", record.epoch,
                 " was formed while ", run.live->record.epoch, " lives");
  if (!run.live.has_value() && record.epoch <= run.newest_epoch)
    return Break("run ", record.run_id, ": epoch ", record.epoch, " had ended, it lives again");
  const RunWish& wish = run.oracle->wish();
  const auto size = static_cast<int64_t>(record.members.size());
  if (size < wish.min_workers || size > wish.max_workers)
    return Break("run ", record.run_id, " is trained by ", wish.min_workers, " to ",
                 wish.max_workers, " workers, but epoch ", record.epoch, " has ", size);
  std::set<std::string> names;
  for (const MemberRecord& m : record.members) names.insert(m.worker);
  if (names.size() != record.members.size())
    return Break("run ", record.run_id, ": a worker is in epoch ", record.epoch, " twice");
  for (const MemberRecord& m : record.members) {
    for (const auto& [id, other] : runs_) {
      if (id == record.run_id || !other.live.has_value()) continue;
      const bool ends = std::any_of(batch.epochs.begin(), batch.epochs.end(), [&](const auto& e) {
        return !e.live && e.run_id == id && e.epoch == other.live->record.epoch;
      });
      for (const MemberRecord& o : other.live->record.members) {
        if (!ends && o.worker == m.worker && o.incarnation == m.incarnation)
          return Break("worker ", m.worker, " belongs to one epoch, but to those of ", id, " and ",
                       record.run_id);
      }
    }
  }
  // Stored with its answer lost, it may be formed anew while nobody has heard of it.
  const bool formed_anew = run.live.has_value() && run.live->handed_out.empty() &&
                           (run.live->record.members != record.members ||
                            run.live->record.start_step != record.start_step);
  if (!run.live.has_value() || formed_anew) {
    if (record.start_step < run.committed)
      return Break("run ", record.run_id, ": epoch ", record.epoch, " starts from step ",
                   record.start_step, ", steps up to ", run.committed, " are committed");
    if (record.start_step > 0 && !run.checkpoints.contains(record.start_step) &&
        !run.held.contains(record.start_step))
      return Break("run ", record.run_id, ": epoch ", record.epoch, " starts from step ",
                   record.start_step, ", of which nothing is committed or in memory");
    const bool repeats =
        std::any_of(batch.superseded.begin(), batch.superseded.end(), [&](const Supersede& s) {
          return s.run_id == record.run_id && s.after_step == record.start_step;
        });
    if (!repeats)
      return Break("run ", record.run_id, ": what epoch ", record.epoch,
                   " trains again is marked so with it");
    const auto is_gpu = [](const MemberRecord& m) { return absl::StartsWith(m.device, "cuda"); };
    const auto gpus = std::count_if(record.members.begin(), record.members.end(), is_gpu);
    if (gpus > 0 && gpus < size) {
      ++run.epochs_mixed;
      if (wish.device != "any")
        return Break("run ", record.run_id, " is trained by workers of one kind, but epoch ",
                     record.epoch, " has CPUs and GPUs");
    }
    run.steps_repeated += std::max<int64_t>(0, run.reached - record.start_step);
    run.live.emplace();
    run.newest_epoch = record.epoch;
    run.newest_start = record.start_step;
  }
  if (run.live->record.members.size() > 0 &&
      (run.live->record.members != record.members ||
       run.live->record.start_step != record.start_step) &&
      !formed_anew)
    return Break("run ", record.run_id, ": epoch ", record.epoch, " is at work, it is changed");
  run.live->record = record;
}

void Invariants::OnPlanStored(const PlanRecord& record) {
  KnownRun& run = runs_[record.run_id];
  if (!run.live.has_value() || run.live->record.epoch != record.epoch) return;  // see OnPlan
  const int64_t first = record.plan.first_step(), end = record.plan.end_step();
  if (end == first && !IsClosing(record.plan)) {  // cut away: nobody has begun it
    run.live->plans.erase(first);
    run.live->handed_out.erase(first);
    return;
  }
  const auto known = run.live->plans.find(first);
  if (known != run.live->plans.end() && end < known->second.end_step()) {  // it is cut
    const bool handed_out = run.live->handed_out.erase(first) > 0;
    if (handed_out && !run.stopped_at.contains({record.epoch, end}))
      return Break("run ", record.run_id, ": a plan is cut where the group stopped, but that of ",
                   first, " to ", known->second.end_step(), " is at ", end);
  }
  CheckPlan(run, run.live->record, record.plan);
  run.live->plans[first] = record.plan;
}

void Invariants::OnHeld(const Held& held) {
  KnownRun& run = runs_[held.run];
  if (run.oracle != nullptr && held.state != run.oracle->StateAfter(held.step))
    return Break("run ", held.run,
                 ": each sample counts once in a state that is kept, but that of ", "step ",
                 held.step, " in memory is not the state after so many steps");
  run.held.insert(held.step);
}

int64_t Invariants::epochs_unanswered() const {
  int64_t sum = 0;
  for (const auto& [run, n] : unanswered_) sum += n;
  return sum;
}

void Invariants::CheckPlan(const KnownRun& run, const EpochRecord& epoch, const v1::Plan& plan) {
  const RunWish& wish = run.oracle->wish();
  const auto wrong = [&](const std::string& what) {
    Break("run ", epoch.run_id, ": the plan of steps ", plan.first_step(), " to ", plan.end_step(),
          " ", what);
  };
  const bool closing = IsClosing(plan) && plan.end_step() == wish.steps;
  if (plan.first_step() < epoch.start_step || (plan.end_step() <= plan.first_step() && !closing) ||
      plan.end_step() > wish.steps)
    return wrong("lies outside its epoch or run");
  int64_t covered = plan.first_step();
  for (const v1::PlanSegment& s : plan.segments()) {
    if (s.first_step() != covered) return wrong("has segments with a gap");
    covered = s.end_step();
  }
  if (covered != plan.end_step()) return wrong("has segments that do not cover it");
  std::set<int64_t> evaluated(plan.evaluate_at().begin(), plan.evaluate_at().end()), saved;
  for (const v1::CheckpointOrder& order : plan.checkpoints()) saved.insert(order.step());
  for (int64_t step = plan.first_step() + 1; step <= plan.end_step(); ++step) {
    if (run.oracle->EvaluationDue(step) && !evaluated.contains(step))
      return wrong(absl::StrCat("lacks the evaluation at ", step));
    if (run.oracle->CheckpointDue(step) && !saved.contains(step))
      return wrong(absl::StrCat("lacks the checkpoint at ", step));
  }
}

void Invariants::OnPlan(const v1::NextPlanRequest& request,
                        const absl::StatusOr<v1::NextPlanResponse>& response) {
  if (!response.ok()) return;
  const auto it = runs_.find(request.run_id());
  if (it == runs_.end()) return Break("a plan of run ", request.run_id(), ", which is not stored");
  KnownRun& run = it->second;
  // The store may have taken the end of the epoch while its answer was lost: then the coordinator
  // does not know it yet, but no newer epoch may be there.
  if (request.epoch() < run.newest_epoch)
    return Break("stale epochs are refused, but ", request.worker().name(),
                 " was answered in epoch ", request.epoch(), " of ", request.run_id(),
                 " while the newest is ", run.newest_epoch);
  if (!run.live.has_value() || run.live->record.epoch != request.epoch()) return;
  KnownEpoch& epoch = *run.live;
  const auto member = std::find_if(epoch.record.members.begin(), epoch.record.members.end(),
                                   [&](const MemberRecord& m) {
                                     return m.worker == request.worker().name() &&
                                            m.incarnation == request.worker().incarnation();
                                   });
  if (member == epoch.record.members.end())
    return Break("strangers are refused, but ", request.worker().name(), " got a plan");
  epoch.done = epoch.done || response->has_done();
  if (!response->has_plan()) return;
  const v1::Plan& plan = response->plan();
  const auto stored = epoch.plans.find(plan.first_step());
  const std::string text = plan.SerializeAsString();
  if (stored == epoch.plans.end() || stored->second.SerializeAsString() != text)
    return Break("a plan is durable before it is handed out, that of step ", plan.first_step(),
                 " of ", request.run_id(), " was not");
  const auto [earlier, first] = epoch.handed_out.emplace(plan.first_step(), text);
  if (!first && earlier->second != text)
    return Break("the plan of step ", plan.first_step(), " of ", request.run_id(),
                 " is the same for all, but two were handed out");
}

void Invariants::OnStep(const std::string& run_id, uint64_t epoch,
                        const std::vector<RankStep>& ranks) {
  ++steps_trained_;
  const auto it = runs_.find(run_id);
  if (it == runs_.end()) return Break("run ", run_id, " is trained but not stored");
  KnownRun& run = it->second;
  const RankStep& first = ranks.front();
  std::vector<std::pair<int64_t, int64_t>> parts;
  for (const RankStep& r : ranks) {
    if (r.yields) run.stopped_at.emplace(epoch, first.step + 1);
    if (r.step != first.step || r.state != first.state)
      return Break("run ", run_id, ", epoch ", epoch,
                   ": the ranks do the same step, but one is at ", first.step, " and one at ",
                   r.step, first.step == r.step ? ", of other states" : "");
    const std::string difference = Difference(r.inputs, run.oracle->Inputs(first.step));
    if (!difference.empty())
      return Break("run ", run_id, ", epoch ", epoch, ": step ", first.step + 1, " has ",
                   difference);
    parts.emplace_back(r.first_position, r.count);
  }
  std::sort(parts.begin(), parts.end());
  int64_t covered = 0;
  for (const auto& [position, count] : parts) {
    if (position != covered)
      return Break("run ", run_id, ": each sample of step ", first.step + 1,
                   " is trained by one rank, position ", covered, " is not");
    covered += count;
  }
  if (covered != first.inputs.slots)
    return Break("run ", run_id, ": step ", first.step + 1, " trains ", covered, " samples of ",
                 first.inputs.slots);
  if (epoch == run.newest_epoch && first.step < run.newest_start)
    return Break("run ", run_id, ": epoch ", epoch, " starts from step ", run.newest_start,
                 ", it trains step ", first.step + 1);
}

void Invariants::OnCheckpoint(const CheckpointRecord& record) {
  KnownRun& run = runs_[record.run_id];
  const v1::Checkpoint& c = record.checkpoint;
  // One that was dropped may be found again on the disk, before its folder was removed.
  const auto [earlier, first] = run.committed_as.emplace(c.step(), c.manifest_sha256());
  if (!first && earlier->second != c.manifest_sha256() && !run.damaged.contains(c.step()))
    return Break("run ", record.run_id, ": step ", c.step(),
                 " is committed once, but another checkpoint takes its place");
  earlier->second = c.manifest_sha256();
  if (run.live.has_value() && c.epoch() < run.live->record.epoch &&
      c.step() > run.live->record.start_step)
    return Break("run ", record.run_id, ": epoch ", c.epoch(), " commits step ", c.step(),
                 " while epoch ", run.live->record.epoch, " trains from step ",
                 run.live->record.start_step);
  // What is in it: the state that this many steps make, and nothing else.
  const absl::StatusOr<std::vector<std::string>> names = files_->ListDir(c.path());
  if (!names.ok())
    return Break("run ", record.run_id, ": the checkpoint of step ", c.step(), " is recorded, but ",
                 names.status().message());
  int64_t shares = 0, world = 0;
  for (const std::string& name : *names) {
    if (!absl::StartsWith(name, "share-")) continue;
    ++shares;
    world = std::strtoll(name.c_str() + name.rfind('-') + 1, nullptr, 10);
    const absl::StatusOr<std::string> text = files_->ReadFile(JoinPath(c.path(), name));
    uint64_t state = 0;
    if (!text.ok() || !absl::SimpleAtoi(text->substr(text->rfind(' ') + 1), &state) ||
        state != run.oracle->StateAfter(c.step()))
      return Break("run ", record.run_id, ": each sample counts once in committed work, but ",
                   c.path(), "/", name, " does not hold the state after ", c.step(), " steps");
  }
  if (shares == 0 || shares != world)
    return Break("run ", record.run_id, ": every rank's share is in a checkpoint, but ", c.path(),
                 " has ", shares, " of ", world);
  run.damaged.erase(c.step());
  run.checkpoints[c.step()] = c;
  samples_committed_ +=
      std::max<int64_t>(0, c.step() - run.committed) * run.oracle->wish().global_batch;
  run.committed = std::max(run.committed, c.step());
}

void Invariants::OnMetrics(const WriteBatch& batch) {
  for (const Supersede& s : batch.superseded) {
    for (auto& [step, rows] : runs_[s.run_id].curve) {
      if (step <= s.after_step) continue;
      for (CurveRow& row : rows) row.superseded = true;
    }
  }
  for (const MetricRecord& m : batch.metrics) {
    KnownRun& run = runs_[m.run_id];
    const int64_t step = m.metrics.step();
    std::vector<CurveRow>& rows = run.curve[step];
    const auto known = std::find_if(rows.begin(), rows.end(), [&](const CurveRow& row) {
      return row.epoch == m.metrics.epoch();
    });
    if (known == rows.end()) {
      run.reported_tokens += m.metrics.tokens();
      rows.push_back({m.metrics.epoch(), m.metrics.loss(), false});
    } else {
      known->superseded = false;
    }
    const auto counted = std::count_if(rows.begin(), rows.end(),
                                       [](const CurveRow& row) { return !row.superseded; });
    if (counted > 1)
      return Break("run ", m.run_id, ": each step is in the curve once, but ", step,
                   " is there from ", counted, " epochs");
    if (m.metrics.epoch() < run.newest_epoch && step > run.newest_start)
      return Break("run ", m.run_id, ": what epoch ", m.metrics.epoch(), " says of step ", step,
                   " is stale, epoch ", run.newest_epoch, " trains it again");
    if (step > 0 && step <= run.oracle->wish().steps &&
        !Near(m.metrics.loss(), Oracle::Loss(run.oracle->StateAfter(step))))
      return Break("run ", m.run_id, ": the loss of step ", step, " is not that of its state");
  }
  for (const RunRecord& r : batch.runs) {
    if (r.reported_tokens > runs_[r.run_id].reported_tokens)
      return Break("run ", r.run_id, ": a repeated report counts once, but ", r.reported_tokens,
                   " tokens are counted of ", runs_[r.run_id].reported_tokens, " reported");
  }
}

void Invariants::OnRunsShown(const std::vector<v1::Run>& shown, bool well) {
  for (const v1::Run& run : shown) {
    if (run.reason().empty())
      return Break("run ", run.run_id(), " (", StateName(run.state()), ") has no reason");
    const bool waits = NeedsWorkers(run.state()) && run.members().empty();
    // What a change of state says is no reason to wait.
    const bool speechless =
        waits &&
        (run.reason() == "just submitted" || absl::StartsWith(run.reason(), "resumed") ||
         absl::StartsWith(run.reason(), "goes on") || absl::StrContains(run.reason(), " trains "));
    absl::Duration& since = speechless_since_[run.run_id()];
    if (!speechless || !well) since = world_->now();
    if (world_->now() - since > absl::Seconds(4))
      return Break("run ", run.run_id(), " waits for 4 s and says no more than \"", run.reason(),
                   "\"");
  }
}

void Invariants::OnSubmitted(const std::string& key, const std::string& run_id) {
  const auto [known, first] = keys_.emplace(key, run_id);
  if (!first && known->second != run_id)
    Break("key ", key, " stands for one run, but was answered with ", known->second, " and ",
          run_id);
}

void Invariants::OnDamage(const std::string& run_id, int64_t step) {
  KnownRun& run = runs_[run_id];
  run.damaged.insert(step);
  run.committed = 0;
  for (const auto& [s, checkpoint] : run.checkpoints) {
    if (!run.damaged.contains(s)) run.committed = s;
  }
  // What is beyond is trained again, also where its checkpoint was dropped before.
  run.committed_as.erase(run.committed_as.upper_bound(run.committed), run.committed_as.end());
}

int64_t Invariants::epochs_lost() const {
  int64_t lost = 0;
  for (const auto& [id, run] : runs_) lost += run.record.epochs_lost;
  return lost;
}

void Invariants::CheckEnds(Store* store) {
  for (const auto& [id, run] : runs_) {
    if (run.live.has_value())
      return Break("run ", id, " is ", StateName(run.record.state), ", its epoch ",
                   run.live->record.epoch, " lives on");
    if (run.record.state != v1::RUN_STATE_COMPLETED) continue;
    const int64_t steps = run.oracle->wish().steps;
    const auto curve = store->Metrics(id, 0, 0, 100000);
    const auto points = store->Evaluations(id, 0, 0, 100000);
    if (!curve.ok() || !points.ok()) return Break("the store of ", id, " cannot be read");
    int64_t expected = 1;
    for (const v1::StepMetrics& m : *curve) {
      if (m.step() != expected++)
        return Break("run ", id, " is complete, its curve has step ", m.step(), " where ",
                     expected - 1, " is due");
    }
    if (expected != steps + 1)
      return Break("run ", id, " is complete with ", steps, " steps, its curve ends at ",
                   expected - 1);
    std::multiset<int64_t> evaluated;
    for (const v1::EvaluationPoint& p : *points) evaluated.insert(p.step());
    for (int64_t step = 1; step <= steps; ++step) {
      const size_t due = run.oracle->EvaluationDue(step) ? 2 : 0;  // of each source
      if (evaluated.count(step) != due)
        return Break("run ", id, " is complete, but step ", step, " has ", evaluated.count(step),
                     " evaluations of ", due);
    }
  }
}

}  // namespace tritter::simulation
