#include "tests/simulation/sim_epoch.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "coordinator/decide/plan.h"
#include "model/folder_checkpoint_store.h"
#include "model/schedule.h"

namespace tritter::simulation {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(100), kLongestPause = absl::Seconds(2);
constexpr absl::Duration kFarewell = absl::Seconds(10), kBrokenGroupGrace = absl::Seconds(5);

absl::Duration Longer(absl::Duration pause) { return std::min(pause * 2, kLongestPause); }

// The state in a share: its last word.
absl::StatusOr<uint64_t> StateIn(const MappedFile& file) {
  const std::string text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  uint64_t state = 0;
  if (!absl::SimpleAtoi(text.substr(text.rfind(' ') + 1), &state))
    return absl::DataLossError(absl::StrCat("no state in \"", text, "\""));
  return state;
}

ScheduleSpec ScheduleOf(const v1::LearningRate& lr) {
  ScheduleSpec spec;
  spec.peak = lr.peak();
  spec.min = lr.min();
  spec.warmup_steps = lr.warmup_steps();
  spec.decay_start_step = lr.decay_start_step();
  spec.total_steps = lr.total_steps();
  spec.shape = ParseDecayShape(lr.shape()).value_or(DecayShape::kCosine);
  return spec;
}

// What the plan says of the step that follows `step` steps.
RankStep StepOf(const v1::Plan& plan, int64_t step, int rank) {
  RankStep out;
  out.step = step;
  out.inputs.first_slot = plan.first_slot() + (step - plan.first_step()) * plan.global_batch();
  out.inputs.slots = plan.global_batch();
  out.inputs.learning_rate = LrAt(step, ScheduleOf(plan.learning_rate()));
  for (const v1::PlanSegment& segment : plan.segments()) {
    if (step < segment.first_step() || step >= segment.end_step()) continue;
    out.inputs.full = segment.phase() == v1::PHASE_FULL;
    for (const v1::SourceWeight& w : segment.weights())
      (w.source() == "text" ? out.inputs.text : out.inputs.code) = w.weight();
  }
  for (const v1::RankShare& share : plan.shares()) {
    if (share.rank() != rank) continue;
    out.first_position = share.first_position();
    out.count = share.count();
  }
  return out;
}

}  // namespace

SimEpoch::SimEpoch(SimWorker* worker, const v1::Assignment& assignment, std::optional<Held> held)
    : worker_(worker), assignment_(assignment), step_(assignment.start_step()) {
  const bool begins_with_it =
      assignment.from_memory() && held.has_value() && held->run == assignment.run_id() &&
      held->epoch == assignment.state_epoch() && held->step == assignment.start_step();
  if (!begins_with_it) return;
  state_ = held->state;
  state_of_ = held->epoch;  // until it is known to be that of all
  recent_ = held->reports;
}

std::optional<Held> SimEpoch::TakeState() {
  if (assignment_.mixed_devices()) return std::nullopt;  // it has a part of it
  // Of a run that is complete, or has not begun, nobody needs it.
  if (state_of_ == 0 || hopeless_ || step_ == 0 || committed_) return std::nullopt;
  return Held{assignment_.run_id(), state_of_, step_, state_, recent_};
}

absl::Duration SimEpoch::unanswered_for() const {
  const absl::Duration now = world()->now();
  return std::max({asked_at_.has_value() ? now - *asked_at_ : waited_,
                   await_writer_.empty() ? waited_for_writer_ : now - await_writer_since_});
}

void SimEpoch::LaterEvenSo(absl::Duration delay, std::function<void()> act) {
  worker_->Later(delay, [self = shared_from_this(), act = std::move(act)] {
    if (!self->ended_) act();
  });
}

void SimEpoch::Later(absl::Duration delay, std::function<void()> act) {
  LaterEvenSo(delay, [self = shared_from_this(), act = std::move(act)] {
    if (!self->cancelled_ && !self->failed_) act();
  });
}

