#include "tests/load/load_worker.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/folder_checkpoint_store.h"
#include "tritter/v1/errors.pb.h"

namespace tritter::load {
namespace {

constexpr char kProbeRun[] = "no-such-run";
constexpr absl::Duration kDeadline = absl::Seconds(3);  // as workers have it
using Callback = std::function<void(grpc::Status)>;
constexpr absl::Duration kPrefetch = absl::Seconds(5);  // before the plan in hand ends

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  // A connection each, as processes have.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::Status FromRpc(const grpc::Status& s) {
  return absl::Status(static_cast<absl::StatusCode>(s.error_code()), s.error_message());
}

bool IsStale(const grpc::Status& status) {
  v1::ErrorDetail detail;
  return detail.ParseFromString(status.error_details()) &&
         detail.reason() == v1::ErrorDetail::STALE_EPOCH;
}

v1::StepMetrics MetricsOf(int64_t step, double seconds, absl::Time now) {
  v1::StepMetrics m;
  m.set_step(step);
  m.set_loss(2 + 10.0 / static_cast<double>(step + 10));
  m.set_grad_norm(0.7);
  m.set_learning_rate(3e-3);
  m.set_tokens(2048);
  m.set_phase(v1::PHASE_FULL);
  m.set_step_seconds(seconds);
  m.set_data_seconds(0.01 * seconds);
  m.set_forward_seconds(0.3 * seconds);
  m.set_backward_seconds(0.6 * seconds);
  m.set_reduce_seconds(0.05 * seconds);
  m.set_optimizer_seconds(0.03 * seconds);
  m.set_other_seconds(0.01 * seconds);
  m.set_time_ms(absl::ToUnixMillis(now));
  return m;
}

}  // namespace

LoadWorker::LoadWorker(const LoadWorkerOptions& options)
    : options_(options), stub_(v1::WorkerService::NewStub(Connect(options.address))) {}

LoadWorker::~LoadWorker() { AwaitStopped(); }

template <typename Request>
Request LoadWorker::Make() {
  Request request;
  request.mutable_worker()->set_name(options_.name);
  request.mutable_worker()->set_incarnation(options_.incarnation);
  request.set_run_id(run_id_);
  request.set_epoch(epoch_);
  return request;
}

template <typename Response, typename Request, typename Start>
void LoadWorker::Call(const char* name, Request request, Start start,
                      std::function<void(const absl::Status&, const Response&)> done) {
  struct InHand {
    grpc::ClientContext context;
    Request request;
    Response response;
    absl::Duration sent;
  };
  if (stopping_) return;
  ++calls_;
  auto hand = std::make_shared<InHand>();
  hand->context.set_deadline(std::chrono::system_clock::now() +
                             absl::ToChronoMilliseconds(kDeadline));
  hand->request = std::move(request);
  hand->sent = options_.clock->Monotonic();
  options_.counts->Sent(name);
  start(stub_->async(), &hand->context, &hand->request, &hand->response,
        [this, name, hand, epoch = epoch_, done = std::move(done)](grpc::Status answer) {
          options_.counts->Took(name, options_.clock->Monotonic() - hand->sent);
          MutexLock lock(&mu_);
          if (!answer.ok() && !stopping_ && !IsStale(answer))
            options_.counts->Failed(name, FromRpc(answer));
          if (epoch == epoch_) done(FromRpc(answer), hand->response);
          --calls_;
          stopped_.NotifyAll();
        });
}

void LoadWorker::Start() {
  MutexLock lock(&mu_);
  v1::RegisterRequest request;
  request.mutable_worker()->set_name(options_.name);
  request.mutable_worker()->set_incarnation(options_.incarnation);
  request.set_host("127.0.0.1");
  request.set_device("cpu avx2 x4");
  request.set_threads(4);
  request.set_memory_bytes(int64_t{8} << 30);
  request.set_code_version("load");
  request.set_pid(1);
  Call<v1::RegisterResponse>(
      kRegisterCall, std::move(request),
      [](auto* stub, auto* context, const auto* question, auto* answer, Callback callback) {
        stub->Register(context, question, answer, std::move(callback));
      },
      [this](const absl::Status& status, const v1::RegisterResponse&) REQUIRES(mu_) {
        if (status.ok() && !stopping_) OpenSession();
      });
}

void LoadWorker::OpenSession() {
  begun_ = open_ = true;
  stub_->async()->Session(&context_, this);
  AddHold();  // until Stop: heartbeats begin outside of reactions
  StartRead(&command_);
  SendHeartbeat();
  StartCall();
}

void LoadWorker::SendHeartbeat() {
  if (!open_) return;
  again_ = writing_;  // one is on its way: this one follows it
  if (writing_) return;
  heartbeat_ = Make<v1::Heartbeat>();
  heartbeat_.set_step(step_);
  heartbeat_.set_state(run_id_.empty() ? "idle" : "training");
  if (options_.probe) {
    heartbeat_.set_run_id(kProbeRun);
    heartbeat_.set_epoch(++last_probe_);
    heartbeat_.set_state("leaving");
    probes_[last_probe_] = options_.clock->Monotonic();
  }
  writing_ = true;
  options_.counts->Sent(kHeartbeatCall);
  StartWrite(&heartbeat_);
}

