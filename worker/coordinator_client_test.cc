#include "worker/coordinator_client.h"

#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "common/net.h"
#include "common/testing/status_matchers.h"
#include "tritter/v1/errors.pb.h"

namespace tritter {
namespace {

using testing::HasSubstr;

grpc::Status Typed(grpc::StatusCode code, v1::ErrorDetail::Reason reason,
                   const std::string& message) {
  v1::ErrorDetail detail;
  detail.set_reason(reason);
  return grpc::Status(code, message, detail.SerializeAsString());
}

// The coordinator's side of one worker, as a script.
class FakeService final : public v1::WorkerService::Service {
 public:
  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override {
    MutexLock lock(&mu_);
    registrations_.push_back(*request);
    if (names_refused_ > 0) {
      --names_refused_;
      return Typed(grpc::StatusCode::FAILED_PRECONDITION, v1::ErrorDetail::NAME_IN_USE,
                   "pid 12 has the name");
    }
    known_ = true;
    response->set_heartbeat_interval_ms(2);
    response->set_coordinator_id("store-1");
    changed_.NotifyAll();
    return grpc::Status::OK;
  }

  grpc::Status Session(grpc::ServerContext*,
                       grpc::ServerReaderWriter<v1::Command, v1::Heartbeat>* stream) override {
    {
      MutexLock lock(&mu_);
      if (!known_)
        return Typed(grpc::StatusCode::NOT_FOUND, v1::ErrorDetail::UNKNOWN_WORKER, "never seen");
      if (stale_)
        return Typed(grpc::StatusCode::FAILED_PRECONDITION, v1::ErrorDetail::STALE_INCARNATION,
                     "9 is newer");
      ++sessions_;
      break_session_ = false;
    }
    for (v1::Heartbeat heartbeat; stream->Read(&heartbeat);) {
      MutexLock lock(&mu_);
      heartbeats_.push_back(heartbeat);
      changed_.NotifyAll();
      for (; !commands_.empty(); commands_.pop_front()) stream->Write(commands_.front());
      if (break_session_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
    }
    return grpc::Status::OK;
  }

  grpc::Status NextPlan(grpc::ServerContext*, const v1::NextPlanRequest* request,
                        v1::NextPlanResponse* response) override {
    MutexLock lock(&mu_);
    if (!next_error_.ok()) return std::exchange(next_error_, grpc::Status::OK);
    last_plan_request_ = *request;
    *response = next_plan_;
    return grpc::Status::OK;
  }
  grpc::Status Report(grpc::ServerContext*, const v1::ReportRequest* request,
                      v1::ReportResponse*) override {
    MutexLock lock(&mu_);
    report_ = *request;
    return grpc::Status::OK;
  }
  grpc::Status CommitShare(grpc::ServerContext*, const v1::CommitShareRequest* request,
                           v1::CommitShareResponse* response) override {
    MutexLock lock(&mu_);
    response->set_state(commit_ ? v1::CommitShareResponse::COMMITTED
                                : v1::CommitShareResponse::WAITING);
    commit_ = true;
    share_ = *request;
    return grpc::Status::OK;
  }
  grpc::Status PublishRendezvous(grpc::ServerContext*, const v1::PublishRendezvousRequest* request,
                                 v1::PublishRendezvousResponse*) override {
    MutexLock lock(&mu_);
    rendezvous_ = *request;
    return grpc::Status::OK;
  }

  void Await(const std::function<bool()>& condition) NO_THREAD_SAFETY_ANALYSIS {
    MutexLock lock(&mu_);
    while (!condition()) changed_.Wait(&mu_);
  }

  // Guarded by mu_; tests touch them inside With.
  void With(const std::function<void()>& body) {
    MutexLock lock(&mu_);
    body();
  }
  Mutex mu_;
  CondVar changed_;
  bool known_ = false, stale_ = false, break_session_ = false, commit_ = false;
  int sessions_ = 0, names_refused_ = 0;
  std::vector<v1::RegisterRequest> registrations_;
  std::vector<v1::Heartbeat> heartbeats_;
  std::deque<v1::Command> commands_;
  grpc::Status next_error_;
  v1::NextPlanResponse next_plan_;
  v1::NextPlanRequest last_plan_request_;
  v1::ReportRequest report_;
  v1::CommitShareRequest share_;
  v1::PublishRendezvousRequest rendezvous_;
};

class RecordingHandler : public CommandHandler {
 public:
  void OnAssignment(const Assignment& a) override {
    const std::string memory =
        " memory of " + std::to_string(a.state_rank) + ", epoch " + std::to_string(a.state_epoch);
    Note("assignment", a.id,
         a.run_dir + (a.from_memory ? memory : "") + (a.mixed_devices ? ", mixed" : ""));
  }
  void OnRendezvous(const EpochId& id, const std::string& address) override {
    Note("rendezvous", id, address);
  }
  void OnEndEpoch(const EpochId& id, const std::string& reason) override {
    Note("end", id, reason);
  }
  void OnSuperseded(const std::string& reason) override { Note("superseded", {}, reason); }
  void OnNameInUse(const std::string& reason) override { Note("name in use", {}, reason); }
  void OnYield(const EpochId& id, const std::string& reason) override { Note("yield", id, reason); }
  HeartbeatState Heartbeat() override {
    return {{"run-1", 4}, 17, "training", draining, 0.25, HeartbeatState::Held{{"run-0", 2}, 9}};
  }
  std::atomic<bool> draining{false};

