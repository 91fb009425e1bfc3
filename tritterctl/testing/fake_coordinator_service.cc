#include "tritterctl/testing/fake_coordinator_service.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tritter/v1/errors.pb.h"
#include "tritterctl/testing/demo_run.h"

namespace tritter {
namespace {

grpc::Status Typed(grpc::StatusCode code, v1::ErrorDetail::Reason reason,
                   const std::string& message, const std::string& hint) {
  v1::ErrorDetail detail;
  detail.set_reason(reason);
  detail.set_hint(hint);
  return grpc::Status(code, message, detail.SerializeAsString());
}

bool Ended(v1::RunState s) {
  return s == v1::RUN_STATE_COMPLETED || s == v1::RUN_STATE_FAILED || s == v1::RUN_STATE_CANCELLED;
}

}  // namespace

FakeCoordinator::FakeCoordinator(const std::string& address) : run_(DemoRun()), address_(address) {
  for (int i = 0; i < 3; ++i) {
    v1::LogLine line;
    line.set_worker("worker-0");
    line.set_line(absl::StrCat("line ", i));
    logs_.push_back(line);
  }
  Start();
}
FakeCoordinator::~FakeCoordinator() { Stop(); }

void FakeCoordinator::Start() {
  {
    MutexLock lock(&mu_);
    stopping_ = false;
  }
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address_, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
}

void FakeCoordinator::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
}

void FakeCoordinator::SetRun(const v1::Run& run) {
  MutexLock lock(&mu_);
  run_ = run;
  ++version_;
  changed_.NotifyAll();
}

v1::Run FakeCoordinator::run() {
  MutexLock lock(&mu_);
  return run_;
}

std::vector<v1::SubmitRunRequest> FakeCoordinator::submitted() {
  MutexLock lock(&mu_);
  return submitted_;
}

void FakeCoordinator::SetEvents(const std::vector<v1::Event>& events) {
  MutexLock lock(&mu_);
  events_ = events;
}

void FakeCoordinator::SetEarlierRun(const v1::Run& run) {
  MutexLock lock(&mu_);
  earlier_ = run;
}

void FakeCoordinator::RememberSubmission() {
  MutexLock lock(&mu_);
  remembers_ = true;
}

int FakeCoordinator::watches() {
  MutexLock lock(&mu_);
  return watches_;
}

void FakeCoordinator::SetLogs(const std::vector<v1::LogLine>& lines) {
  MutexLock lock(&mu_);
  logs_ = lines;
  changed_.NotifyAll();
}

int FakeCoordinator::log_streams() {
  MutexLock lock(&mu_);
  return log_streams_;
}