template <typename Request>
Request SimEpoch::Make() const {
  Request request;
  *request.mutable_worker() = worker_->Identity();
  request.set_run_id(assignment_.run_id());
  request.set_epoch(assignment_.epoch());
  return request;
}

void SimEpoch::Describe(v1::Heartbeat* heartbeat) const {
  heartbeat->set_run_id(assignment_.run_id());
  heartbeat->set_epoch(assignment_.epoch());
  heartbeat->set_step(step_);
  if (plan_.has_value()) heartbeat->set_seconds_per_sequence(worker_->parts().seconds_per_sequence);
  if (!worker_->draining()) heartbeat->set_state(cancelled_ ? "leaving" : stage_);
}

// --- joining ------------------------------------------------------------------------------------

void SimEpoch::Start() {
  ReportLoop();
  Later(world()->Between(absl::Milliseconds(5), absl::Milliseconds(300)), [this] { LoadState(); });
}

void SimEpoch::LoadState() {
  if (assignment_.from_memory() && assignment_.mixed_devices())
    return world()->Break(absl::StrCat(
        "a group of CPUs and GPUs begins with a checkpoint, but run ", assignment_.run_id(),
        " is to from the memory of rank ", assignment_.state_rank()));
  if (!assignment_.from_memory()) state_ = kFreshState;
  if (step_ > 0 && !assignment_.from_memory()) {
    const auto store =
        CheckpointsOfRun(worker_->parts().coordinator->worker_env(), assignment_.run_dir());
    const auto load = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(const auto checkpoint, store->Open(step_));
      if (checkpoint->manifest_sha256() != assignment_.manifest_sha256())
        return absl::DataLossError("the checkpoint is not the one that was named");
      RETURN_IF_ERROR(VerifyCheckpoint(*checkpoint));
      ASSIGN_OR_RETURN(const auto file, checkpoint->Open(checkpoint->manifest().files[0].name));
      ASSIGN_OR_RETURN(state_, StateIn(*file));
      return absl::OkStatus();
    };
    if (const absl::Status s = load(); !s.ok()) {
      return Fail(absl::StrCat("reading the checkpoint of step ", step_, ": ", s.ToString()),
                  /*permanent=*/false);
    }
  }
  loaded_ = true;
  if (assignment_.rank() == 0) Publish();
  if (rendezvous_) JoinGroup();
}

void SimEpoch::Publish() {
  worker_->Call<bool>(
      [request =
           [this] {
             auto r = Make<v1::PublishRendezvousRequest>();
             r.set_address(absl::StrCat(worker_->name(), ":", worker_->incarnation() % 60000));
             return r;
           }()](Coordinator* c) -> absl::StatusOr<bool> {
        RETURN_IF_ERROR(c->PublishRendezvous(request));
        return true;
      },
      [self = shared_from_this()](const absl::StatusOr<bool>& done) {
        if (self->ended_ || self->cancelled_) return;
        if (absl::IsAborted(done.status())) return self->Cancel();
        if (absl::IsUnavailable(done.status()))
          return self->Later(kFirstPause, [self] { self->Publish(); });
        if (!done.ok()) return self->Fail(done.status().ToString(), true);
        self->RendezvousKnown();
      });
}

void SimEpoch::RendezvousKnown() {
  if (std::exchange(rendezvous_, true) || !loaded_) return;
  JoinGroup();
}

void SimEpoch::JoinGroup() {
  if (cancelled_ || failed_ || std::exchange(joined_, true)) return;
  group_ = worker_->parts().groups->Find(assignment_.run_id(), assignment_.epoch(),
                                         assignment_.world_size(),
                                         absl::Milliseconds(assignment_.collective_timeout_ms()));
  RankStep own;
  own.step = step_;
  own.state = state_;
  own.reports = std::make_shared<v1::ReportRequest>(recent_);
  group_->Arrive(assignment_.rank(), worker_->shared_from_this(),
                 assignment_.from_memory() ? &own : nullptr,
                 [self = shared_from_this()](const absl::Status& status) {
                   if (self->ended_ || self->cancelled_) return;
                   if (!status.ok()) return self->GroupBroken(status);
                   if (self->assignment_.from_memory() && !self->StartFromMemory()) return;
                   self->state_of_ = self->assignment_.epoch();
                   self->TakePlan();
                 });
}