  void Await(size_t count) {
    MutexLock lock(&mu_);
    while (events_.size() < count) changed_.Wait(&mu_);
  }
  std::vector<std::string> events() {
    MutexLock lock(&mu_);
    return events_;
  }

 private:
  void Note(const std::string& what, const EpochId& id, const std::string& detail) {
    MutexLock lock(&mu_);
    events_.push_back(what + " " + id.run_id + "/" + std::to_string(id.epoch) + " " + detail);
    changed_.NotifyAll();
  }
  Mutex mu_;
  CondVar changed_;
  std::vector<std::string> events_ GUARDED_BY(mu_);
};

// Between client and server. Connections that are open when it is muted stay open and carry nothing
// more, as when a host vanishes.
class Proxy {
 public:
  explicit Proxy(int server_port) : server_port_(server_port) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at = Loopback(0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    socklen_t size = sizeof(at);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { Loop(); });
  }
  ~Proxy() {
    stop_ = true;
    thread_.join();
    close(listener_);
    for (const Pair& pair : pairs_) {
      close(pair.client);
      close(pair.server);
    }
  }
  int port() const { return port_; }
  void MuteOpenConnections() { mute_ = true; }

 private:
  struct Pair {
    int client, server;
    bool muted = false, ended = false;
  };
  static sockaddr_in Loopback(int port) {
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<uint16_t>(port));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }
  static bool Forward(int from, int to) {
    char buffer[65536];
    const ssize_t n = recv(from, buffer, sizeof(buffer), 0);
    return n > 0 && send(to, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) == n;
  }
  void Loop() {
    while (!stop_) {
      if (mute_.exchange(false)) {
        for (Pair& pair : pairs_) pair.muted = true;
      }
      std::vector<pollfd> polled = {{listener_, POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        const bool open = !pair.muted && !pair.ended;
        polled.push_back({open ? pair.client : -1, POLLIN, 0});
        polled.push_back({open ? pair.server : -1, POLLIN, 0});
      }
      poll(polled.data(), polled.size(), 10);
      for (size_t i = 0; i < pairs_.size(); ++i) {
        Pair& pair = pairs_[i];
        if (polled[1 + 2 * i].revents != 0 && !Forward(pair.client, pair.server)) pair.ended = true;
        if (polled[2 + 2 * i].revents != 0 && !Forward(pair.server, pair.client)) pair.ended = true;
      }
      if (polled[0].revents == 0) continue;
      Pair pair{accept(listener_, nullptr, nullptr), socket(AF_INET, SOCK_STREAM, 0)};
      const sockaddr_in at = Loopback(server_port_);
      pair.ended = connect(pair.server, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0;
      pairs_.push_back(pair);
    }
  }

  const int server_port_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stop_{false}, mute_{false};
  std::vector<Pair> pairs_;  // of the thread
  std::thread thread_;
};

class CoordinatorClientTest : public testing::Test {
 protected:
  CoordinatorClientTest() { Serve(0); }
  ~CoordinatorClientTest() override {
    if (client_ != nullptr) client_->Stop();
    EndServer();
  }
  void Serve(int port) {
    service_ = std::make_unique<FakeService>();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void EndServer() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  static std::string AddressOf(int port) { return "127.0.0.1:" + std::to_string(port); }
  absl::Duration name_patience_ = absl::Seconds(60);
  void StartClient() { StartClient(port_, {}); }
  void StartClient(int port, const Keepalive& keepalive) {
    StartClient({{AddressOf(port), ConnectToCoordinator(AddressOf(port), {}, keepalive)}});
  }
  void StartClient(std::vector<CoordinatorPeer> coordinators) {
    CoordinatorClient::Options options;
    options.coordinators = std::move(coordinators);
    options.worker = {.name = "worker-a",
                      .incarnation = 42,
                      .host = "h",
                      .device = "cpu x1",
                      .threads = 1,
                      .memory_bytes = 1 << 30,
                      .code_version = "test",
                      .pid = 1};
    options.call_deadline = absl::Seconds(30);
    options.reconnect = {absl::Milliseconds(1), absl::Milliseconds(10)};
    options.name_patience = name_patience_;
    options.farewell = absl::Seconds(30);
    client_ = std::make_unique<CoordinatorClient>(std::move(options));
    client_->Start(&handler_);
  }
  void AwaitSessions(int count) {
    service_->Await(
        [this, count] { return service_->sessions_ >= count && !service_->heartbeats_.empty(); });
  }
  v1::Command EndEpoch(const std::string& reason) {
    v1::Command command;
    command.mutable_end_epoch()->set_run_id("run-1");
    command.mutable_end_epoch()->set_epoch(4);
    command.mutable_end_epoch()->set_reason(reason);
    return command;
  }

  const EpochId id_{"run-1", 4};
  int port_ = 0;
  std::unique_ptr<FakeService> service_;
  std::unique_ptr<grpc::Server> server_;
  RecordingHandler handler_;
  std::unique_ptr<CoordinatorClient> client_;
};

TEST_F(CoordinatorClientTest, NoticesAHostThatVanishedWithoutAWord) {
  Proxy proxy(port_);
  StartClient(proxy.port(), {absl::Milliseconds(50), absl::Milliseconds(50)});
  AwaitSessions(1);
  proxy.MuteOpenConnections();
  AwaitSessions(2);
  client_->Stop();
  client_.reset();
}

TEST_F(CoordinatorClientTest, RegistersAndThenSendsHeartbeatsOfItsState) {
  StartClient();
  service_->Await([this] { return service_->heartbeats_.size() >= 3; });
  service_->With([this] {
    ASSERT_EQ(service_->registrations_.size(), 1u);
    EXPECT_EQ(service_->registrations_[0].worker().name(), "worker-a");
    EXPECT_EQ(service_->registrations_[0].worker().incarnation(), 42u);
    EXPECT_EQ(service_->registrations_[0].device(), "cpu x1");
    const v1::Heartbeat& heartbeat = service_->heartbeats_.back();
    EXPECT_EQ(heartbeat.run_id(), "run-1");
    EXPECT_EQ(heartbeat.epoch(), 4u);
    EXPECT_EQ(heartbeat.step(), 17);
    EXPECT_EQ(heartbeat.state(), "training");
    EXPECT_EQ(heartbeat.seconds_per_sequence(), 0.25);
    EXPECT_EQ(heartbeat.held().run_id(), "run-0");
    EXPECT_EQ(heartbeat.held().epoch(), 2u);
    EXPECT_EQ(heartbeat.held().step(), 9);
  });
  EXPECT_TRUE(client_->connected());
}

TEST_F(CoordinatorClientTest, FindsTheCoordinatorThatLeadsAndGoesWithTheLead) {
  ASSERT_OK_AND_ASSIGN(const int other, PickFreeLoopbackPort());
  StartClient(ConnectToCoordinators({AddressOf(other), AddressOf(port_)}, {}));
  AwaitSessions(1);
  EXPECT_OK(client_->Health());
  Progress progress;
  progress.step = 17;
  ASSERT_OK(client_->Report(id_, progress));
  service_->With([this] { EXPECT_EQ(service_->report_.step(), 17); });
  // It is gone, and nobody leads.
  const std::string refused = AddressOf(port_) + ": failed to connect";
  EndServer();
  std::string message;
  while (!absl::StrContains(message, refused)) {
    message = std::string(client_->Health().message());
    std::this_thread::yield();
  }
  EXPECT_THAT(message, testing::AllOf(HasSubstr("any of the coordinators"),
                                      HasSubstr(AddressOf(other) + ": failed to connect")));
  EXPECT_THAT(client_->Report(id_, progress), StatusIs(absl::StatusCode::kUnavailable));
  // The other one takes the lead.
  Serve(other);
  AwaitSessions(1);
  service_->With([this] { EXPECT_EQ(service_->registrations_.size(), 1u); });
  progress.step = 18;
  ASSERT_OK(client_->Report(id_, progress));
  service_->With([this] { EXPECT_EQ(service_->report_.step(), 18); });
}

TEST_F(CoordinatorClientTest, DeliversCommandsInOrder) {
  v1::Command assignment, rendezvous, yield;
  assignment.mutable_assignment()->set_run_id("run-1");
  assignment.mutable_assignment()->set_epoch(4);
  assignment.mutable_assignment()->set_run_dir("/runs/1");
  assignment.mutable_assignment()->set_from_memory(true);
  assignment.mutable_assignment()->set_state_rank(1);
  assignment.mutable_assignment()->set_state_epoch(3);
  assignment.mutable_assignment()->set_mixed_devices(true);
  rendezvous.mutable_rendezvous()->set_run_id("run-1");
  rendezvous.mutable_rendezvous()->set_epoch(4);
  rendezvous.mutable_rendezvous()->set_address("host:1");
  yield.mutable_yield()->set_run_id("run-1");
  yield.mutable_yield()->set_epoch(4);
  yield.mutable_yield()->set_reason("worker-c joins");
  service_->With([&] {
    service_->commands_ = {assignment, rendezvous, yield, EndEpoch("worker-b was lost")};
  });
  StartClient();
  handler_.Await(4);
  EXPECT_EQ(handler_.events(),
            (std::vector<std::string>{"assignment run-1/4 /runs/1 memory of 1, epoch 3, mixed",
                                      "rendezvous run-1/4 host:1", "yield run-1/4 worker-c joins",
                                      "end run-1/4 worker-b was lost"}));
}

TEST_F(CoordinatorClientTest, BrokenSessionIsOpenedAgainAndEndsNoWork) {
  StartClient();
  AwaitSessions(1);
  service_->With([this] { service_->break_session_ = true; });
  AwaitSessions(2);
  service_->With([this] {
    EXPECT_EQ(service_->registrations_.size(), 1u);  // it still knows us
    EXPECT_TRUE(handler_.events().empty());
  });
}

TEST_F(CoordinatorClientTest, RestartedCoordinatorSeesTheSameIncarnationAndEpochAgain) {
  StartClient();
  AwaitSessions(1);
  EndServer();
  EXPECT_THAT(client_->NextPlan(id_, 0, {}).status(),
              StatusIs(absl::StatusCode::kUnavailable, testing::_));
  Serve(port_);  // with no memory of us
  AwaitSessions(1);
  service_->With([this] {
    ASSERT_EQ(service_->registrations_.size(), 1u);
    EXPECT_EQ(service_->registrations_[0].worker().incarnation(), 42u);
    EXPECT_EQ(service_->heartbeats_[0].epoch(), 4u);
  });
  EXPECT_TRUE(handler_.events().empty());
}

TEST_F(CoordinatorClientTest, UnknownWorkerInACallRegistersAgainAndTheCallMayBeRepeated) {
  StartClient();
  AwaitSessions(1);
  service_->With([this] {
    service_->next_error_ =
        Typed(grpc::StatusCode::NOT_FOUND, v1::ErrorDetail::UNKNOWN_WORKER, "never seen");
  });
  const absl::Status status = client_->NextPlan(id_, 0, {}).status();
  EXPECT_TRUE(IsRetryable(status)) << status;
  service_->Await(
      [this] { return service_->registrations_.size() == 2 && service_->sessions_ == 2; });
}

TEST_F(CoordinatorClientTest, StaleEpochIsToldApartFromOtherRefusals) {
  StartClient();
  AwaitSessions(1);
  service_->With([this] {
    service_->next_error_ = Typed(grpc::StatusCode::FAILED_PRECONDITION,
                                  v1::ErrorDetail::STALE_EPOCH, "epoch 4 is closed");
  });
  absl::Status status = client_->NextPlan(id_, 0, {}).status();
  EXPECT_TRUE(IsStaleEpoch(status)) << status;
  EXPECT_FALSE(IsRetryable(status));
  service_->With([this] {
    service_->next_error_ = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no");
  });
  status = client_->NextPlan(id_, 0, {}).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, "no"));
  EXPECT_FALSE(IsStaleEpoch(status));
}

// Who died under our name is noticed within seconds; who lives keeps it.
TEST_F(CoordinatorClientTest, AsksForItsNameUntilItIsFreeOrPatienceEnds) {
  service_->With([this] { service_->names_refused_ = 3; });
  StartClient();
  AwaitSessions(1);
  EXPECT_TRUE(handler_.events().empty());
  service_->With([this] { EXPECT_EQ(service_->registrations_.size(), 4u); });
  client_->Stop();
  service_->With([this] { service_->names_refused_ = 1 << 30; });
  service_->With([this] { service_->known_ = false; });
  name_patience_ = absl::Milliseconds(300);
  StartClient();
  handler_.Await(1);
  EXPECT_EQ(handler_.events()[0], "name in use /0 pid 12 has the name");
}

TEST_F(CoordinatorClientTest, SaysHowItIsBeforeItEnds) {
  StartClient();
  AwaitSessions(1);
  handler_.draining = true;  // nobody nudges
  client_->Stop();
  service_->With([this] { EXPECT_TRUE(service_->heartbeats_.back().draining()); });
}

TEST_F(CoordinatorClientTest, SupersededByRefusalOfTheSession) {
  service_->With([this] { service_->stale_ = true; });
  StartClient();
  handler_.Await(1);
  EXPECT_EQ(handler_.events()[0], "superseded /0 9 is newer");
}

TEST_F(CoordinatorClientTest, CarriesPlansReportsSharesAndRendezvous) {
  StartClient();
  service_->With([this] {
    v1::Plan* plan = service_->next_plan_.mutable_plan();
    plan->set_first_step(8);
    plan->set_end_step(12);
    v1::PlanSegment* segment = plan->add_segments();
    segment->set_first_step(8);
    segment->set_end_step(12);
    segment->set_phase(v1::PHASE_FULL);
    plan->mutable_learning_rate()->set_peak(0.5);
    plan->mutable_learning_rate()->set_shape("linear");
    plan->set_global_batch(4);
    v1::RankShare* share = plan->add_shares();
    share->set_count(4);
    share->set_micro_batch(2);
    v1::CheckpointOrder* order = plan->add_checkpoints();
    order->set_step(12);
    order->set_attempt("4-x");
    plan->add_evaluate_at(12);
  });
  ASSERT_OK_AND_ASSIGN(const PlanAnswer answer, client_->NextPlan(id_, 1, {8}));
  const Plan& plan = std::get<Plan>(answer);
  EXPECT_EQ(plan.first_step, 8);
  EXPECT_EQ(plan.end_step, 12);
  EXPECT_EQ(plan.segments.at(0).phase, TrainingPhase::kFull);
  EXPECT_EQ(plan.learning_rate.peak, 0.5);
  EXPECT_EQ(plan.learning_rate.shape, DecayShape::kLinear);
  EXPECT_EQ(plan.shares.at(0).micro_batch, 2);
  EXPECT_EQ(plan.checkpoints.at(0).attempt, "4-x");
  EXPECT_EQ(plan.evaluate_at, std::vector<int64_t>{12});
  service_->With([this] {
    EXPECT_EQ(service_->last_plan_request_.rank(), 1);
    EXPECT_EQ(service_->last_plan_request_.from_step(), 8);
    EXPECT_FALSE(service_->last_plan_request_.yielded());
    EXPECT_EQ(service_->last_plan_request_.epoch(), 4u);
    EXPECT_EQ(service_->last_plan_request_.worker().incarnation(), 42u);
    service_->next_plan_.mutable_plan()->mutable_learning_rate()->set_shape("zigzag");
  });
  EXPECT_THAT(client_->NextPlan(id_, 1, {8}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("zigzag")));
  service_->With([this] { service_->next_plan_.Clear(); });
  EXPECT_THAT(client_->NextPlan(id_, 1, {8}).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("neither")));
  EXPECT_FALSE(client_->NextPlan(id_, 1, {9, /*yielded=*/true}).ok());
  service_->With([this] {
    EXPECT_EQ(service_->last_plan_request_.from_step(), 9);
    EXPECT_TRUE(service_->last_plan_request_.yielded());
  });

