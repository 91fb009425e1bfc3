// Plans out, progress in.
#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/devices.h"
#include "coordinator/decide/held.h"
#include "coordinator/decide/memory.h"
#include "coordinator/decide/words.h"
#include "coordinator/report_checks.h"
#include "model/utf8.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

constexpr size_t kMaxLineBytes = 4096;
constexpr size_t kMaxSentenceBytes = 1000;
constexpr size_t kMaxFailureBytes = 16384;
constexpr double kSmoothing = 0.2;  // weight of the newest step in the step time

// The least memory of the members that said how much they have; 0: nobody did.
int64_t LeastMemory(const EpochRecord& epoch) {
  int64_t least = 0;
  for (const MemberRecord& m : epoch.members) {
    if (m.memory_bytes > 0 && (least == 0 || m.memory_bytes < least)) least = m.memory_bytes;
  }
  return least;
}

// Several lines, of at most kMaxFailureBytes in all.
std::string ShowableLines(absl::string_view text) {
  std::vector<std::string> lines;
  for (const absl::string_view line :
       absl::StrSplit(text.substr(0, kMaxFailureBytes), '\n', absl::SkipWhitespace()))
    lines.push_back(ShowableUtf8(line));
  return absl::StrJoin(lines, "\n");
}

}  // namespace

absl::StatusOr<v1::NextPlanResponse> Coordinator::NextPlan(const v1::NextPlanRequest& request) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunTurn turn, TurnOf(request.worker(), request.run_id()));
  ASSIGN_OR_RETURN(const Fenced at, Fence(request.worker(), request.run_id(), request.epoch()));
  EpochEntry& epoch = *at.epoch;
  if (request.rank() != at.rank) {
    return absl::InvalidArgumentError(absl::StrCat("rank is ", request.rank(), ", ",
                                                   request.worker().name(), " has rank ", at.rank));
  }
  v1::NextPlanResponse out;
  const int64_t from = request.from_step();
  for (const v1::Plan& plan : epoch.plans) {
    if (plan.first_step() == from && !(IsClosing(plan) && at.run->committed_step() >= from)) {
      // They stopped where this plan had been fetched ahead: they are told again.
      if (request.yielded() && plan.end_step() > from + 1) epoch.yield_told_at.reset();
      *out.mutable_plan() = plan;
      return out;
    }
  }
  if (request.yielded() && from > epoch.record.start_step && from < epoch.planned_end())
    RETURN_IF_ERROR(CutPlans(at, from));
  if (from != epoch.planned_end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("from_step is ", from, ", no plan of epoch ", request.epoch(),
                     " begins there; the plans so far end at ", epoch.planned_end()));
  }
  if (!epoch.done.empty()) {  // nobody goes on where another has stopped
    RETURN_IF_ERROR(TellDone(at, &out));
    return out;
  }
  WriteBatch batch;
  PlanInputs in;
  in.spec = &at.run->spec;
  SharesOfPlan shares = DecideShares(at, &batch);
  in.shares = std::move(shares.shares);
  in.unmeasured = shares.unmeasured;
  in.epoch = epoch.record.epoch;
  in.world_size = static_cast<int32_t>(epoch.record.members.size());
  in.micro_batch = DeriveMicroBatch(at.run->spec, LeastMemory(epoch.record));
  in.start_step = epoch.record.start_step;
  in.from_step = from;
  in.previous_length =
      epoch.plans.empty() ? 0 : epoch.plans.back().end_step() - epoch.plans.back().first_step();
  in.seconds_per_step = epoch.seconds_per_step;
  in.committed_step = at.run->committed_step();
  in.checkpoint_ordered = epoch.OrdersCheckpoint(from);
  const StopDecision stop = StopOf(*at.run);
  in.stop = stop.reason;
  const bool memory_will_do = !stop.on_disk && MayLeaveInMemory(at.run->spec, at.run->mixed());
  in.held = request.yielded() && memory_will_do;
  if (stop.reason.empty()) epoch.asked_briefly = false;
  if (!stop.reason.empty() && memory_will_do && !request.yielded() && !epoch.asked_briefly) {
    // At the end of a plan, and not told yet: in a few steps more they are, and stop without a
    // checkpoint. Once only: there may be none who knows how.
    in.stop.clear();
    in.brief = epoch.asked_briefly = true;
  }
  // What it begins with has been evaluated, if at all, by another run.
  if (!epoch.record.manifest_sha256.empty() && from == 0 && epoch.plans.empty())
    in.evaluation_at_start = !at.run->Evaluated(0);
  if (epoch.from_memory && epoch.plans.empty()) {
    const RunSpec& spec = at.run->spec;
    in.checkpoint_at_start =
        CountDue(in.committed_step, from, spec.checkpoint_every, spec.steps) > 0;
    in.evaluation_at_start =
        CountDue(from - 1, from, spec.evaluate_every, spec.steps) > 0 && !at.run->Evaluated(from);
  }
  PlanDecision decision = DecideNextPlan(in, options_.plan);
  switch (decision.kind) {
    case PlanDecision::Kind::kWait:
      out.mutable_wait()->set_retry_after_ms(absl::ToInt64Milliseconds(decision.retry_after));
      out.mutable_wait()->set_reason(decision.reason);
      return out;
    case PlanDecision::Kind::kDone:
      epoch.done_reason = decision.reason;
      RETURN_IF_ERROR(TellDone(at, &out));
      return out;
    case PlanDecision::Kind::kPlan:
      break;
  }
  batch.plans = {{request.run_id(), request.epoch(), decision.plan}};
  RETURN_IF_ERROR(Write(&batch));
  ++stats_.plans;
  epoch.plans.push_back(decision.plan);
  for (size_t r = 0; r < shares.seconds.size(); ++r) {
    const MemberRecord& m = epoch.record.members[r];
    if (shares.seconds[r] > 0) at.run->speeds[m.worker] = {m.device, shares.seconds[r]};
  }
  if (in.brief) {
    epoch.yield_told_at.reset();
    TellToYield(at.run);
  }
  *out.mutable_plan() = std::move(decision.plan);
  return out;
}