// Who has the state keeps it, the others get it, all compare.
bool SimEpoch::StartFromMemory() {
  const RankStep& root = group_->began_with(assignment_.state_rank());
  if (root.state == 0) {
    Fail(absl::StrCat("rank ", assignment_.state_rank(), " does not hold the state after ", step_,
                      " steps"),
         /*permanent=*/false);
    return false;
  }
  for (int rank = 0; rank < assignment_.world_size(); ++rank) {
    const RankStep& other = group_->began_with(rank);
    if (other.state == 0 || other.state == root.state) continue;
    world()->Break(absl::StrCat("states of one step and epoch are equal, but those after ", step_,
                                " steps in the memory of ranks ", assignment_.state_rank(), " and ",
                                rank, " of run ", assignment_.run_id(), " differ"));
    return false;
  }
  state_ = root.state;
  recent_ = *root.reports;
  if (assignment_.rank() == 0) {  // whoever reported until now may be gone
    pending_.mutable_steps()->MergeFrom(recent_.steps());
    pending_.mutable_evaluations()->MergeFrom(recent_.evaluations());
  }
  return true;
}

// --- plans --------------------------------------------------------------------------------------

void SimEpoch::Prefetch(int64_t from, bool yielded) {
  if (asked_ == std::pair(from, yielded)) return;
  asked_ = {from, yielded};
  asked_at_ = world()->now();
  answer_.reset();
  Ask(from, yielded, kFirstPause);
}

void SimEpoch::Ask(int64_t from, bool yielded, absl::Duration pause) {
  auto request = std::make_shared<v1::NextPlanRequest>(Make<v1::NextPlanRequest>());
  request->set_rank(assignment_.rank());
  request->set_from_step(from);
  request->set_yielded(yielded);
  worker_->Call<v1::NextPlanResponse>(
      [request, worker = worker_](Coordinator* c) {
        absl::StatusOr<v1::NextPlanResponse> response = c->NextPlan(*request);
        worker->parts().on_plan(*request, response);
        return response;
      },
      [self = shared_from_this(), from, yielded,
       pause](const absl::StatusOr<v1::NextPlanResponse>& response) {
        if (self->ended_ || self->cancelled_ || self->failed_ ||
            self->asked_ != std::pair(from, yielded))
          return;
        if (absl::IsAborted(response.status())) return self->Cancel();
        if (absl::IsUnavailable(response.status()))
          return self->Later(
              pause, [self, from, yielded, pause] { self->Ask(from, yielded, Longer(pause)); });
        if (yielded && absl::IsInvalidArgument(response.status())) {
          self->world()->Break(absl::StrCat("a plan is cut where all ranks stopped, but ",
                                            self->worker_->name(), " was told ",
                                            response.status().message()));
        }
        if (!response.ok() && !self->wants_plan_) {
          // Asked ahead, of a plan that has been cut meanwhile, it may be: asked again at its turn.
          self->asked_.reset();
          self->asked_at_.reset();
          return;
        }
        if (!response.ok()) {
          return self->Fail(absl::StrCat("asking for a plan from step ", from, ": ",
                                         response.status().ToString()),
                            true);
        }
        if (response->has_wait()) {
          return self->Later(absl::Milliseconds(response->wait().retry_after_ms()),
                             [self, from, yielded] { self->Ask(from, yielded, kFirstPause); });
        }
        self->waited_ = self->world()->now() - *self->asked_at_;
        self->asked_at_.reset();
        self->answer_ = *response;
        if (self->wants_plan_) self->TakePlan();
      });
}

