#include "coordinator/decide/plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

int64_t Length(const PlanInputs& in, const PlanOptions& options) {
  if (!in.stop.empty()) return 1;  // the next possible step
  int64_t steps = in.unmeasured ? options.unmeasured_steps : options.first_steps;
  if (in.seconds_per_step > 0) {
    const absl::Duration target = in.unmeasured ? options.unmeasured_target : options.target;
    const double wanted = absl::ToDoubleSeconds(target) / in.seconds_per_step;
    steps = static_cast<int64_t>(std::clamp(std::floor(wanted), 1.0, 1e9));
  }
  if (in.previous_length > 0)
    steps = std::min(steps, std::max<int64_t>(1, in.previous_length * options.growth));
  if (in.brief) steps = std::min(steps, options.first_steps);
  return std::max<int64_t>(1, steps);
}

void AddSegment(const RunSpec& spec, int64_t first, int64_t end, v1::Plan* plan) {
  if (first >= end) return;
  v1::PlanSegment* segment = plan->add_segments();
  segment->set_first_step(first);
  segment->set_end_step(end);
  segment->set_phase(v1::PHASE_FULL);
  const std::vector<double> weights = WeightsAt(spec, first);
  for (size_t i = 0; i < spec.sources.size(); ++i) {
    v1::SourceWeight* w = segment->add_weights();
    w->set_source(spec.sources[i].name);
    w->set_weight(weights[i]);
  }
}

// The same steps, each moved to the end of its round.
std::vector<int64_t> AtRoundEnds(const RunSpec& spec, std::vector<int64_t> steps) {
  for (int64_t& step : steps) step = RoundEnd(spec, step);
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  return steps;
}

v1::Plan BuildPlan(const PlanInputs& in, const PlanOptions& options) {
  const RunSpec& spec = *in.spec;
  const int64_t first = in.from_step;
  const int64_t end = RoundEnd(spec, std::min(spec.steps, first + Length(in, options)));
  v1::Plan plan;
  plan.set_first_step(first);
  plan.set_end_step(end);
  int64_t begin = first;
  for (const StageSpec& stage : spec.stages) {
    const int64_t border = std::clamp(stage.from, begin, end);
    AddSegment(spec, begin, border, &plan);
    begin = border;
  }
  AddSegment(spec, begin, end, &plan);
  v1::LearningRate* lr = plan.mutable_learning_rate();
  lr->set_peak(spec.schedule.peak);
  lr->set_min(spec.schedule.min);
  lr->set_warmup_steps(spec.schedule.warmup_steps);
  lr->set_decay_start_step(spec.schedule.decay_start_step);
  lr->set_total_steps(spec.schedule.total_steps);
  lr->set_shape(DecayShapeName(spec.schedule.shape));
  plan.set_first_slot(first * spec.global_batch);
  plan.set_global_batch(static_cast<int32_t>(spec.global_batch));
  for (const v1::RankShare& share :
       in.shares.empty() ? EqualShares(spec.global_batch, in.world_size, in.micro_batch)
                         : in.shares) {
    *plan.add_shares() = share;
  }
  const auto due = [&](int64_t every) {
    return AtRoundEnds(spec, StepsDue(first, end, every, spec.steps));
  };
  std::vector<int64_t> checkpoints = due(spec.checkpoint_every);
  if (in.checkpoint_at_start) checkpoints.insert(checkpoints.begin(), first);
  if (!in.stop.empty() && (checkpoints.empty() || checkpoints.back() != end))
    checkpoints.push_back(end);
  for (const int64_t step : checkpoints) {
    v1::CheckpointOrder* order = plan.add_checkpoints();
    order->set_step(step);
    order->set_attempt(AttemptName(in.epoch));
  }
  if (in.evaluation_at_start) plan.add_evaluate_at(first);
  for (const int64_t step : due(spec.evaluate_every)) plan.add_evaluate_at(step);
  return plan;
}

bool Complete(const PlanInputs& in) { return in.from_step >= in.spec->steps; }

// Nothing is lost when the epoch ends here. A checkpoint that is being written is waited for.
bool Saved(const PlanInputs& in) {
  if (in.committed_step == in.from_step || in.from_step == 0) return true;
  return in.held && !in.checkpoint_ordered && !Complete(in);
}

}  // namespace

std::string AttemptName(uint64_t epoch) { return absl::StrCat("e", epoch); }

