#include "coordinator/testing/fake_agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "coordinator/decide/plan.h"
#include "model/folder_checkpoint_store.h"

namespace tritter {

void FakeExchange::Reached(const std::string& run_id, uint64_t epoch, int rank, int64_t step) {
  Group& group = groups_[{run_id, epoch}];
  group.steps[rank] = step;
  group.newest = std::max(group.newest, step);
}

bool FakeExchange::Together(const std::string& run_id, uint64_t epoch, int world,
                            int64_t step) const {
  const auto it = groups_.find({run_id, epoch});
  if (it == groups_.end() || static_cast<int>(it->second.steps.size()) < world) return false;
  return std::all_of(it->second.steps.begin(), it->second.steps.end(),
                     [&](const auto& rank) { return rank.second >= step - 1; });
}

void FakeExchange::Ask(const std::string& run_id, uint64_t epoch) {
  Group& group = groups_[{run_id, epoch}];
  if (group.stop < group.newest) group.stop = group.newest + 1;  // else they are about to
}

bool FakeExchange::Stops(const std::string& run_id, uint64_t epoch, int64_t step) const {
  const auto it = groups_.find({run_id, epoch});
  return it != groups_.end() && it->second.stop == step;
}

v1::WorkerIdentity FakeAgent::Identity() const {
  v1::WorkerIdentity id;
  id.set_name(name_);
  id.set_incarnation(incarnation_);
  return id;
}

v1::Heartbeat FakeAgent::Heartbeat() const {
  v1::Heartbeat h;
  *h.mutable_worker() = Identity();
  h.set_run_id(run_id_);
  h.set_epoch(epoch_);
  h.set_step(step_);
  h.set_state(run_id_.empty() ? "idle" : "training");
  h.set_draining(draining);
  if (!run_id_.empty()) h.set_seconds_per_sequence(seconds_per_sequence);
  if (held_.has_value() && run_id_.empty()) *h.mutable_held() = *held_;
  return h;
}

absl::Status FakeAgent::Connect() {
  v1::RegisterRequest request;
  *request.mutable_worker() = Identity();
  request.set_host("host");
  request.set_device(device);
  request.set_threads(1);
  request.set_memory_bytes(memory_bytes);
  request.set_code_version(version);
  request.set_pid(100);
  RETURN_IF_ERROR(api_->Register(request));
  return api_->OpenSession(Heartbeat());
}

void FakeAgent::Leave() {
  if (!run_id_.empty() && holds && whole_) {
    held_.emplace();
    held_->set_run_id(run_id_);
    held_->set_epoch(epoch_);
    held_->set_step(step_);
  }
  whole_ = false;
  run_id_.clear();
  epoch_ = 0;
  plan_.reset();
  share_.reset();
  rendezvous_ = false;
}

void FakeAgent::Take(const v1::Command& command) {
  if (command.has_end_epoch()) {
    if (command.end_epoch().run_id() == run_id_ && command.end_epoch().epoch() == epoch_) Leave();
  } else if (command.has_rendezvous()) {
    if (command.rendezvous().run_id() != run_id_ || command.rendezvous().epoch() != epoch_) return;
    rendezvous_ = true;
    whole_ = !assigned_.back().mixed_devices();
  } else if (command.has_yield()) {
    if (exchange != nullptr && command.yield().run_id() == run_id_ &&
        command.yield().epoch() == epoch_)
      exchange->Ask(run_id_, epoch_);
  } else if (command.has_assignment()) {
    const v1::Assignment& a = command.assignment();
    uint64_t& newest = newest_epoch_[a.run_id()];
    if (a.epoch() <= newest) return;  // said again, or left already
    newest = a.epoch();
    Leave();
    run_id_ = a.run_id();
    epoch_ = a.epoch();
    rank_ = a.rank();
    world_ = a.world_size();
    run_dir_ = a.run_dir();
    step_ = a.start_step();
    plans.clear();
    assignments_.emplace_back(epoch_, step_);
    assigned_.push_back(a);
    yielded_at_ = -1;
    if (exchange != nullptr) exchange->Reached(run_id_, epoch_, rank_, step_);
    StartFrom(a);
    if (run_id_.empty()) return;
    if (rank_ == 0) {
      v1::PublishRendezvousRequest request;
      *request.mutable_worker() = Identity();
      request.set_run_id(run_id_);
      request.set_epoch(epoch_);
      request.set_address("127.0.0.1:4000");
      last_error_ = api_->PublishRendezvous(request);
    }
  }
}

void FakeAgent::StartFrom(const v1::Assignment& a) {
  const bool own = held_.has_value() && held_->run_id() == a.run_id() &&
                   held_->step() == a.start_step() && held_->epoch() == a.state_epoch();
  if (a.from_memory() && a.rank() == a.state_rank() && !own) {
    last_error_ = Fail(absl::StrCat("told to begin from step ", a.start_step(),
                                    " in its memory, which it does not have"),
                       true);
    Leave();
    return;
  }
  // Until it has compared with the others, its own is what it has.
  if (!a.from_memory() || !own) held_.reset();
}

bool FakeAgent::Yields() const {
  return exchange != nullptr && step_ != yielded_at_ && exchange->Stops(run_id_, epoch_, step_);
}

void FakeAgent::AskForPlan() {
  v1::NextPlanRequest request;
  *request.mutable_worker() = Identity();
  request.set_run_id(run_id_);
  request.set_epoch(epoch_);
  request.set_rank(rank_);
  request.set_from_step(step_);
  request.set_yielded(Yields());
  absl::StatusOr<v1::NextPlanResponse> response = api_->NextPlan(request);
  if (!response.ok()) {
    last_error_ = response.status();
    if (last_error_.code() == absl::StatusCode::kFailedPrecondition) Leave();
    return;
  }
  if (request.yielded() && !response->has_wait()) yielded_at_ = step_;
  if (response->has_done()) Leave();
  if (!response->has_plan()) return;
  if (plan_.has_value() && IsClosing(*plan_)) return;  // its checkpoint is being committed
  plan_ = response->plan();
  plans[plan_->first_step()] = *plan_;
  // What was due at the first step, in an epoch that is no more.
  v1::ReportRequest report;
  AddEvaluation(&report);
  if (report.evaluations_size() > 0) last_error_ = Send(report);
  for (const v1::CheckpointOrder& order : plan_->checkpoints()) {
    if (order.step() == step_) last_error_ = WriteCheckpoint(order);
  }
}

absl::Status FakeAgent::WriteCheckpoint(const v1::CheckpointOrder& order) {
  const auto store = CheckpointsOfRun(env_, run_dir_);
  const CheckpointAttempt attempt{order.step(), order.attempt()};
  RETURN_IF_ERROR(store->Begin(attempt));
  const std::string name = absl::StrCat("share-", rank_, "-of-", world_, ".safetensors");
  const std::string content =
      !share.empty() ? share
                     : absl::StrCat("state of rank ", rank_, " after ", order.step(), " steps");
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> share, store->Put(attempt, name));
  RETURN_IF_ERROR(share->Append(content));
  RETURN_IF_ERROR(share->Sync());
  RETURN_IF_ERROR(share->Close());
  v1::CommitShareRequest request;
  *request.mutable_worker() = Identity();
  request.set_run_id(run_id_);
  request.set_epoch(epoch_);
  request.set_step(order.step());
  request.set_attempt(order.attempt());
  request.set_rank(rank_);
  v1::CheckpointFile* file = request.add_files();
  file->set_name(name);
  file->set_bytes(static_cast<int64_t>(content.size()));
  file->set_sha256(Sha256Hex(lie_about_hashes ? "something else" : content));
  share_ = std::move(request);
  return Commit();
}

