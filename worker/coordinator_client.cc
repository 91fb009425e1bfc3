#include "worker/coordinator_client.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "access/rpc_channel_client.h"
#include "common/clock.h"
#include "common/log.h"
#include "tritter/v1/errors.pb.h"
#include "worker/plan_proto.h"

namespace tritter {
namespace {

v1::ErrorDetail::Reason ReasonOf(const grpc::Status& status) {
  v1::ErrorDetail detail;
  if (!detail.ParseFromString(status.error_details())) return v1::ErrorDetail::REASON_UNSPECIFIED;
  return detail.reason();
}

// Codes by which the coordinator, or the way to it, says "not now".
bool IsTransient(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::shared_ptr<grpc::Channel> ConnectToCoordinator(const std::string& address,
                                                    const ClientSecurity& security,
                                                    const Keepalive& keepalive) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A host that vanishes says nothing: without pings the session is read until TCP gives up, which
  // takes minutes.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(keepalive.time)));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(keepalive.timeout)));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return MakeRpcChannel(address, security, arguments);
}

std::vector<CoordinatorPeer> ConnectToCoordinators(const std::vector<std::string>& addresses,
                                                   const ClientSecurity& security) {
  Keepalive keepalive;
  if (addresses.size() > 1) keepalive = {absl::Seconds(6), absl::Seconds(2)};
  std::vector<CoordinatorPeer> peers;
  for (const std::string& address : addresses)
    peers.push_back({address, ConnectToCoordinator(address, security, keepalive)});
  return peers;
}

CoordinatorClient::CoordinatorClient(Options options)
    : options_(std::move(options)), problems_(options_.coordinators.size()) {
  for (const CoordinatorPeer& peer : options_.coordinators)
    stubs_.push_back(v1::WorkerService::NewStub(peer.channel));
}

CoordinatorClient::~CoordinatorClient() { Stop(); }

void CoordinatorClient::Start(CommandHandler* handler) {
  handler_ = handler;
  thread_ = std::thread([this] { SessionLoop(); });
}

void CoordinatorClient::Stop() {
  stop_.Cancel(absl::CancelledError("the worker ends"));
  {
    MutexLock lock(&mu_);
    ending_ = true;
    heartbeat_due_.NotifyAll();
    // Whether we leave as we were told, and with what, is in our last heartbeat.
    const absl::Duration until = Clock::Real()->Monotonic() + options_.farewell;
    while (in_session_) {
      const absl::Duration left = until - Clock::Real()->Monotonic();
      if (left <= absl::ZeroDuration()) break;
      heartbeat_due_.WaitFor(&mu_, left);
    }
    if (session_ != nullptr) session_->TryCancel();
  }
  if (thread_.joinable()) thread_.join();
}

void CoordinatorClient::Nudge() {
  MutexLock lock(&mu_);
  nudged_ = true;
  heartbeat_due_.NotifyAll();
}

bool CoordinatorClient::connected() const {
  MutexLock lock(&mu_);
  return in_session_;
}

absl::Status CoordinatorClient::Health() const {
  MutexLock lock(&mu_);
  if (in_session_) return absl::OkStatus();
  std::vector<std::string> tried;
  for (size_t i = 0; i < problems_.size(); ++i) {
    tried.push_back(absl::StrCat(options_.coordinators[i].address, ": ",
                                 problems_[i].empty() ? "not tried yet" : problems_[i]));
  }
  return absl::UnavailableError(
      absl::StrCat(tried.size() == 1 ? "no session with the coordinator at "
                                     : "no session with any of the coordinators, of which one "
                                       "leads and listens: ",
                   absl::StrJoin(tried, "; ")));
}

v1::WorkerService::Stub* CoordinatorClient::stub() const {
  MutexLock lock(&mu_);
  return stubs_[at_].get();
}

bool CoordinatorClient::NextCoordinator() {
  MutexLock lock(&mu_);
  if (stubs_.size() == 1) return true;
  at_ = (at_ + 1) % stubs_.size();
  registered_ = false;  // there; a coordinator that knows us takes that as a greeting
  if (++failed_ < stubs_.size()) return false;
  failed_ = 0;
  return true;
}

void CoordinatorClient::SessionLoop() {
  absl::Duration pause = options_.reconnect.initial;
  std::string last_problem;
  std::optional<absl::Duration> refused_since;  // our name is in use
  while (!stop_.cancelled()) {
    bool registered = false, good = false;
    {
      MutexLock lock(&mu_);
      registered = registered_;
    }
    absl::Status status = registered ? absl::OkStatus() : Register();
    if (status.ok()) {
      const absl::Duration start = Clock::Real()->Monotonic();
      status = RunSession();
      if (Clock::Real()->Monotonic() - start > options_.reconnect.max) {  // it was a good one
        last_problem.clear();
        pause = options_.reconnect.initial;
        good = true;
        MutexLock lock(&mu_);
        failed_ = 0;
      }
    }
    if (stop_.cancelled()) return;
    bool superseded = false, name_in_use = false;
    {
      MutexLock lock(&mu_);
      superseded = superseded_;
      name_in_use = std::exchange(name_in_use_, false);
      problems_[at_] = std::string(status.message());
    }
    if (superseded) {
      handler_->OnSuperseded(std::string(status.message()));
      return;
    }
    if (name_in_use) {
      constexpr absl::Duration kAskAgain = absl::Milliseconds(500);
      const absl::Duration now = Clock::Real()->Monotonic();
      if (!refused_since.has_value()) {
        refused_since = now;
        LogWarning("name_in_use", {{"status", std::string(status.message())}});
      }
      if (now - *refused_since >= options_.name_patience) {
        handler_->OnNameInUse(std::string(status.message()));
        return;
      }
      stop_.Sleep(std::min(pause, kAskAgain));
      pause = std::min(pause * 2, options_.reconnect.max);
      continue;
    }
    refused_since.reset();
    bool unknown = false;  // to a coordinator that answers: it is told who we are
    {
      MutexLock lock(&mu_);
      unknown = registered && !registered_;
    }
    // Whoever had us until now has us again soonest, if it is still there.
    if (!unknown && !good && !NextCoordinator()) continue;
    if (const absl::Status all = Health(); all.message() != last_problem) {
      LogWarning("coordinator_away", {{"status", all.ToString()}});
      last_problem = std::string(all.message());
    }
    stop_.Sleep(pause);
    pause = std::min(pause * 2, options_.reconnect.max);
  }
}

absl::Status CoordinatorClient::Register() {
  const WorkerDescription& w = options_.worker;
  v1::RegisterRequest request;
  request.mutable_worker()->set_name(w.name);
  request.mutable_worker()->set_incarnation(w.incarnation);
  request.set_host(w.host);
  request.set_device(w.device);
  request.set_threads(w.threads);
  request.set_memory_bytes(w.memory_bytes);
  request.set_code_version(w.code_version);
  request.set_pid(w.pid);
  auto response = Call<v1::RegisterResponse>(&v1::WorkerService::Stub::Register, request);
  if (!response.ok()) return response.status();
  LogInfo("registered", {{"worker", w.name},
                         {"incarnation", w.incarnation},
                         {"coordinator", response->coordinator_id()}});
  MutexLock lock(&mu_);
  registered_ = true;
  if (response->heartbeat_interval_ms() > 0)
    heartbeat_interval_ = absl::Milliseconds(response->heartbeat_interval_ms());
  return absl::OkStatus();
}

absl::Status CoordinatorClient::RunSession() {
  grpc::ClientContext context;
  {
    MutexLock lock(&mu_);
    if (!registered_) return absl::UnavailableError("to be registered again");
    session_ = &context;
  }
  if (stop_.cancelled()) context.TryCancel();
  const std::unique_ptr<Stream> stream = stub()->Session(&context);
  {
    MutexLock lock(&mu_);
    in_session_ = true;
  }
  std::thread heartbeats([&] { HeartbeatLoop(stream.get()); });
  for (v1::Command command; stream->Read(&command);) Dispatch(command);
  {
    MutexLock lock(&mu_);
    in_session_ = false;
    heartbeat_due_.NotifyAll();
  }
  heartbeats.join();
  {
    MutexLock lock(&mu_);
    session_ = nullptr;
  }
  const grpc::Status end = stream->Finish();
  const absl::Status status = FromCall(end);
  return status.ok() ? absl::UnavailableError("the coordinator closed the session") : status;
}

void CoordinatorClient::HeartbeatLoop(Stream* stream) {
  bool last = false;
  while (stream->Write(MakeHeartbeat()) && !last) {
    MutexLock lock(&mu_);
    if (in_session_ && !nudged_ && !ending_) heartbeat_due_.WaitFor(&mu_, heartbeat_interval_);
    nudged_ = false;
    if (!in_session_) return;
    last = ending_;
  }
  if (last) stream->WritesDone();
}

v1::Heartbeat CoordinatorClient::MakeHeartbeat() {
  const HeartbeatState state = handler_->Heartbeat();
  v1::Heartbeat heartbeat;
  heartbeat.mutable_worker()->set_name(options_.worker.name);
  heartbeat.mutable_worker()->set_incarnation(options_.worker.incarnation);
  heartbeat.set_run_id(state.id.run_id);
  heartbeat.set_epoch(state.id.epoch);
  heartbeat.set_step(state.step);
  heartbeat.set_state(state.state);
  heartbeat.set_draining(state.draining);
  heartbeat.set_seconds_per_sequence(state.seconds_per_sequence);
  if (state.held.has_value()) {
    v1::HeldState* held = heartbeat.mutable_held();
    held->set_run_id(state.held->id.run_id);
    held->set_epoch(state.held->id.epoch);
    held->set_step(state.held->step);
  }
  return heartbeat;
}

void CoordinatorClient::Dispatch(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kAssignment:
      handler_->OnAssignment(FromProto(command.assignment()));
      Nudge();
      break;
    case v1::Command::kRendezvous:
      handler_->OnRendezvous({command.rendezvous().run_id(), command.rendezvous().epoch()},
                             command.rendezvous().address());
      break;
    case v1::Command::kEndEpoch:
      handler_->OnEndEpoch({command.end_epoch().run_id(), command.end_epoch().epoch()},
                           command.end_epoch().reason());
      Nudge();
      break;
    case v1::Command::kYield:
      handler_->OnYield({command.yield().run_id(), command.yield().epoch()},
                        command.yield().reason());
      break;
    case v1::Command::COMMAND_NOT_SET:
      LogWarning("unknown_command", {{"hint", "the coordinator may be of a newer version"}});
      break;
  }
}

template <typename Request>
Request CoordinatorClient::Make(const EpochId& id) const {
  Request request;
  request.mutable_worker()->set_name(options_.worker.name);
  request.mutable_worker()->set_incarnation(options_.worker.incarnation);
  request.set_run_id(id.run_id);
  request.set_epoch(id.epoch);
  return request;
}

template <typename Response, typename Request, typename Method>
absl::StatusOr<Response> CoordinatorClient::Call(Method method, const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(options_.call_deadline));
  Response response;
  const grpc::Status status = (stub()->*method)(&context, request, &response);
  if (!status.ok()) return FromCall(status);
  return response;
}