void LoadWorker::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  if (ok && again_) SendHeartbeat();
}

void LoadWorker::OnReadDone(bool ok) {
  MutexLock lock(&mu_);
  if (!ok) return CloseLocked();
  Take(command_);
  StartRead(&command_);
}

void LoadWorker::OnDone(const grpc::Status& status) {
  MutexLock lock(&mu_);
  if (!stopping_) options_.counts->Failed(kSessionCall, FromRpc(status));
  begun_ = open_ = false;
  stopped_.NotifyAll();
}

void LoadWorker::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  if (open_) context_.TryCancel();
  CloseLocked();
}

void LoadWorker::CloseLocked() {
  if (!open_) return;
  open_ = false;
  RemoveHold();
}

void LoadWorker::AwaitStopped() {
  MutexLock lock(&mu_);
  while (begun_ || calls_ > 0) stopped_.Wait(&mu_);
}

bool LoadWorker::connected() {
  MutexLock lock(&mu_);
  return open_;
}

bool LoadWorker::training() {
  MutexLock lock(&mu_);
  return plan_.has_value();
}

int64_t LoadWorker::Unanswered() {
  MutexLock lock(&mu_);
  return static_cast<int64_t>(probes_.size());
}

void LoadWorker::Leave() {
  run_id_.clear();
  epoch_ = 0;
  plan_.reset();
  next_plan_.reset();
  asking_ = reporting_ = sharing_ = false;  // answers on their way are of an epoch left behind
  metrics_.clear();
  evaluations_.clear();
  lines_.clear();
  orders_.clear();
}

void LoadWorker::Take(const v1::Command& command) {
  if (command.has_end_epoch()) {
    const v1::EndEpoch& end = command.end_epoch();
    if (const auto probe = probes_.find(end.epoch());
        end.run_id() == kProbeRun && probe != probes_.end()) {
      options_.counts->Took(kHeartbeatCall, options_.clock->Monotonic() - probe->second);
      probes_.erase(probe);
    } else if (end.run_id() == run_id_ && end.epoch() == epoch_) {
      options_.counts->Failed("epoch", absl::AbortedError(end.reason()));
      Leave();
    }
  } else if (command.has_assignment()) {
    const v1::Assignment& a = command.assignment();
    if (a.run_id() == run_id_ && a.epoch() == epoch_) return;  // said again
    Leave();
    run_id_ = a.run_id();
    run_dir_ = a.run_dir();
    epoch_ = a.epoch();
    rank_ = a.rank();
    world_ = a.world_size();
    step_ = reported_ = a.start_step();
    if (rank_ == 0) {
      auto request = Make<v1::PublishRendezvousRequest>();
      request.set_address("127.0.0.1:4000");
      Call<v1::PublishRendezvousResponse>(
          kRendezvousCall, std::move(request),
          [](auto* stub, auto* context, const auto* question, auto* answer, Callback callback) {
            stub->PublishRendezvous(context, question, answer, std::move(callback));
          },
          [](const absl::Status&, const v1::PublishRendezvousResponse&) {});
    }
    SendHeartbeat();
  } else if (command.has_rendezvous()) {
    if (command.rendezvous().run_id() == run_id_ && command.rendezvous().epoch() == epoch_ &&
        !plan_.has_value())
      AskForPlan(step_);
  }
}

void LoadWorker::Begin(const v1::Plan& plan, absl::Duration at) {
  plan_ = plan;
  plan_began_ = at;
  lines_.push_back(absl::StrCat("plan_started from=", plan.first_step(), " to=", plan.end_step()));
}

void LoadWorker::AskForPlan(int64_t from) {
  if (asking_) return;
  asking_ = true;
  auto request = Make<v1::NextPlanRequest>();
  request.set_rank(rank_);
  request.set_from_step(from);
  Call<v1::NextPlanResponse>(
      kPlanCall, std::move(request),
      [](auto* stub, auto* context, const auto* question, auto* answer, Callback callback) {
        stub->NextPlan(context, question, answer, std::move(callback));
      },
      [this](const absl::Status& status, const v1::NextPlanResponse& answer) REQUIRES(mu_) {
        asking_ = false;
        if (!status.ok()) return;
        if (answer.has_done()) {
          Leave();
        } else if (answer.has_plan() && !plan_.has_value()) {
          Begin(answer.plan(), options_.clock->Monotonic());
        } else if (answer.has_plan()) {
          next_plan_ = answer.plan();
        }  // else it waits: asked again at the next turn
      });
}

