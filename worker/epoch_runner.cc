#include "worker/epoch_runner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/folder_checkpoint_store.h"
#include "model/parameter_groups.h"
#include "model/tokenizer.h"
#include "worker/failure_words.h"
#include "worker/held_out_evaluation.h"
#include "worker/memory_start.h"
#include "worker/start_state.h"
#include "worker/text_samples.h"

namespace tritter {
namespace {

TrainingObserver* Silent() {
  static TrainingObserver silent;
  return &silent;
}

}  // namespace

EpochRunner::EpochRunner(Options options, HeldTrainer held)
    : options_([](Options o) {
        if (o.observer == nullptr) o.observer = Silent();
        return o;
      }(std::move(options))),
      id_(options_.assignment.id),
      rank_(options_.assignment.rank),
      world_size_(options_.assignment.world_size),
      checkpoints_(CheckpointsOfRun(options_.env, options_.assignment.run_dir)),
      step_(options_.assignment.start_step),
      status_{id_, options_.assignment.start_step, "joining"},
      reporter_({.link = options_.link,
                 .cancellation = &cancellation_,
                 .id = id_,
                 .request_prefix = absl::StrCat(options_.request_prefix, "-", id_.epoch),
                 .send_metrics = rank_ == 0,
                 .interval = options_.report_interval,
                 .backoff = options_.backoff,
                 .on_stale = [this](const absl::Status& s) { CancelWith(s); }}),
      fetcher_({.link = options_.link,
                .cancellation = &cancellation_,
                .id = id_,
                .rank = rank_,
                .backoff = options_.backoff,
                .on_wait =
                    [this](const std::string& reason) {
                      Log(LogLevel::kInfo, "plan_awaited", {{"reason", reason}});
                    },
                .check = [this] { return CheckWriter(); }}),
      writer_(
          {.store = checkpoints_.get(),
           .clock = options_.clock,
           .link = options_.link,
           .cancellation = &cancellation_,
           .id = id_,
           .rank = rank_,
           .backoff = options_.backoff,
           .commit_poll = options_.commit_poll,
           .disk_retry = options_.disk_retry,
           .on_disk_full =
               [this](const CheckpointOrder& order, const absl::Status& status) {
                 Log(LogLevel::kWarning, "checkpoint_waits_for_disk",
                     {{"step", order.step},
                      {"status", status.ToString()},
                      {"next", absl::StrCat("free space on ", checkpoints_->location(),
                                            "; the checkpoint is written again every ",
                                            absl::FormatDuration(options_.disk_retry))}});
               },
           .before_write = [this]() -> absl::Status {
             if (rank_ != 0) return absl::OkStatus();
             return RecordData(options_.env, options_.assignment.run_dir, data_->hashes());
           },
           .before_commit = [this](int64_t step) { return reporter_.AwaitDelivery(step); },
           .on_end =
               [this](const CheckpointEnd& end) {
                 options_.observer->OnCheckpoint(end);
                 if (!end.status.ok())
                   return;  // surfaces at the next step, or in the wait for a plan
                 recent_.Forget(end.order.step);
                 Log(LogLevel::kInfo, "checkpoint_committed",
                     {{"step", end.order.step}, {"bytes", end.bytes}, {"seconds", end.seconds}});
               }}) {
  const Assignment& a = options_.assignment;
  holds_start_ = a.from_memory && !a.mixed_devices && held.trainer != nullptr &&
                 held.id.run_id == id_.run_id && held.id.epoch == a.state_epoch &&
                 held.spec_yaml == a.spec_yaml && held.trainer->step() == a.start_step;
  if (!holds_start_) return;
  trainer_ = std::move(held.trainer);
  state_of_ = held.id;  // until it is known to be that of all
  recent_.Set(std::move(held.reports));
}

EpochRunner::~EpochRunner() { Cancel("the runner is destroyed"); }

EpochOutcome EpochRunner::Run() {
  options_.observer->OnEpochStarted(options_.assignment);
  absl::Status status = Prepare();
  if (status.ok()) status = ExecutePlans();
  if (status.ok()) status = Leave();
  EpochOutcome outcome = Conclude(std::move(status));
  options_.observer->OnEpochEnded(outcome.status);
  return outcome;
}

absl::Status EpochRunner::Prepare() {
  const Assignment& a = options_.assignment;
  Log(LogLevel::kInfo, "epoch_joined",
      {{"run", id_.run_id},
       {"epoch", id_.epoch},
       {"rank", rank_},
       {"world_size", world_size_},
       {"start_step", a.start_step},
       {"mixed_devices", a.mixed_devices},
       {"from", a.fresh()        ? "the seed"
                : !a.from_memory ? "a checkpoint"
                : holds_start_   ? "own memory"
                                 : "the memory of others"}});
  RETURN_IF_ERROR(OpenOwn());
  RETURN_IF_ERROR(JoinOthers());
  RETURN_IF_ERROR(GetState());
  Log(LogLevel::kInfo, "training_started", {{"step", step_}, {"trainer", trainer_->description()}});
  if (rank_ == 0) {
    for (const GroupSummary& g : SummariseGroups(spec_)) {
      Log(LogLevel::kInfo, "parameter_group",
          {{"group", g.group.name},
           {"optimizer", OptimizerKindName(g.group.optimizer)},
           {"weight_decay", g.group.weight_decay},
           {"rate_factor", g.group.rate_factor},
           {"tensors", g.tensors},
           {"parameters", g.parameters}});
    }
  }
  return absl::OkStatus();
}

absl::Status EpochRunner::OpenOwn() {
  const Assignment& a = options_.assignment;
  SetState(EpochStage::kConfiguration, "joining");
  ASSIGN_OR_RETURN(spec_, ParseRunSpec(a.spec_yaml, "run.yaml", a.run_dir));
  // Ranks that round an update each in its own way: one of them makes it for all. Of this
  // epoch alone; what the run asks for, and its checkpoints, stay the same.
  if (a.mixed_devices && !IsOuter(spec_)) spec_.shard_optimizer = true;
  SetState(EpochStage::kSetUp, "joining");
  ASSIGN_OR_RETURN(data_, options_.parts->OpenData(spec_));
  batches_.emplace(data_.get());
  if (a.fresh()) return absl::OkStatus();
  // What a step has been trained on; before the first one there is no record, or that of an epoch
  // which left nothing.
  if (a.start_step > 0) RETURN_IF_ERROR(CheckData(options_.env, a.run_dir, data_->hashes()));
  if (a.from_memory) return absl::OkStatus();
  SetState(EpochStage::kCheckpointRead, "joining");
  ASSIGN_OR_RETURN(
      start_, OpenStartCheckpoint(checkpoints_.get(), id_.run_id, a.start_step, a.manifest_sha256));
  return absl::OkStatus();
}

absl::Status EpochRunner::JoinOthers() {
  SetState(EpochStage::kGroup, "joining");
  const GroupPlace place = {absl::StrCat(id_.run_id, "/", id_.epoch), rank_, world_size_,
                            options_.assignment.collective_timeout,
                            options_.assignment.mixed_devices};
  ASSIGN_OR_RETURN(group_, JoinGroup(
                               options_.parts, place, cancellation_,
                               [this](const std::string& address) {
                                 return CallUntilAnswered(
                                     cancellation_, options_.backoff,
                                     [&] { return options_.link->PublishRendezvous(id_, address); },
                                     [](const absl::Status&) {});
                               },
                               [this] { return AwaitRendezvous(); }));
  auto counted = std::make_unique<CountingCollective>(std::move(group_.collective));
  counted_ = counted.get();
  group_.collective = std::move(counted);
  {
    MutexLock lock(&mu_);
    collective_ = group_.collective.get();
  }
  if (cancellation_.cancelled())
    return absl::AbortedError(cancellation_.cause().message());  // Cancel may have missed it
  return absl::OkStatus();
}

absl::Status EpochRunner::GetState() {
  const Assignment& a = options_.assignment;
  SetState(EpochStage::kSetUp, "joining");
  if (trainer_ != nullptr) {
    trainer_->Rebind(group_.collective.get());
  } else {
    ASSIGN_OR_RETURN(
        trainer_, options_.parts->CreateTrainer(spec_, group_.collective.get(), a.mixed_devices));
  }
  trainer_->set_yield_wish([this] { return yield_wished_ || leaves_; });
  if (a.from_memory) {
    SetState(EpochStage::kMemoryStart, "joining");
    RETURN_IF_ERROR(StartFromMemory(a.start_step, a.state_rank, holds_start_,
                                    group_.collective.get(), trainer_.get()));
    // Whoever reported until now may be gone, with what it had not sent yet.
    RETURN_IF_ERROR(ShareReports(a.state_rank, group_.collective.get(), &recent_));
    Progress untold = recent_.Get();
    for (StepReport& report : untold.steps) reporter_.AddStep(std::move(report));
    for (EvaluationReport& report : untold.evaluations) reporter_.AddEvaluation(std::move(report));
  } else if (start_ != nullptr) {
    SetState(EpochStage::kCheckpointRead, "joining");
    RETURN_IF_ERROR(trainer_->Load(*start_));
    start_.reset();
  } else {
    RETURN_IF_ERROR(trainer_->InitialiseFresh());
  }
  state_of_ = id_;
  if (trainer_->step() == a.start_step) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the state is of step ", trainer_->step(), ", expected ", a.start_step));
}

absl::Status EpochRunner::ExecutePlans() {
  Plan plan;  // in hand
  constexpr absl::Duration kAskAgain = absl::Milliseconds(200);
  bool closing = false;  // that plan was carried out
  PlanQuestion question{step_};
  fetcher_.Prefetch(question);
  while (true) {
    SetState(EpochStage::kPlan, "waiting");
    const absl::StatusOr<PlanAnswer> answer = fetcher_.Take(question);
    if (question.yielded && absl::IsInvalidArgument(answer.status())) {
      // A coordinator of an older version, which cuts no plan: the one in hand stands, for all.
      Log(LogLevel::kWarning, "yield_refused",
          {{"step", step_}, {"plan_end", plan.end_step}, {"status", answer.status().ToString()}});
      leaves_ = false;
    } else {
      RETURN_IF_ERROR(answer.status());
      if (const auto* done = std::get_if<PlanDone>(&*answer)) {
        Log(LogLevel::kInfo, "epoch_complete", {{"step", step_}, {"reason", done->reason}});
        committed_ = step_ >= spec_.steps;
        return absl::OkStatus();
      }
      if (closing) {  // its checkpoint is being committed
        RETURN_IF_ERROR(CheckWriter());
        cancellation_.Sleep(kAskAgain);
        continue;
      }
      plan = std::get<Plan>(*answer);
      closing = IsClosing(plan);
      RETURN_IF_ERROR(CheckPlan(plan, step_, spec_, rank_, world_size_));
      Log(LogLevel::kInfo, "plan_started",
          {{"first_step", plan.first_step}, {"end_step", plan.end_step}});
    }
    ASSIGN_OR_RETURN(const bool agreed, ExecutePlan(plan));
    // Nothing is left to cut behind the last step.
    question = {step_, agreed && step_ < spec_.steps};
    if (question.yielded)
      Log(LogLevel::kInfo, "yielded", {{"step", step_}, {"plan_end", plan.end_step}});
  }
}

absl::StatusOr<bool> EpochRunner::ExecutePlan(const Plan& plan) {
  windows_ = WindowShareOf(plan, rank_);
  if (step_ == plan.first_step)  // left by an earlier epoch
    RETURN_IF_ERROR(DoDueWork(DueAt(plan, step_)));
  step_began_ = options_.clock->Monotonic();
  while (step_ < plan.end_step) {
    if (cancellation_.cancelled()) return absl::AbortedError(cancellation_.cause().message());
    RETURN_IF_ERROR(CheckWriter());
    ASSIGN_OR_RETURN(const bool agreed, ExecuteStep(ActionAt(plan, step_, rank_)));
    if (!agreed && ShouldPrefetch(plan, step_)) fetcher_.Prefetch({plan.end_step});
    RETURN_IF_ERROR(DoDueWork(DueAt(plan, step_)));
    if (agreed) return true;
  }
  return false;
}

// A committed step is never trained again, so everything about it must be known before: it is
// evaluated first, and its share is committed when the reports have arrived.
absl::Status EpochRunner::DoDueWork(const DueWork& due) {
  // One that an earlier epoch did, and nobody was told of, is known to every rank.
  if (due.evaluate && !recent_.Evaluated(step_)) RETURN_IF_ERROR(Evaluate());
  if (due.checkpoint.has_value()) RETURN_IF_ERROR(TakeCheckpoint(*due.checkpoint));
  if (due.evaluate || due.checkpoint.has_value())
    step_began_ = options_.clock->Monotonic();  // neither is part of the next step
  return absl::OkStatus();
}

absl::Status EpochRunner::CheckWriter() {
  absl::Status status = writer_.Check();
  if (!status.ok()) stage_ = EpochStage::kCheckpointWrite;
  return status;
}

absl::StatusOr<bool> EpochRunner::ExecuteStep(const StepAction& action) {
  SetState(EpochStage::kStep, "training");
  BatchPrefetcher::Request request{action.first_slot, spec_.global_batch, action.first_position,
                                   action.count};
  const absl::Duration asked = options_.clock->Monotonic();
  ASSIGN_OR_RETURN(const EpochData::Share share, batches_->Take(request));
  const absl::Duration read = options_.clock->Monotonic();
  // The step after this one is the same share of the next batch, whatever plan it will be part of.
  // Where that turns out otherwise, its batch is read again then.
  request.first_slot += spec_.global_batch;
  if (action.step + 1 < spec_.steps) batches_->Start(request);
  const int64_t sent = counted_->sent_bytes();
  ASSIGN_OR_RETURN(const StepStats stats, trainer_->Step(share.batch, share.weight_sum,
                                                         action.micro_batch, action.learning_rate));
  step_ = trainer_->step();
  // What is wished from now on is wished of a later step.
  if (stats.yield) yield_wished_ = false;
  NoteSpeed(stats, action.count);
  StepReport report;
  report.step = step_;
  report.epoch = id_.epoch;
  report.loss = stats.loss;
  report.grad_norm = stats.grad_norm;
  report.learning_rate = action.learning_rate;
  report.tokens = spec_.global_batch * spec_.sequence_length;
  report.phase = action.phase;
  report.data_seconds = absl::ToDoubleSeconds(read - asked);
  report.forward_seconds = stats.forward_seconds;
  report.backward_seconds = stats.backward_seconds;
  report.reduce_seconds = stats.reduce_seconds;
  report.optimizer_seconds = stats.optimizer_seconds;
  report.sent_bytes = counted_->sent_bytes() - sent;
  const absl::Duration began = std::exchange(step_began_, options_.clock->Monotonic());
  report.step_seconds = absl::ToDoubleSeconds(step_began_ - began);
  report.time = options_.clock->Now();
  ReportStep(std::move(report), stats, action.count * spec_.sequence_length);
  return stats.yield;
}

void EpochRunner::ReportStep(StepReport report, const StepStats& stats, int64_t own_tokens) {
  unsettled_.push_back(std::move(report));
  if (!stats.settled) return;
  for (size_t i = 0; i < unsettled_.size(); ++i) {
    StepReport& settled = unsettled_[i];
    if (i < stats.round.size()) {
      settled.loss = stats.round[i].loss;
      settled.grad_norm = stats.round[i].grad_norm;
    }
    options_.observer->OnStep(settled, own_tokens);
    recent_.Add(settled);
    reporter_.AddStep(std::move(settled));
  }
  unsettled_.clear();
}

void EpochRunner::NoteSpeed(const StepStats& stats, int64_t sequences) {
  constexpr double kNewest = 0.2;  // weight of the newest step
  const double seconds = (stats.forward_seconds + stats.backward_seconds) /
                         static_cast<double>(std::max<int64_t>(1, sequences));
  MutexLock lock(&mu_);
  status_.step = step_;
  if (step_ == options_.assignment.start_step + 1) return;  // it has made room for the later ones
  double& smoothed = status_.seconds_per_sequence;
  smoothed = smoothed == 0 ? seconds : smoothed + kNewest * (seconds - smoothed);
}

absl::Status EpochRunner::TakeCheckpoint(const CheckpointOrder& order) {
  SetState(EpochStage::kCheckpointWrite, "checkpointing");
  RETURN_IF_ERROR(writer_.WaitIdle());  // before the copy: never two in memory
  ASSIGN_OR_RETURN(auto snapshot, trainer_->Snapshot());
  return writer_.Start(std::move(snapshot), order);
}

absl::Status EpochRunner::Evaluate() {
  SetState(EpochStage::kEvaluation, "training");
  ASSIGN_OR_RETURN(const auto reports,
                   EvaluateHeldOut(trainer_.get(), data_.get(), windows_, group_.collective.get(),
                                   cancellation_, EvaluatesRawWeights(spec_), options_.clock));
  for (const EvaluationReport& report : reports) {
    options_.observer->OnEvaluation(report);
    recent_.Add(report);
    reporter_.AddEvaluation(report);
    if (rank_ == 0) {
      Log(LogLevel::kInfo, "evaluated",
          {{"step", report.step},
           {"source", report.source},
           {"weights", report.averaged ? "averaged" : "raw"},
           {"loss", report.loss},
           {"perplexity", std::exp(report.loss)},
           {"bits_per_byte", report.bits_per_byte}});
    }
  }
  // Where the averages are divided over the ranks, rank 0 has them whole from the evaluation.
  const bool whole = !spec_.shard_optimizer || !data_->held_out().empty();
  return rank_ == 0 && whole ? Sample() : absl::OkStatus();
}

absl::Status EpochRunner::Sample() {
  if (data_->tokenizer_hash() != ByteTokenizer().hash()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<TextSample> samples,
                   SampleTexts(trainer_.get(), spec_, cancellation_));
  if (samples.empty()) return absl::OkStatus();
  for (const TextSample& sample : samples) {
    Log(LogLevel::kInfo, "sampled",
        {{"step", step_}, {"prompt", sample.prompt}, {"text", sample.drawn}});
  }
  // Somebody may want to look at them; nothing depends on them.
  if (absl::Status s = WriteSamples(options_.env, options_.assignment.run_dir, step_, samples);
      !s.ok()) {
    Log(LogLevel::kWarning, "samples_not_written", {{"step", step_}, {"status", s.ToString()}});
  }
  return absl::OkStatus();
}

absl::Status EpochRunner::Leave() {
  SetState(EpochStage::kCheckpointWrite, "checkpointing");
  RETURN_IF_ERROR(writer_.WaitIdle());
  if (!reporter_.Flush(options_.farewell_limit)) {
    LogWarning("reports_not_delivered", {{"run", id_.run_id}, {"epoch", id_.epoch}});
  }
  if (trainer_->whole()) {
    trainer_->Rebind(nullptr);
  } else {
    trainer_.reset();
  }
  LeaveGroup();  // an orderly farewell: whoever still reads the last sum gets it whole
  return absl::OkStatus();
}

HeldTrainer EpochRunner::TakeState() {
  // Of a run that is complete, or has not begun, nobody needs it.
  const bool useful =
      trainer_ != nullptr && !hopeless_ && trainer_->whole() && trainer_->step() > 0 && !committed_;
  HeldTrainer held;
  if (useful) {
    trainer_->set_yield_wish(nullptr);
    trainer_->Rebind(nullptr);
    held = {state_of_, options_.assignment.spec_yaml, std::move(trainer_), recent_.Get()};
  }
  trainer_.reset();
  LeaveGroup();
  return held;
}

void EpochRunner::LeaveGroup() {
  {
    MutexLock lock(&mu_);
    collective_ = nullptr;
  }
  counted_ = nullptr;
  group_.collective.reset();
  group_.rendezvous.reset();
}

EpochOutcome EpochRunner::Conclude(absl::Status status) {
  using Kind = EpochOutcome::Kind;
  if (status.ok()) return {Kind::kDone, status, step_};
  // A peer that died ends the epoch for everybody; the coordinator knows it from the peer's own
  // stream and names the right one.
  if (!cancellation_.cancelled() && !IsStaleEpoch(status) && IsGroupFailure(stage_, status)) {
    LogWarning("group_broken",
               {{"epoch", id_.epoch}, {"step", step_}, {"status", status.ToString()}});
    SetState(stage_, "waiting");
    cancellation_.Sleep(options_.broken_group_grace);
  }
  if (cancellation_.cancelled()) {
    reporter_.Flush(options_.ended_flush_limit);
    return {Kind::kEnded, cancellation_.cause(), step_};
  }
  if (IsStaleEpoch(status)) {
    CancelWith(status);
    return {Kind::kEnded, status, step_};
  }
  if (const auto tensor = status.GetPayload(kFirstBadTensor); tensor.has_value()) {
    Log(LogLevel::kError, "non_finite", {{"step", step_}, {"tensor", std::string(*tensor)}});
    options_.observer->OnNonFinite();
    status.ErasePayload(kFirstBadTensor);  // the message says it
  }
  std::vector<std::string> others = options_.assignment.members;
  if (rank_ < static_cast<int>(others.size())) others.erase(others.begin() + rank_);
  const FailureWords failure = DescribeFailure(stage_, step_, status, others);
  const bool permanent = IsPermanentFailure(stage_, status);
  hopeless_ = permanent;
  Log(LogLevel::kError, "epoch_failed",
      {{"epoch", id_.epoch}, {"permanent", permanent}, {"failure", failure.sentence}});
  if (!failure.detail.empty()) LogError("epoch_failed_detail", {{"detail", failure.detail}});
  const bool unreadable = stage_ == EpochStage::kConfiguration;
  reporter_.Fail({.text = unreadable ? std::string(status.message()) : failure.sentence,
                  .detail = failure.detail,
                  .permanent = permanent,
                  .spec_unreadable = unreadable},
                 options_.farewell_limit);
  CancelWith(status);
  return {Kind::kFailed, status, step_};
}

void EpochRunner::SetRendezvous(const std::string& address) {
  MutexLock lock(&mu_);
  if (rendezvous_.empty()) rendezvous_ = address;
  changed_.NotifyAll();
}

absl::StatusOr<std::string> EpochRunner::AwaitRendezvous() {
  MutexLock lock(&mu_);
  while (rendezvous_.empty()) {
    if (cancellation_.cancelled()) return absl::AbortedError(cancellation_.cause().message());
    changed_.Wait(&mu_);
  }
  return rendezvous_;
}

void EpochRunner::Yield(const std::string& reason, bool until_left) {
  Log(LogLevel::kInfo, "yield_wished", {{"epoch", id_.epoch}, {"reason", reason}});
  (until_left ? leaves_ : yield_wished_) = true;
}

void EpochRunner::Cancel(const std::string& reason) { CancelWith(absl::CancelledError(reason)); }

void EpochRunner::CancelWith(absl::Status cause) {
  const std::string reason(cause.message());
  if (!cancellation_.Cancel(std::move(cause))) return;
  MutexLock lock(&mu_);
  if (collective_ != nullptr) collective_->Abort(reason);
  changed_.NotifyAll();
}

EpochRunner::Status EpochRunner::status() const {
  MutexLock lock(&mu_);
  return status_;
}

void EpochRunner::SetState(EpochStage stage, const char* state) {
  stage_ = stage;
  MutexLock lock(&mu_);
  status_.state = state;
}

void EpochRunner::Log(LogLevel level, absl::string_view event,
                      std::initializer_list<LogField> fields) {
  LogEvent(level, event, fields);
  std::string line(event);
  for (const LogField& field : fields) absl::StrAppend(&line, " ", field.key, "=", field.value);
  reporter_.AddLogLine({options_.clock->Now(), std::move(line)});
}

}  // namespace tritter