grpc::Status FakeCoordinator::Find(const std::string& name, v1::Run* out) {
  MutexLock lock(&mu_);
  if (name != run_.run_id() && name != run_.name()) {
    return Typed(grpc::StatusCode::NOT_FOUND, v1::ErrorDetail::UNKNOWN_RUN,
                 absl::StrCat("no run '", name, "'"), "see: tritterctl get runs");
  }
  if (out != nullptr) *out = run_;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::Move(const std::string& name, v1::RunState from, v1::RunState to,
                                   v1::Run* out) {
  if (const grpc::Status found = Find(name, nullptr); !found.ok()) return found;
  MutexLock lock(&mu_);
  if (run_.state() != from) {
    return Typed(grpc::StatusCode::FAILED_PRECONDITION, v1::ErrorDetail::WRONG_STATE,
                 "the run's state does not allow it", "see: tritterctl describe " + name);
  }
  run_.set_state(to);
  ++version_;
  changed_.NotifyAll();
  *out = run_;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::SubmitRun(grpc::ServerContext*, const v1::SubmitRunRequest* request,
                                        v1::SubmitRunResponse* response) {
  MutexLock lock(&mu_);
  response->set_repeated(remembers_);
  for (const v1::SubmitRunRequest& earlier : submitted_) {
    if (!request->idempotency_key().empty() &&
        earlier.idempotency_key() == request->idempotency_key())
      response->set_repeated(true);
  }
  submitted_.push_back(*request);
  *response->mutable_run() = run_;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ValidateRun(grpc::ServerContext*,
                                          const v1::ValidateRunRequest* request,
                                          v1::ValidateRunResponse* response) {
  if (absl::StrContains(request->yaml(), "no-such-shards")) {
    return Typed(grpc::StatusCode::INVALID_ARGUMENT, v1::ErrorDetail::INVALID_RUN_SPEC,
                 "data.sources[0].shards: not there", "curate the text first");
  }
  response->set_spec_yaml("name: resolved\n");
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::GetRun(grpc::ServerContext*, const v1::GetRunRequest* request,
                                     v1::Run* run) {
  return Find(request->run(), run);
}

grpc::Status FakeCoordinator::ListRuns(grpc::ServerContext*, const v1::ListRunsRequest*,
                                       v1::ListRunsResponse* response) {
  MutexLock lock(&mu_);
  *response->add_runs() = run_;
  if (earlier_.has_value()) *response->add_runs() = *earlier_;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::WatchRun(grpc::ServerContext* context,
                                       const v1::WatchRunRequest* request,
                                       grpc::ServerWriter<v1::RunUpdate>* writer) {
  if (const grpc::Status found = Find(request->run(), nullptr); !found.ok()) return found;
  int64_t seen = -1;
  MutexLock lock(&mu_);
  ++watches_;
  for (;;) {
    // Looked at now and then: a client that went away wakes nobody.
    while (version_ == seen && !stopping_ && !context->IsCancelled())
      changed_.WaitFor(&mu_, absl::Milliseconds(20));
    if (stopping_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    seen = version_;
    v1::RunUpdate update;
    *update.mutable_run() = run_;
    for (const v1::Event& event : events_) *update.add_events() = event;
    writer->Write(update);
    if (Ended(run_.state())) return grpc::Status::OK;
  }
}

grpc::Status FakeCoordinator::PauseRun(grpc::ServerContext*, const v1::PauseRunRequest* r,
                                       v1::Run* run) {
  {
    MutexLock lock(&mu_);
    if (earlier_.has_value() && r->run() == earlier_->run_id()) {
      earlier_->set_state(v1::RUN_STATE_PAUSED);
      *run = *earlier_;
      return grpc::Status::OK;
    }
  }
  return Move(r->run(), v1::RUN_STATE_RUNNING, v1::RUN_STATE_PAUSED, run);
}
grpc::Status FakeCoordinator::ResumeRun(grpc::ServerContext*, const v1::ResumeRunRequest* r,
                                        v1::Run* run) {
  const v1::RunState from = this->run().state();
  return Move(r->run(), from == v1::RUN_STATE_FAILED ? from : v1::RUN_STATE_PAUSED,
              v1::RUN_STATE_RUNNING, run);
}
grpc::Status FakeCoordinator::CancelRun(grpc::ServerContext*, const v1::CancelRunRequest* r,
                                        v1::Run* run) {
  return Move(r->run(), v1::RUN_STATE_RUNNING, v1::RUN_STATE_CANCELLED, run);
}

grpc::Status FakeCoordinator::CheckDeletion(grpc::ServerContext*,
                                            const v1::CheckDeletionRequest* request, v1::Run* run) {
  if (const grpc::Status found = Find(request->run(), run); !found.ok()) return found;
  if (!Ended(run->state())) {
    return Typed(grpc::StatusCode::FAILED_PRECONDITION, v1::ErrorDetail::WRONG_STATE,
                 "it has not ended", "end it first");
  }
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::DeleteRun(grpc::ServerContext*, const v1::DeleteRunRequest* request,
                                        v1::DeleteRunResponse* response) {
  v1::Run run;
  if (const grpc::Status found = Find(request->run(), &run); !found.ok()) return found;
  response->set_run_id(run.run_id());
  MutexLock lock(&mu_);
  deleted_.push_back(request->run());
  return grpc::Status::OK;
}
std::vector<std::string> FakeCoordinator::deleted() {
  MutexLock lock(&mu_);
  return deleted_;
}

grpc::Status FakeCoordinator::ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                                         v1::ListEventsResponse* response) {
  if (!request->run().empty()) {
    if (const grpc::Status found = Find(request->run(), nullptr); !found.ok()) return found;
  }
  if (request->after_id() >= 7) return grpc::Status::OK;
  v1::Event* event = response->add_events();
  event->set_id(7);
  event->set_time_ms(1700000000000);
  event->set_run_id("r-1");
  event->set_kind("epoch_formed");
  event->set_message("epoch 2 with 2 workers");
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListCheckpoints(grpc::ServerContext*,
                                              const v1::ListCheckpointsRequest* request,
                                              v1::ListCheckpointsResponse* response) {
  if (const grpc::Status found = Find(request->run(), nullptr); !found.ok()) return found;
  v1::Checkpoint* checkpoint = response->add_checkpoints();
  checkpoint->set_step(20);
  checkpoint->set_path("/elsewhere/checkpoints/step-00000020");
  checkpoint->set_bytes(1000);
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListEpochs(grpc::ServerContext*, const v1::ListEpochsRequest* request,
                                         v1::ListEpochsResponse* response) {
  if (const grpc::Status found = Find(request->run(), nullptr); !found.ok()) return found;
  v1::Epoch* epoch = response->add_epochs();
  epoch->set_epoch(2);
  epoch->set_start_step(20);
  epoch->set_end_step(40);
  epoch->set_end_reason("worker worker-0 lost: stream broken");
  epoch->add_members()->set_worker("worker-0");
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                          v1::ListWorkersResponse* response) {
  v1::WorkerInfo* worker = response->add_workers();
  worker->set_name("worker-0");
  worker->set_state("training");
  worker->set_incarnation(1);
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::StreamLogs(grpc::ServerContext* context,
                                         const v1::StreamLogsRequest* request,
                                         grpc::ServerWriter<v1::LogLine>* writer) {
  if (const grpc::Status found = Find(request->run(), nullptr); !found.ok()) return found;
  MutexLock lock(&mu_);
  ++log_streams_;
  size_t sent = 0;
  if (request->tail() > 0 && logs_.size() > static_cast<size_t>(request->tail()))
    sent = logs_.size() - static_cast<size_t>(request->tail());
  for (;;) {
    for (; sent < logs_.size(); ++sent) {
      if (request->worker().empty() || logs_[sent].worker() == request->worker())
        writer->Write(logs_[sent]);
    }
    if (!request->follow() || Ended(run_.state())) return grpc::Status::OK;
    if (stopping_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    changed_.WaitFor(&mu_, absl::Milliseconds(20));
  }
}

}  // namespace tritter