// The steps that would have been trained by `now`.
void LoadWorker::Advance(absl::Duration now) {
  const absl::Duration step_time = absl::Seconds(options_.step_seconds);
  while (plan_.has_value()) {
    const int64_t length = plan_->end_step() - plan_->first_step();
    const int64_t done = std::min<int64_t>(
        length, static_cast<int64_t>(absl::FDivDuration(now - plan_began_, step_time)));
    for (const int64_t to = plan_->first_step() + done; step_ < to;) {
      ++step_;
      if (rank_ == 0)
        metrics_.push_back(MetricsOf(step_, options_.step_seconds, options_.clock->Now()));
      for (const int64_t at : plan_->evaluate_at()) {
        if (at != step_ || rank_ != 0) continue;
        v1::EvaluationPoint& e = evaluations_.emplace_back();
        e.set_step(step_);
        e.set_source("random");
        e.set_weights("averaged");
        e.set_loss(2);
        e.set_tokens(1000);
        e.set_seconds(0.1);
      }
      for (const v1::CheckpointOrder& order : plan_->checkpoints()) {
        if (order.step() == step_) orders_.push_back(order);
      }
    }
    if (step_ < plan_->end_step()) {
      if (!next_plan_.has_value() && plan_began_ + length * step_time - now < kPrefetch)
        AskForPlan(plan_->end_step());
      return;
    }
    if (!next_plan_.has_value()) return AskForPlan(step_);
    // As if it had begun the moment the one before ended, however rarely a turn comes.
    const absl::Duration began = plan_began_ + length * step_time;
    const v1::Plan next = *std::exchange(next_plan_, std::nullopt);
    Begin(next, std::max(began, now - absl::Seconds(2)));
  }
}

void LoadWorker::SendReport() {
  if (reporting_ || (metrics_.empty() && evaluations_.empty() && lines_.empty())) return;
  reporting_ = true;
  auto request = Make<v1::ReportRequest>();
  request.set_request_id(absl::StrCat(options_.name, "-", epoch_, "-", next_request_++));
  request.set_step(step_);
  for (v1::StepMetrics& m : metrics_) *request.add_steps() = std::move(m);
  for (v1::EvaluationPoint& e : evaluations_) *request.add_evaluations() = std::move(e);
  for (std::string& line : lines_) {
    v1::LogLine* l = request.add_log_lines();
    l->set_time_ms(absl::ToUnixMillis(options_.clock->Now()));
    l->set_line(std::move(line));
  }
  metrics_.clear();
  evaluations_.clear();
  lines_.clear();
  Call<v1::ReportResponse>(
      kReportCall, std::move(request),
      [](auto* stub, auto* context, const auto* question, auto* answer, Callback callback) {
        stub->Report(context, question, answer, std::move(callback));
      },
      [this, step = step_](const absl::Status& status, const v1::ReportResponse&) REQUIRES(mu_) {
        reporting_ = false;
        if (status.ok()) reported_ = step;
        SendShare();
      });
}

absl::Status LoadWorker::WriteShare(const v1::CheckpointOrder& order,
                                    v1::CommitShareRequest* request) {
  const auto store = CheckpointsOfRun(options_.env, run_dir_);
  const CheckpointAttempt attempt{order.step(), order.attempt()};
  RETURN_IF_ERROR(store->Begin(attempt));
  const std::string name = absl::StrCat("share-", rank_, "-of-", world_, ".safetensors");
  const std::string content = absl::StrCat("rank ", rank_, " after ", order.step(), " steps");
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> share, store->Put(attempt, name));
  RETURN_IF_ERROR(share->Append(content));
  RETURN_IF_ERROR(share->Close());
  request->set_step(order.step());
  request->set_attempt(order.attempt());
  request->set_rank(rank_);
  v1::CheckpointFile* file = request->add_files();
  file->set_name(name);
  file->set_bytes(static_cast<int64_t>(content.size()));
  file->set_sha256(Sha256Hex(content));
  return absl::OkStatus();
}

void LoadWorker::SendShare() {
  if (sharing_ || orders_.empty() || run_id_.empty()) return;
  if (rank_ == 0 && reported_ < orders_.front().step()) return;  // its losses first
  auto request = Make<v1::CommitShareRequest>();
  const v1::CheckpointOrder order = orders_.front();
  orders_.erase(orders_.begin());
  if (const absl::Status written = WriteShare(order, &request); !written.ok())
    return options_.counts->Failed("write of a share", written);
  sharing_ = true;
  Call<v1::CommitShareResponse>(
      kShareCall, std::move(request),
      [](auto* stub, auto* context, const auto* question, auto* answer, Callback callback) {
        stub->CommitShare(context, question, answer, std::move(callback));
      },
      [this](const absl::Status&, const v1::CommitShareResponse&)
          REQUIRES(mu_) { sharing_ = false; });
}

void LoadWorker::Turn() {
  MutexLock lock(&mu_);
  if (!open_) return;
  SendHeartbeat();
  if (run_id_.empty()) return;
  Advance(options_.clock->Monotonic());
  SendReport();
  SendShare();
}

}  // namespace tritter::load