absl::Status FakeAgent::Commit() {
  if (cannot_commit) return absl::UnavailableError("nobody is told");
  absl::Status status = api_->CommitShare(*share_).status();
  if (status.ok() || status.code() == absl::StatusCode::kFailedPrecondition) share_.reset();
  return status;
}

void FakeAgent::AddEvaluation(v1::ReportRequest* report) {
  for (const int64_t at : plan_->evaluate_at()) {
    if (at != step_ || rank_ != 0) continue;
    evaluated_.push_back(step_);
    v1::EvaluationPoint* e = report->add_evaluations();
    e->set_step(step_);
    e->set_source("text");
    e->set_weights("averaged");
    e->set_bits_per_byte(2.0);
    e->set_loss(held_out_loss ? held_out_loss(step_)
                              : 1.0 / static_cast<double>(std::max<int64_t>(1, step_)));
    e->set_tokens(1000);
    e->set_seconds(evaluation_seconds);
  }
}

// Once more when the answer is lost.
absl::Status FakeAgent::Send(const v1::ReportRequest& what) {
  v1::ReportRequest report = what;
  *report.mutable_worker() = Identity();
  report.set_run_id(run_id_);
  report.set_epoch(epoch_);
  report.set_request_id(absl::StrCat(name_, "-", incarnation_, "-", next_request_++));
  report.set_step(step_);
  const absl::Status reported = api_->Report(report);
  if (reported.ok() || reported.code() == absl::StatusCode::kFailedPrecondition) return reported;
  return api_->Report(report);
}