void SimEpoch::TakePlan() {
  stage_ = "waiting";
  wants_plan_ = true;
  if (!writer_failure_.ok()) return Fail(writer_failure_.ToString(), false);
  Prefetch(step_, yielded_);
  if (!answer_.has_value()) return;
  wants_plan_ = yielded_ = false;
  asked_.reset();
  const v1::NextPlanResponse answer = *std::exchange(answer_, std::nullopt);
  if (answer.has_done()) {
    world()->Note(worker_->name(), " is done at step ", step_, ": ", answer.done().reason());
    committed_ = step_ >= total_steps_;
    return LeaveDone();
  }
  if (plan_.has_value() && IsClosing(*plan_)) {  // its checkpoint is being committed
    Later(absl::Milliseconds(200), [this] { TakePlan(); });
    return;
  }
  plan_ = answer.plan();
  total_steps_ = plan_->learning_rate().total_steps();
  world()->Note(worker_->name(), " has the plan ", plan_->first_step(), " to ", plan_->end_step());
  if (plan_->first_step() != step_ || (plan_->end_step() <= step_ && !IsClosing(*plan_)))
    return world()->Break(absl::StrCat("a plan is of the steps that are asked for, but from step ",
                                       step_, " that of ", plan_->first_step(), " to ",
                                       plan_->end_step(), " was handed out"));
  DoDueWork([this] { NextStep(); });  // left by an earlier epoch
}

// --- steps --------------------------------------------------------------------------------------

void SimEpoch::NextStep() {
  if (step_ >= plan_->end_step()) return TakePlan();
  if (!writer_failure_.ok()) return Fail(writer_failure_.ToString(), false);
  stage_ = "training";
  RankStep at = StepOf(*plan_, step_, assignment_.rank());
  at.state = state_;
  at.yields = yield_wished_ || worker_->draining();
  const Misdeed misdeed = worker_->parts().misdeed;
  if (misdeed == Misdeed::kSkipsSamples && step_ == 3) at.inputs.first_slot += 1;
  if (misdeed == Misdeed::kOtherRate && step_ == 3) at.inputs.learning_rate *= 1.01;
  if (misdeed == Misdeed::kTrainsAgain && step_ == 3) at.step = 2;
  const double seconds = worker_->seconds_per_step() * world()->Between(0.8, 1.2);
  Later(absl::Seconds(seconds), [this, at] {
    group_->Arrive(assignment_.rank(), worker_->shared_from_this(), &at,
                   [self = shared_from_this(), at](const absl::Status& status) {
                     if (!self->ended_ && !self->cancelled_ && !self->failed_)
                       self->StepDone(at, status);
                   });
  });
}

void SimEpoch::StepDone(const RankStep& at, const absl::Status& status) {
  if (!status.ok()) return GroupBroken(status);
  state_ = simulation::AfterStep(state_, at.step, at.inputs);
  ++step_;
  yielded_ = group_->yields() && step_ < total_steps_;
  if (group_->yields()) yield_wished_ = false;
  v1::StepMetrics m;
  m.set_step(step_);
  m.set_epoch(assignment_.epoch());
  m.set_loss(Oracle::Loss(state_));
  m.set_learning_rate(at.inputs.learning_rate);
  m.set_step_seconds(worker_->seconds_per_step());
  m.set_tokens(at.inputs.slots * 128);
  *recent_.add_steps() = m;
  if (assignment_.rank() == 0) *pending_.add_steps() = m;
  pending_.set_step(step_);
  pending_.add_log_lines()->set_line(absl::StrCat("step ", step_));
  const int64_t length = plan_->end_step() - plan_->first_step();
  if (!yielded_ && step_ >= plan_->end_step() - std::max<int64_t>(1, length / 4))
    Prefetch(plan_->end_step(), false);
  DoDueWork([this] {
    if (!yielded_) return NextStep();
    world()->Note(worker_->name(), " yields at step ", step_);
    TakePlan();
  });
}