absl::Status CoordinatorClient::FromCall(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  switch (ReasonOf(status)) {
    case v1::ErrorDetail::UNKNOWN_WORKER:
    case v1::ErrorDetail::STALE_INCARNATION: {
      // The session's thread sees to it: registers again (the epoch may go on), or ends the worker
      // because another process has its name.
      MutexLock lock(&mu_);
      if (ReasonOf(status) == v1::ErrorDetail::UNKNOWN_WORKER) {
        registered_ = false;
      } else {
        superseded_ = true;
      }
      if (session_ != nullptr) session_->TryCancel();
      return absl::UnavailableError(status.error_message());
    }
    case v1::ErrorDetail::NAME_IN_USE: {
      if (status.error_code() == grpc::StatusCode::UNAVAILABLE) break;  // it leaves
      MutexLock lock(&mu_);
      name_in_use_ = true;
      registered_ = false;
      return absl::UnavailableError(status.error_message());
    }
    case v1::ErrorDetail::STALE_EPOCH:
      return StaleEpochError(status.error_message());
    default:
      break;
  }
  if (IsTransient(status.error_code())) return absl::UnavailableError(status.error_message());
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

absl::Status CoordinatorClient::PublishRendezvous(const EpochId& id, const std::string& address) {
  auto request = Make<v1::PublishRendezvousRequest>(id);
  request.set_address(address);
  return Call<v1::PublishRendezvousResponse>(&v1::WorkerService::Stub::PublishRendezvous, request)
      .status();
}

absl::StatusOr<PlanAnswer> CoordinatorClient::NextPlan(const EpochId& id, int rank,
                                                       const PlanQuestion& question) {
  auto request = Make<v1::NextPlanRequest>(id);
  request.set_rank(rank);
  request.set_from_step(question.from_step);
  request.set_yielded(question.yielded);
  ASSIGN_OR_RETURN(const v1::NextPlanResponse response,
                   Call<v1::NextPlanResponse>(&v1::WorkerService::Stub::NextPlan, request));
  return FromProto(response);
}

absl::Status CoordinatorClient::Report(const EpochId& id, const Progress& progress) {
  auto request = Make<v1::ReportRequest>(id);
  ToProto(progress, &request);
  return Call<v1::ReportResponse>(&v1::WorkerService::Stub::Report, request).status();
}

absl::StatusOr<bool> CoordinatorClient::CommitShare(const EpochId& id, const CheckpointOrder& order,
                                                    int rank,
                                                    const std::vector<ManifestFile>& files) {
  auto request = Make<v1::CommitShareRequest>(id);
  request.set_step(order.step);
  request.set_attempt(order.attempt);
  request.set_rank(rank);
  for (const ManifestFile& file : files) *request.add_files() = ToProto(file);
  ASSIGN_OR_RETURN(const v1::CommitShareResponse response,
                   Call<v1::CommitShareResponse>(&v1::WorkerService::Stub::CommitShare, request));
  return response.state() == v1::CommitShareResponse::COMMITTED;
}

}  // namespace tritter