  Progress progress;
  progress.request_id = "r-1";
  progress.step = 9;
  progress.steps.resize(1);
  progress.steps[0].loss = 2.5;
  progress.evaluations.resize(1);
  progress.log_lines = {{absl::FromUnixMillis(5), "hello \xff"}};  // a sample, say
  progress.failure = "disk full: /data/\xfe";
  ASSERT_OK(client_->Report(id_, progress));
  ASSERT_OK(client_->PublishRendezvous(id_, "host:9"));
  const std::vector<ManifestFile> files = {{"share-0-of-1.safetensors", 12, "ab"}};
  ASSERT_OK_AND_ASSIGN(const bool first, client_->CommitShare(id_, {12, "4-x"}, 0, files));
  ASSERT_OK_AND_ASSIGN(const bool second, client_->CommitShare(id_, {12, "4-x"}, 0, files));
  EXPECT_FALSE(first);
  EXPECT_TRUE(second);
  service_->With([this] {
    EXPECT_EQ(service_->report_.request_id(), "r-1");
    EXPECT_EQ(service_->report_.steps(0).loss(), 2.5);
    EXPECT_EQ(service_->report_.evaluations(0).weights(), "averaged");
    EXPECT_EQ(service_->report_.log_lines(0).time_ms(), 5);
    EXPECT_EQ(service_->report_.log_lines(0).line(), "hello \xEF\xBF\xBD");
    EXPECT_EQ(service_->report_.failure(), "disk full: /data/\xEF\xBF\xBD");
    EXPECT_EQ(service_->rendezvous_.address(), "host:9");
    EXPECT_EQ(service_->share_.files(0).bytes(), 12);
    EXPECT_EQ(service_->share_.attempt(), "4-x");
  });
}

}  // namespace
}  // namespace tritter