// What the plan orders at the step that is done: to be evaluated, then to be saved.
void SimEpoch::DoDueWork(std::function<void()> then) {
  const auto save = [this, then = std::move(then)] {
    for (const v1::CheckpointOrder& order : plan_->checkpoints()) {
      if (order.step() == step_) return StartCheckpoint(order, then);
    }
    then();
  };
  const auto& due = plan_->evaluate_at();
  const bool evaluated =
      std::any_of(recent_.evaluations().begin(), recent_.evaluations().end(),
                  [&](const v1::EvaluationPoint& e) { return e.step() == step_; });
  if (evaluated || std::find(due.begin(), due.end(), step_) == due.end()) return save();
  Later(world()->Between(absl::Milliseconds(10), absl::Milliseconds(300)), [this, save] {
    Evaluate();
    save();
  });
}

void SimEpoch::Evaluate() {
  for (const char* source : {"text", "code"}) {
    v1::EvaluationPoint e;
    e.set_step(step_);
    e.set_source(source);
    e.set_weights("averaged");
    e.set_loss(Oracle::Loss(state_));
    e.set_tokens(1000);
    *recent_.add_evaluations() = e;
    if (assignment_.rank() == 0) *pending_.add_evaluations() = e;
  }
}

// A peer that died ends the epoch for everybody; the coordinator knows it from the peer's stream.
void SimEpoch::GroupBroken(const absl::Status& status) {
  stage_ = "waiting";
  Later(kBrokenGroupGrace, [this, status] {
    Fail(absl::StrCat("step ", step_, ": ", status.ToString()), /*permanent=*/false);
  });
}

// --- reports ------------------------------------------------------------------------------------

void SimEpoch::ReportLoop() {
  LaterEvenSo(absl::Seconds(1), [this] {
    SendReport();
    ReportLoop();
  });
}

int64_t SimEpoch::OldestUndelivered() const {
  int64_t oldest = std::numeric_limits<int64_t>::max();
  for (const v1::ReportRequest* r : {static_cast<const v1::ReportRequest*>(sending_.get()),
                                     static_cast<const v1::ReportRequest*>(&pending_)}) {
    if (r == nullptr) continue;
    for (const v1::StepMetrics& m : r->steps()) oldest = std::min(oldest, m.step());
    for (const v1::EvaluationPoint& e : r->evaluations()) oldest = std::min(oldest, e.step());
  }
  return oldest;
}

void SimEpoch::SendReport() {
  const bool empty =
      pending_.steps().empty() && pending_.evaluations().empty() && pending_.log_lines().empty();
  if (sending_ != nullptr || empty) return;
  sending_ = std::make_shared<v1::ReportRequest>(Make<v1::ReportRequest>());
  sending_->MergeFrom(pending_);
  pending_.Clear();
  sending_->set_request_id(absl::StrCat(worker_->name(), "-", worker_->incarnation(), "-",
                                        assignment_.epoch(), "-", next_report_++));
  Repeat(sending_, kFirstPause);
}

void SimEpoch::Repeat(const std::shared_ptr<v1::ReportRequest>& report, absl::Duration pause) {
  worker_->Call<bool>(
      [report](Coordinator* c) -> absl::StatusOr<bool> {
        RETURN_IF_ERROR(c->Report(*report));
        return true;
      },
      [self = shared_from_this(), report, pause](const absl::StatusOr<bool>& done) {
        if (self->ended_) return;
        if (absl::IsUnavailable(done.status())) {
          return self->LaterEvenSo(pause,
                                   [self, report, pause] { self->Repeat(report, Longer(pause)); });
        }
        self->sending_ = nullptr;
        if (absl::IsAborted(done.status())) return self->Cancel();
        if (!done.ok()) {
          self->world()->Break(
              absl::StrCat("a worker's report is taken or its epoch is stale, but ",
                           self->worker_->name(), " was told ", done.status().ToString()));
        }
      });
}