Coordinator::SharesOfPlan Coordinator::DecideShares(const Fenced& at, WriteBatch* batch) {
  SharesOfPlan out;
  const RunSpec& spec = at.run->spec;
  const EpochEntry& epoch = *at.epoch;
  const std::vector<MemberRecord>& members = epoch.record.members;
  std::vector<std::string> names, devices;
  for (const MemberRecord& m : members) {
    names.push_back(m.worker);
    devices.push_back(m.device);
  }
  for (const MemberRecord& m : members) {
    const WorkerEntry* worker = workers_.Find(m.worker);
    const bool known = worker != nullptr && worker->joined;
    const auto before = at.run->speeds.find(m.worker);
    const bool same = before != at.run->speeds.end() && before->second.device == m.device;
    out.seconds.push_back(SmoothedSeconds(same ? before->second.seconds_per_sequence : 0,
                                          known ? worker->last.seconds_per_sequence() : 0));
  }
  if (!IsMeasured(spec.split, devices)) return out;
  std::vector<RankSpeed> ranks;
  std::vector<int64_t> current, micro_batches;
  for (const v1::RankShare& share :
       EqualShares(spec.global_batch, static_cast<int32_t>(members.size()), 1))
    current.push_back(share.count());
  for (size_t r = 0; r < members.size(); ++r) {
    micro_batches.push_back(DeriveMicroBatch(spec, members[r].memory_bytes));
    ranks.push_back(
        {out.seconds[r], MostSequences(spec, micro_batches[r], members[r].memory_bytes)});
    if (!epoch.plans.empty()) current[r] = epoch.plans.back().shares(static_cast<int>(r)).count();
  }
  out.unmeasured = !AllMeasured(ranks);
  if (out.unmeasured && AreCpusAndGpus(devices)) GuessSpeeds(devices, &ranks);
  const std::vector<int64_t> split = DecideSplit(ranks, spec.global_batch, current, options_.split);
  if (split != current) {
    const std::string expected =
        out.unmeasured
            ? " until the speed of all is measured"
            : absl::StrFormat(": %.3g s of computation a step, not %.3g s",
                              SlowestSeconds(ranks, split), SlowestSeconds(ranks, current));
    batch->events.push_back(NewEvent(at.run->record.run_id, kEventBatchSplit,
                                     absl::StrCat("from step ", epoch.planned_end(), " on ",
                                                  SplitWords(names, split), expected)));
  }
  out.shares = SharesOf(split, micro_batches);
  return out;
}