absl::Status FakeAgent::Train() {
  if (exchange != nullptr && !exchange->Together(run_id_, epoch_, world_, step_ + 1))
    return absl::OkStatus();  // it waits for the others
  ++step_;
  if (exchange != nullptr) exchange->Reached(run_id_, epoch_, rank_, step_);
  trained_.emplace_back(epoch_, step_);
  v1::ReportRequest report;
  report.add_log_lines()->set_line(absl::StrCat("step ", step_));
  if (rank_ == 0) {
    v1::StepMetrics* m = report.add_steps();
    m->set_step(step_);
    m->set_loss(1.0 / static_cast<double>(step_));
    m->set_step_seconds(step_seconds);
    m->set_tokens(2048);
  }
  AddEvaluation(&report);
  if (!mute) RETURN_IF_ERROR(Send(report));
  for (const v1::CheckpointOrder& order : plan_->checkpoints()) {
    if (order.step() == step_) RETURN_IF_ERROR(WriteCheckpoint(order));
  }
  return absl::OkStatus();
}

absl::Status FakeAgent::Fail(const std::string& failure, bool permanent) {
  v1::ReportRequest report;
  *report.mutable_worker() = Identity();
  report.set_run_id(run_id_);
  report.set_epoch(epoch_);
  report.set_failure(failure);
  report.set_failure_is_permanent(permanent);
  return api_->Report(report);
}

absl::Status FakeAgent::CannotRead(const std::string& why) {
  v1::ReportRequest report;
  *report.mutable_worker() = Identity();
  report.set_run_id(run_id_);
  report.set_epoch(epoch_);
  report.set_failure(why);
  report.set_spec_unreadable(true);
  return api_->Report(report);
}

void FakeAgent::Act() {
  for (const v1::Command& command : api_->TakeCommands()) Take(command);
  if (!idle() && rendezvous_) {
    if (share_.has_value()) {
      last_error_ = Commit();
    } else if (!plan_.has_value() || step_ >= plan_->end_step() || Yields()) {
      AskForPlan();
    } else if (absl::Status s = Train(); !s.ok()) {
      last_error_ = s;
      if (s.code() == absl::StatusCode::kFailedPrecondition) Leave();
    }
  }
  if (absl::Status s = api_->Beat(Heartbeat()); !s.ok()) last_error_ = s;
}

}  // namespace tritter