void SimEpoch::AwaitDelivered(absl::Duration limit, std::function<void()> then) {
  SendReport();
  const bool delivered = sending_ == nullptr && pending_.steps().empty() &&
                         pending_.evaluations().empty() && pending_.log_lines().empty();
  if (delivered || limit <= absl::ZeroDuration()) return then();
  constexpr absl::Duration kLook = absl::Milliseconds(100);
  LaterEvenSo(kLook, [this, left = limit - kLook, then] { AwaitDelivered(left, then); });
}

// --- checkpoints --------------------------------------------------------------------------------

void SimEpoch::WaitWriter(std::function<void()> then) {
  if (!writing_) return then();
  await_writer_since_ = world()->now();
  await_writer_.push_back(std::move(then));
}

void SimEpoch::StartCheckpoint(const v1::CheckpointOrder& order, std::function<void()> then) {
  stage_ = "checkpointing";
  WaitWriter([this, order, then] {
    if (cancelled_ || failed_) return;
    if (!writer_failure_.ok()) return Fail(writer_failure_.ToString(), false);
    writing_ = true;
    const std::string content =
        absl::StrCat("state of ", assignment_.run_id(), " after ", order.step(), " steps, rank ",
                     assignment_.rank(), ": ", state_);
    Later(world()->Between(absl::Milliseconds(10), absl::Milliseconds(600)),
          [this, order, content] { WriteShare(order, content); });
    then();
  });
}

absl::StatusOr<v1::CommitShareRequest> SimEpoch::TryWrite(const v1::CheckpointOrder& order,
                                                          const std::string& content) {
  const auto store =
      CheckpointsOfRun(worker_->parts().coordinator->worker_env(), assignment_.run_dir());
  const CheckpointAttempt attempt{order.step(), order.attempt()};
  const std::string name =
      absl::StrCat("share-", assignment_.rank(), "-of-", assignment_.world_size(), ".safetensors");
  RETURN_IF_ERROR(store->Begin(attempt));
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> share, store->Put(attempt, name));
  RETURN_IF_ERROR(share->Append(content));
  RETURN_IF_ERROR(share->Sync());
  RETURN_IF_ERROR(share->Close());
  auto request = Make<v1::CommitShareRequest>();
  request.set_step(order.step());
  request.set_attempt(order.attempt());
  request.set_rank(assignment_.rank());
  v1::CheckpointFile* file = request.add_files();
  file->set_name(name);
  file->set_bytes(static_cast<int64_t>(content.size()));
  file->set_sha256(Sha256Hex(content));
  return request;
}

void SimEpoch::WriteShare(const v1::CheckpointOrder& order, const std::string& content) {
  absl::StatusOr<v1::CommitShareRequest> share = TryWrite(order, content);
  if (absl::IsResourceExhausted(share.status())) {
    return Later(absl::Seconds(5), [this, order, content] { WriteShare(order, content); });
  }
  if (!share.ok()) return WriterEnds(share.status());
  AwaitReports(std::make_shared<v1::CommitShareRequest>(*std::move(share)));
}

// Rank 0 commits its share once everything up to its step was reported.
void SimEpoch::AwaitReports(const std::shared_ptr<v1::CommitShareRequest>& share) {
  if (assignment_.rank() != 0 || OldestUndelivered() > share->step())
    return CommitShare(share, kFirstPause);
  SendReport();
  Later(absl::Milliseconds(50), [this, share] { AwaitReports(share); });
}