absl::Status Coordinator::TellDone(const Fenced& at, v1::NextPlanResponse* out) {
  EpochEntry& epoch = *at.epoch;
  epoch.done.insert(at.rank);  // also when that cannot be stored: it is decided
  if (epoch.record.end_reason.empty()) {
    EpochRecord next = epoch.record;
    next.end_reason = epoch.done_reason;
    WriteBatch batch;
    batch.epochs = {next};
    RETURN_IF_ERROR(Write(&batch));
    epoch.record = std::move(next);
  }
  out->mutable_done()->set_reason(epoch.done_reason);
  return absl::OkStatus();
}

absl::Status Coordinator::CutPlans(const Fenced& at, int64_t step) {
  EpochEntry& epoch = *at.epoch;
  if (step < at.run->record.step) {
    return absl::InvalidArgumentError(absl::StrCat(
        "from_step is ", step, " with yielded, epoch ", epoch.record.epoch, " has reported step ",
        at.run->record.step, ": no rank can have stopped there"));
  }
  std::vector<v1::Plan> kept;
  WriteBatch batch;
  for (const v1::Plan& plan : epoch.plans) {
    if (plan.end_step() <= step) {
      kept.push_back(plan);
      continue;
    }
    // One that nobody has begun is stored without steps: as cut away.
    const bool begun = plan.first_step() < step;
    v1::Plan cut;
    cut.set_first_step(plan.first_step());
    cut.set_end_step(plan.first_step());
    if (begun) kept.push_back(cut = CutPlan(plan, step));
    batch.plans.push_back({epoch.record.run_id, epoch.record.epoch, std::move(cut)});
  }
  RETURN_IF_ERROR(Write(&batch));
  epoch.plans = std::move(kept);
  return absl::OkStatus();
}