std::vector<int64_t> StepsDue(int64_t first, int64_t end, int64_t every, int64_t total) {
  std::vector<int64_t> out;
  if (every > 0) {
    for (int64_t s = (first / every + 1) * every; s <= end; s += every) out.push_back(s);
  }
  if (first < total && total <= end && (out.empty() || out.back() != total)) out.push_back(total);
  return out;
}

int64_t CountDue(int64_t first, int64_t end, int64_t every, int64_t total) {
  const int64_t regular = every > 0 && end > first ? end / every - first / every : 0;
  const bool last = first < total && total <= end && (every <= 0 || total % every != 0);
  return regular + last;
}

int64_t StopStep(const PlanInputs& in) {
  const bool here = Complete(in) || Saved(in) || in.checkpoint_ordered;
  return here ? in.from_step : RoundEnd(*in.spec, in.from_step + 1);
}

v1::Plan CutPlan(v1::Plan plan, int64_t end) {
  plan.set_end_step(end);
  auto* segments = plan.mutable_segments();
  while (!segments->empty() && segments->rbegin()->first_step() >= end) segments->RemoveLast();
  if (!segments->empty() && segments->rbegin()->end_step() > end)
    segments->rbegin()->set_end_step(end);
  auto* checkpoints = plan.mutable_checkpoints();
  while (!checkpoints->empty() && checkpoints->rbegin()->step() > end) checkpoints->RemoveLast();
  auto* evaluations = plan.mutable_evaluate_at();
  while (!evaluations->empty() && *evaluations->rbegin() > end) evaluations->RemoveLast();
  return plan;
}

bool IsClosing(const v1::Plan& plan) {
  return plan.end_step() == plan.first_step() && !plan.checkpoints().empty();
}

std::vector<v1::Plan> WithoutCutAway(std::vector<v1::Plan> plans) {
  std::erase_if(plans,
                [](const v1::Plan& p) { return p.end_step() <= p.first_step() && !IsClosing(p); });
  return plans;
}

std::vector<v1::RankShare> EqualShares(int64_t global_batch, int32_t world_size,
                                       int64_t micro_batch) {
  std::vector<int64_t> sequences;
  for (int32_t rank = 0; rank < world_size; ++rank)
    sequences.push_back(global_batch / world_size + (rank < global_batch % world_size));
  return SharesOf(sequences, std::vector<int64_t>(sequences.size(), micro_batch));
}

std::vector<v1::RankShare> SharesOf(const std::vector<int64_t>& sequences,
                                    const std::vector<int64_t>& micro_batches) {
  std::vector<v1::RankShare> out;
  int64_t position = 0;
  for (size_t rank = 0; rank < sequences.size(); ++rank) {
    const int64_t count = sequences[rank];
    v1::RankShare share;
    share.set_rank(static_cast<int32_t>(rank));
    share.set_first_position(static_cast<int32_t>(position));
    share.set_count(static_cast<int32_t>(count));
    share.set_micro_batch(
        static_cast<int32_t>(std::max<int64_t>(1, std::min(micro_batches[rank], count))));
    out.push_back(share);
    position += count;
  }
  return out;
}

PlanDecision DecideNextPlan(const PlanInputs& in, const PlanOptions& options) {
  PlanDecision out;
  const bool complete = Complete(in), saved = Saved(in);
  const bool closes = complete && !saved && in.checkpoint_at_start;
  if (!closes && (complete || (!in.stop.empty() && StopStep(in) == in.from_step))) {
    const std::string why =
        complete ? absl::StrCat("all ", in.spec->steps, " steps are done") : in.stop;
    if (saved) {
      out.kind = PlanDecision::Kind::kDone;
      out.reason = why;
      return out;
    }
    out.retry_after = options.retry;
    out.reason = absl::StrCat(why, "; the checkpoint of step ", in.from_step, " is being written");
    return out;
  }
  out.kind = PlanDecision::Kind::kPlan;
  out.plan = BuildPlan(in, options);
  out.reason = closes ? absl::StrCat("the checkpoint of step ", in.from_step)
               : in.stop.empty()
                   ? absl::StrCat("steps ", out.plan.first_step(), " to ", out.plan.end_step())
                   : absl::StrCat(in.stop, "; one more ", IsOuter(*in.spec) ? "round" : "step",
                                  " with a checkpoint at ", out.plan.end_step());
  return out;
}

}  // namespace tritter