void SimEpoch::CommitShare(const std::shared_ptr<v1::CommitShareRequest>& share,
                           absl::Duration pause) {
  worker_->Call<v1::CommitShareResponse>(
      [share](Coordinator* c) { return c->CommitShare(*share); },
      [self = shared_from_this(), share,
       pause](const absl::StatusOr<v1::CommitShareResponse>& response) {
        if (self->ended_ || self->cancelled_ || self->failed_) return;
        if (absl::IsUnavailable(response.status())) {
          return self->Later(pause,
                             [self, share, pause] { self->CommitShare(share, Longer(pause)); });
        }
        if (absl::IsAborted(response.status())) return self->Cancel();
        if (!response.ok()) return self->WriterEnds(response.status());
        if (response->state() == v1::CommitShareResponse::COMMITTED)
          return self->WriterEnds(absl::OkStatus());
        self->Later(absl::Milliseconds(200),
                    [self, share] { self->CommitShare(share, kFirstPause); });
      });
}

void SimEpoch::WriterEnds(const absl::Status& status) {
  writing_ = false;
  writer_failure_ = status;
  if (!await_writer_.empty()) waited_for_writer_ = world()->now() - await_writer_since_;
  for (const auto& then : std::exchange(await_writer_, {})) then();
  if (!status.ok() && wants_plan_ && !cancelled_) Fail(status.ToString(), false);
}

// --- the end ------------------------------------------------------------------------------------

void SimEpoch::LeaveDone() {
  stage_ = "checkpointing";
  WaitWriter([this] {
    if (cancelled_ || failed_) return;
    if (!writer_failure_.ok()) return Fail(writer_failure_.ToString(), false);
    AwaitDelivered(kFarewell, [this] {
      if (ended_) return;
      group_->Leave(assignment_.rank(), /*farewell=*/true);
      End();
    });
  });
}

void SimEpoch::Fail(const std::string& failure, bool permanent) {
  if (ended_ || cancelled_ || std::exchange(failed_, true)) return;
  hopeless_ = permanent;
  world()->Note(worker_->name(), " fails epoch ", assignment_.epoch(), " of ", assignment_.run_id(),
                ": ", failure);
  AwaitDelivered(kFarewell / 2, [this, failure, permanent] {
    auto report = std::make_shared<v1::ReportRequest>(Make<v1::ReportRequest>());
    report->set_request_id(absl::StrCat(worker_->name(), "-", worker_->incarnation(), "-",
                                        assignment_.epoch(), "-failure"));
    report->set_step(step_);
    report->set_failure(failure);
    report->set_failure_is_permanent(permanent);
    sending_ = report;
    Repeat(report, kFirstPause);
    AwaitDelivered(kFarewell / 2, [this] {
      if (ended_) return;
      if (group_ != nullptr) group_->Leave(assignment_.rank(), /*farewell=*/false);
      End();
    });
  });
}

void SimEpoch::Cancel() {
  if (ended_ || std::exchange(cancelled_, true)) return;
  world()->Note(worker_->name(), " leaves epoch ", assignment_.epoch(), " of ",
                assignment_.run_id(), " at step ", step_);
  if (group_ != nullptr) group_->Leave(assignment_.rank(), /*farewell=*/false);
  if (world()->Chance(worker_->hangs())) {  // an abort that hangs ends the process
    return worker_->Later(absl::Seconds(5),
                          [worker = worker_->shared_from_this()] { worker->Die(true); });
  }
  LaterEvenSo(world()->Between(absl::Milliseconds(1), absl::Milliseconds(300)),
              [this] { AwaitDelivered(absl::Seconds(1), [this] { End(); }); });
}

void SimEpoch::End() {
  if (std::exchange(ended_, true)) return;
  // The caller may be the last who knows it.
  worker_->Later(absl::ZeroDuration(),
                 [self = shared_from_this()] { self->worker_->EpochEnded(self.get()); });
}

void SimEpoch::ProcessDied() {
  ended_ = true;
  if (group_ != nullptr) group_->Leave(assignment_.rank(), /*farewell=*/false);
  next_ = nullptr;  // refers to the worker
}

}  // namespace tritter::simulation