absl::Status Coordinator::Report(const v1::ReportRequest& request) {
  RETURN_IF_ERROR(CheckReport(request));
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunTurn turn, TurnOf(request.worker(), request.run_id()));
  if (request.spec_unreadable()) {  // whether its epoch lives or not
    // While the turn was waited for, a process that can read it may have taken the name.
    RETURN_IF_ERROR(workers_.Check(request.worker()));
    NoteUnreadable(request);
  }
  absl::StatusOr<Fenced> fenced = Fence(request.worker(), request.run_id(), request.epoch());
  RunEntry* run = nullptr;
  EpochEntry* epoch = nullptr;
  int rank = -1;
  if (fenced.ok()) {
    run = fenced->run;
    epoch = fenced->epoch;
    rank = fenced->rank;
  } else {
    // Late words of the newest epoch that has ended.
    run = &runs_.at(request.run_id());
    if (run->deleted || run->last_epoch.epoch != request.epoch() ||
        !workers_.Check(request.worker()).ok())
      return fenced.status();
    const auto& members = run->last_epoch.members;
    for (size_t i = 0; i < members.size(); ++i) {
      if (members[i].worker == request.worker().name() &&
          members[i].incarnation == request.worker().incarnation())
        rank = static_cast<int>(i);
    }
    if (rank < 0) return fenced.status();
    // They count when it ended as it should; else only what a checkpoint holds.
    if (!run->last_end_clean || run->epoch.has_value()) {
      RETURN_IF_ERROR(KeepCommitted(request, rank, run));
      return fenced.status();
    }
  }
  // First of all: a store that takes no more must not hide why the epoch failed, nor must a report
  // whose repeat comes to a coordinator that was restarted in between.
  if (epoch != nullptr) Complain(request, rank, epoch);
  const RequestRecord id{request.run_id(), request.epoch(), request.request_id()};
  if (!id.request_id.empty()) {
    ASSIGN_OR_RETURN(const bool seen, Apart([&] { return store_->RequestSeen(id); }));
    if (seen) return absl::OkStatus();
  }

  const int64_t first = epoch != nullptr ? epoch->record.start_step : run->last_epoch.start_step;
  const int64_t end = epoch != nullptr ? epoch->planned_end() : run->record.total_steps;
  WriteBatch batch;
  if (!id.request_id.empty() && epoch != nullptr) batch.requests = {id};
  RunRecord next = run->record;
  double seconds = epoch != nullptr ? epoch->seconds_per_step : 0;
  // Steps up to `first` were trained by an earlier epoch, whose rank 0 may have died with what it
  // had not told: who goes on from its state tells all of them, and what is known already stands.
  // Of an ended epoch no request ids are kept: its steps are not counted again.
  std::set<int64_t> known;
  if (rank == 0 && request.steps_size() > 0 &&
      (epoch == nullptr || request.steps(0).step() <= first)) {
    ASSIGN_OR_RETURN(const std::vector<v1::StepMetrics> curve, Apart([&] {
                       return store_->Metrics(request.run_id(), request.steps(0).step(), 0,
                                              kMaxStepsInReport);
                     }));
    for (const v1::StepMetrics& m : curve) {
      if (m.step() <= first || m.epoch() == request.epoch()) known.insert(m.step());
    }
  }
  if (rank == 0) {
    RETURN_IF_ERROR(CheckEvaluations(request, run->spec, end));
    for (const v1::StepMetrics& m : request.steps()) {
      if (m.step() < 1 || m.step() > end) {
        return absl::InvalidArgumentError(
            absl::StrCat("steps: ", m.step(), " lies outside the plans of epoch ", request.epoch(),
                         " (", first + 1, " to ", end, ") and of those before it"));
      }
      const bool earlier = m.step() <= first;
      if (earlier && known.contains(m.step())) continue;
      MetricRecord record{request.run_id(), m};
      if (!earlier || m.epoch() == 0 || m.epoch() > request.epoch())
        record.metrics.set_epoch(request.epoch());
      if (record.metrics.time_ms() == 0) record.metrics.set_time_ms(NowMs());
      batch.metrics.push_back(std::move(record));
      next.step = std::max<int64_t>(next.step, m.step());
      const bool counts = !known.contains(m.step());
      if (counts && m.step_seconds() > 0) {
        next.reported_tokens = SaturatedSum(next.reported_tokens, m.tokens());
        next.reported_us =
            SaturatedSum(next.reported_us, static_cast<int64_t>(m.step_seconds() * 1e6));
        if (!earlier) {  // those were of another group
          seconds =
              seconds > 0 ? seconds + kSmoothing * (m.step_seconds() - seconds) : m.step_seconds();
        }
      }
    }
    for (const v1::EvaluationPoint& p : request.evaluations()) {
      batch.evaluations.push_back({request.run_id(), request.epoch(), p});
    }
    RETURN_IF_ERROR(DropKnown(first, &batch.evaluations));
  }
  for (const v1::LogLine& line : request.log_lines()) {
    LogRecord record{0, request.run_id(), line};
    record.line.set_worker(request.worker().name());
    record.line.set_line(ShowableUtf8(line.line(), kMaxLineBytes));
    batch.log_lines.push_back(std::move(record));
  }
  const bool progress = next.step > next.best_step;
  next.best_step = std::max(next.best_step, next.step);
  batch.runs = {next};
  const bool empty = batch.metrics.empty() && batch.evaluations.empty() && batch.log_lines.empty();
  if (!empty) RETURN_IF_ERROR(Write(&batch));
  if (epoch != nullptr) next.step = std::max(next.step, run->record.step);  // heartbeats meanwhile
  run->record = std::move(next);
  for (const MetricRecord& m : batch.metrics) {
    run->Remember(m.metrics);
    if (m.metrics.step() > run->committed_step())
      run->uncommitted_seconds[m.metrics.step()] = m.metrics.step_seconds();
  }
  for (const EvaluationRecord& e : batch.evaluations) run->Remember(e.point);
  if (!empty) Touch(run);
  if (epoch == nullptr) return absl::OkStatus();
  epoch->seconds_per_step = seconds;
  epoch->progress = epoch->progress || progress;
  return absl::OkStatus();
}

absl::Status Coordinator::KeepCommitted(const v1::ReportRequest& request, int rank, RunEntry* run) {
  if (rank != 0) return absl::OkStatus();
  // Where the work of that epoch ends that nobody repeats. As long as there is no next one that may
  // be all: its state may be in somebody's memory. The next one supersedes what it repeats.
  const int64_t end =
      run->epoch.has_value() ? run->epoch->record.start_step : run->record.total_steps;
  RETURN_IF_ERROR(CheckEvaluations(request, run->spec, run->record.total_steps));
  WriteBatch batch;
  for (const v1::StepMetrics& m : request.steps()) {
    if (m.step() <= run->last_epoch.start_step || m.step() > end) continue;
    batch.metrics.push_back({request.run_id(), m});
    batch.metrics.back().metrics.set_epoch(request.epoch());
  }
  for (const v1::EvaluationPoint& p : request.evaluations()) {
    if (p.step() > run->last_epoch.start_step && p.step() <= end)
      batch.evaluations.push_back({request.run_id(), request.epoch(), p});
  }
  RETURN_IF_ERROR(DropKnown(end, &batch.evaluations));
  if (batch.metrics.empty() && batch.evaluations.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(Write(&batch));
  for (const MetricRecord& m : batch.metrics) {
    if (m.metrics.step() > run->committed_step())
      run->uncommitted_seconds[m.metrics.step()] = m.metrics.step_seconds();
  }
  for (const EvaluationRecord& e : batch.evaluations) {
    const auto shown = run->last_evaluation.find(e.point.source());
    if (shown == run->last_evaluation.end() || shown->second.step() <= e.point.step())
      run->Remember(e.point);
  }
  Touch(run);
  return absl::OkStatus();
}

absl::Status Coordinator::DropKnown(int64_t up_to, std::vector<EvaluationRecord>* evaluations) {
  int64_t oldest = up_to + 1;
  for (const EvaluationRecord& e : *evaluations) oldest = std::min(oldest, e.point.step());
  if (oldest > up_to) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<v1::EvaluationPoint> curve, Apart([&] {
                     return store_->Evaluations(evaluations->front().run_id,
                                                std::max<int64_t>(0, oldest), up_to,
                                                kMaxStepsInReport);
                   }));
  std::set<std::tuple<int64_t, std::string, std::string>> known;
  for (const v1::EvaluationPoint& p : curve) known.emplace(p.step(), p.source(), p.weights());
  std::erase_if(*evaluations, [&](const EvaluationRecord& e) {
    return e.point.step() <= up_to &&
           known.contains({e.point.step(), e.point.source(), e.point.weights()});
  });
  return absl::OkStatus();
}

void Coordinator::NoteUnreadable(const v1::ReportRequest& request) {
  constexpr size_t kMaxShown = 300;
  WorkerEntry* worker = workers_.Find(request.worker().name());
  const std::string first = request.failure().substr(0, request.failure().find('\n'));
  worker->cannot_read[request.run_id()] =
      absl::StrCat(worker->name, " (version ", worker->info.code_version(),
                   ") cannot read the run's configuration (", ShowableUtf8(first, kMaxShown),
                   "); update it to version ", kVersion);
}

void Coordinator::Complain(const v1::ReportRequest& request, int rank, EpochEntry* epoch) {
  if (request.failure().empty()) return;
  const bool graver = request.failure_is_permanent() && epoch->complaint.has_value() &&
                      !epoch->complaint->permanent && !epoch->complaint->end.has_value();
  if (!epoch->complaint.has_value() || graver) {
    const bool unreadable = request.spec_unreadable();
    // A worker of an older version may say it in several lines.
    const absl::string_view whole = request.failure();
    const absl::string_view sentence = whole.substr(0, whole.find_first_of("\r\n"));
    const std::string& detail = request.failure_detail();
    epoch->complaint = Complaint{
        rank,
        unreadable
            ? NamedWorker(workers_.Find(request.worker().name())->cannot_read.at(request.run_id()))
            : absl::StrCat(NamedWorker(request.worker().name()), " (rank ", rank,
                           ") failed: ", ShowableUtf8(sentence, kMaxSentenceBytes)),
        request.failure_is_permanent() && !unreadable,
        clock_->Monotonic(),
        ShowableLines(detail.empty() && sentence != whole ? request.failure() : detail),
        unreadable};
  }
  for (const MemberRecord& member : epoch->record.members) {
    if (WorkerEntry* other = workers_.Find(member.worker); other != nullptr) workers_.Miss(other);
  }
  kicked_ = true;
  wake_.NotifyAll();
}

}  // namespace tritter
