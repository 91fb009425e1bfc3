// Every request of the coordinator's services with random and hostile fields, against a live server
// over a real store: from strangers, and from a worker that is a member of a live epoch. Nothing
// crashes or hangs, every answer is a typed error or a good one, and the store stays readable. More
// seeds: bazel test //tests/fuzz:coordinator_requests_test --test_env=FUZZ_SEEDS=1000
#include <grpcpp/grpcpp.h>
#include <stdlib.h>

#include <filesystem>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "access/access_service.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "coordinator/run_service.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "coordinator/testing/rpc_worker_client.h"
#include "coordinator/worker_service.h"
#include "tests/fuzz/random_message.h"
#include "tests/testing/raw_call.h"

namespace tritter {
namespace {

using grpc::StatusCode;

// What a handler may say. INTERNAL, UNKNOWN and DATA_LOSS would be ours to mend; UNIMPLEMENTED says
// that nobody was there to be tried.
const std::set<StatusCode>& Expected() {
  static const auto* const codes = new std::set<StatusCode>{StatusCode::OK,
                                                            StatusCode::INVALID_ARGUMENT,
                                                            StatusCode::NOT_FOUND,
                                                            StatusCode::ALREADY_EXISTS,
                                                            StatusCode::FAILED_PRECONDITION,
                                                            StatusCode::RESOURCE_EXHAUSTED,
                                                            StatusCode::OUT_OF_RANGE,
                                                            StatusCode::ABORTED,
                                                            StatusCode::UNAVAILABLE};
  return *codes;
}

uint64_t Seeds() {
  uint64_t seeds = 0;
  const char* const given = getenv("FUZZ_SEEDS");
  return given != nullptr && absl::SimpleAtoi(given, &seeds) ? seeds : 40;
}

class CoordinatorRequestsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(testing::TempDir(), "/requestsXXXXXX");
    folder_ = mkdtemp(pattern.data());
    Start();
  }
  void TearDown() override {
    Stop();
    std::filesystem::remove_all(folder_);
  }

  void Start() {
    ASSERT_OK_AND_ASSIGN(store_, SqliteStore::Open(Env::Real(), folder_));
    CoordinatorOptions options;
    options.data_dir = "/data-dir";
    options.tick = absl::Milliseconds(20);
    options.world.settle = absl::ZeroDuration();
    options.liveness.heartbeat_timeout = absl::Seconds(60);
    ASSERT_OK_AND_ASSIGN(
        coordinator_,
        Coordinator::Start({store_.get(), &env_, Clock::Real(), &catalog_,
                            [](const CheckpointReader&, const std::string&, const ExportOptions&) {
                              return absl::StatusOr<v1::Artifact>(v1::Artifact());
                            }},
                           options));
    ASSERT_OK_AND_ASSIGN(audit_, AuditLog::Open(&env_, Clock::Real(), {"/data-dir/audit"}));
    const RpcGuard guard(nullptr, audit_.get());
    runs_ = std::make_unique<RunServiceImpl>(coordinator_.get(), Clock::Real(), guard);
    workers_ = std::make_unique<WorkerServiceImpl>(coordinator_.get());
    access_ = std::make_unique<AccessServiceImpl>(guard, audit_.get(),
                                                  [](const std::string& run) { return run; });
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(runs_.get());
    builder.RegisterService(workers_.get());
    builder.RegisterService(access_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = absl::StrCat("127.0.0.1:", port);
    channel_ = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
  }
  void Stop() {
    agent_.reset();
    api_.reset();
    channel_.reset();
    coordinator_->Stop();
    server_->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
    server_->Wait();
    server_.reset();
    runs_.reset();
    workers_.reset();
    access_.reset();
    coordinator_.reset();
    audit_.reset();
    store_.reset();
  }

  static std::vector<const google::protobuf::MethodDescriptor*> Methods() {
    std::vector<const google::protobuf::MethodDescriptor*> out;
    for (const char* name : {"RunService", "WorkerService", "AccessService"}) {
      const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
          absl::StrCat("tritter.v1.", name));
      for (int i = 0; i < service->method_count(); ++i) out.push_back(service->method(i));
    }
    return out;
  }

  // Streams are left after a moment: `left` says that it was so.
  grpc::Status Call(const google::protobuf::MethodDescriptor& method, const std::string& bytes,
                    bool* left) {
    const bool stream = method.server_streaming();
    const grpc::Status status =
        CallRaw(channel_, absl::StrCat("/", method.service()->full_name(), "/", method.name()),
                bytes, stream ? absl::Milliseconds(60) : absl::Seconds(30));
    *left = stream && status.error_code() == StatusCode::DEADLINE_EXCEEDED;
    return status;
  }

  StatusCode Say(const google::protobuf::MethodDescriptor& method,
                 const google::protobuf::Message& request, uint64_t seed) {
    bool left = false;
    const grpc::Status status = Call(method, request.SerializeAsString(), &left);
    EXPECT_TRUE(left || Expected().contains(status.error_code()))
        << "seed " << seed << ", " << method.name() << ": " << status.error_code() << " "
        << status.error_message() << "\n"
        << request.ShortDebugString().substr(0, 2000);
    EXPECT_TRUE(status.ok() || left || !status.error_message().empty()) << method.name();
    ++said_[status.error_code()];
    return status.error_code();
  }

  // The worker becomes a member of a live epoch: hostile requests end its runs.
  void EnsureEpoch() {
    for (int attempt = 0; attempt < 3; ++attempt) {
      if (agent_ == nullptr || attempt > 0) {
        agent_.reset();
        api_.reset();  // its session ends, soon: until then its name is in use
        api_ = std::make_unique<RpcWorkerApi>(address_);
        agent_ = std::make_unique<FakeAgent>(api_.get(), &env_, "worker-a", ++incarnation_);
        absl::Status connected = agent_->Connect();
        for (int i = 0; i < 1000 && !connected.ok(); ++i) {
          Clock::Real()->Sleep(absl::Milliseconds(10));
          connected = agent_->Connect();
        }
        ASSERT_OK(connected);
      }
      for (int i = 0; i < 100; ++i) {
        agent_->Act();
        if (!agent_->idle()) return;
        if (i == 2) {
          v1::SubmitRunRequest submit;
          submit.set_yaml(RunYaml("target", 100000, 1));
          // Refused when the last who had the worker's name said that it has no memory.
          if (!coordinator_->Submit(submit).ok()) break;
        }
        Clock::Real()->Sleep(absl::Milliseconds(10));
      }
    }
  }
  void LearnFrom(KnownValues* known) const {
    (*known)["incarnation"] = {absl::StrCat(incarnation_)};
    const v1::ListRunsResponse runs = coordinator_->List(20);
    auto& ids = (*known)["run_id"];
    ids.clear();
    for (const v1::Run& run : runs.runs()) {
      ids.push_back(run.run_id());
      (*known)["run"] = {run.run_id(), run.name()};
    }
    if (!agent_->idle()) {
      ids = {agent_->run_id()};
      (*known)["epoch"] = {absl::StrCat(agent_->epoch())};
      (*known)["rank"] = {"0"};
      (*known)["step"] = {absl::StrCat(agent_->step()), absl::StrCat(agent_->step() + 1)};
      (*known)["from_step"] = {absl::StrCat(agent_->step()), "0"};
      (*known)["attempt"] = {absl::StrCat("e", agent_->epoch())};
    }
  }

  std::string folder_, address_;
  MemoryEnv env_;
  FakeCatalog catalog_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<RunServiceImpl> runs_;
  std::unique_ptr<WorkerServiceImpl> workers_;
  std::unique_ptr<AccessServiceImpl> access_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<RpcWorkerApi> api_;
  std::unique_ptr<FakeAgent> agent_;
  uint64_t incarnation_ = 41;
  std::map<StatusCode, int> said_;
};

KnownValues Words() {
  KnownValues known;
  known["name"] = {"worker-a"};
  known["yaml"] = {RunYaml("fuzzed", 100, 1), RunYaml("fuzzed", 100, 100000),
                   RunYaml("fuzzed", 100, 1, "priority: 9000000000000000000\n")};
  known["base_dir"] = {"/data"};
  known["address"] = {"127.0.0.1:1"};
  return known;
}

TEST_F(CoordinatorRequestsTest, FromStrangersAndFromAWorkerInALiveEpoch) {
  KnownValues known = Words();
  const auto* factory = google::protobuf::MessageFactory::generated_factory();
  const std::vector<const google::protobuf::MethodDescriptor*> methods = Methods();
  int in_epoch = 0;
  std::map<std::string, int> taken;  // of what the member said, by call
  for (uint64_t seed = 1; seed <= Seeds(); ++seed) {
    Philox random(seed);
    EnsureEpoch();
    LearnFrom(&known);
    in_epoch += !agent_->idle();
    for (const auto* method : methods) {
      const std::unique_ptr<google::protobuf::Message> request(
          const_cast<google::protobuf::MessageFactory*>(factory)
              ->GetPrototype(method->input_type())
              ->New());
      if (method->server_streaming() && random.Below(6) != 0) continue;  // they take their time
      // These end what the others are to meet.
      const bool ends = method->name() == "PauseRun" || method->name() == "CancelRun";
      if (ends && random.Below(8) != 0) continue;
      FillHostile(request.get(), known, &random);
      Say(*method, *request, seed);
    }
    // As the member itself would speak, but for a field or two.
    EnsureEpoch();
    if (agent_->idle()) continue;
    const auto fill = [&](auto request) {
      *request.mutable_worker() = agent_->Identity();
      request.set_run_id(agent_->run_id());
      request.set_epoch(agent_->epoch());
      return request;
    };
    v1::RegisterRequest hello;
    *hello.mutable_worker() = agent_->Identity();
    hello.set_host("127.0.0.1");
    hello.set_device("cpu");
    hello.set_threads(1);
    hello.set_memory_bytes(int64_t{1} << 30);
    SpoilMessage(&hello, known, &random);
    v1::PublishRendezvousRequest place = fill(v1::PublishRendezvousRequest());
    place.set_address("127.0.0.1:1");
    SpoilMessage(&place, known, &random);
    v1::ReportRequest report = fill(v1::ReportRequest());
    v1::StepMetrics* step = report.add_steps();
    step->set_step(agent_->step() + 1);
    step->set_step_seconds(1);
    step->set_tokens(10);
    SpoilMessage(step, known, &random);
    if (random.Below(2) == 0) {
      v1::EvaluationPoint* evaluation = report.add_evaluations();
      evaluation->set_step(agent_->step());
      evaluation->set_source("text");
      evaluation->set_weights("averaged");
      evaluation->set_loss(1);
      SpoilMessage(evaluation, known, &random);
    }
    if (random.Below(8) == 0) FillHostile(report.add_evaluations(), known, &random);
    if (random.Below(2) == 0) FillHostile(report.add_log_lines(), known, &random);
    v1::NextPlanRequest plan = fill(v1::NextPlanRequest());
    plan.set_from_step(agent_->step());
    SpoilMessage(&plan, known, &random);
    v1::CommitShareRequest share = fill(v1::CommitShareRequest());
    share.set_step(agent_->step());
    share.set_attempt(absl::StrCat("e", agent_->epoch()));
    SpoilMessage(&share, known, &random);
    v1::Heartbeat beat;
    *beat.mutable_worker() = agent_->Identity();
    beat.set_run_id(agent_->run_id());
    beat.set_epoch(agent_->epoch());
    SpoilMessage(&beat, known, &random);
    const std::map<std::string, const google::protobuf::Message*> own = {
        {"Register", &hello}, {"PublishRendezvous", &place}, {"NextPlan", &plan},
        {"Report", &report},  {"CommitShare", &share},
    };
    for (const auto* method : methods) {
      if (method->service()->name() != "WorkerService" || method->name() == "Session") continue;
      ASSERT_TRUE(own.contains(method->name())) << method->name() << ": as a member would say it?";
      taken[method->name()] += Say(*method, *own.at(method->name()), seed) == StatusCode::OK;
    }
    api_->Beat(beat).IgnoreError();
  }
  // It was no exercise before closed doors.
  EXPECT_GT(in_epoch, static_cast<int>(Seeds() / 4));
  EXPECT_GT(said_[StatusCode::OK], static_cast<int>(Seeds()));
  EXPECT_GT(said_[StatusCode::INVALID_ARGUMENT], static_cast<int>(Seeds()));
  for (const char* call : {"Register", "PublishRendezvous", "Report"})
    EXPECT_GT(taken[call], static_cast<int>(Seeds() / 8)) << call;
  EXPECT_OK(coordinator_->Health());

  // The store is whole: another coordinator starts on it and knows every run.
  const int runs = coordinator_->List(10000).runs_size();
  EXPECT_GT(runs, 0);
  Stop();
  Start();
  EXPECT_EQ(coordinator_->List(10000).runs_size(), runs);
  v1::ListEventsRequest all;
  all.set_limit(10000);
  ASSERT_OK_AND_ASSIGN(const v1::ListEventsResponse events, coordinator_->ListEvents(all));
  EXPECT_GE(events.events_size(), runs);
  const v1::ListRunsResponse newest = coordinator_->List(50);
  for (const v1::Run& run : newest.runs()) {
    v1::ListMetricsRequest metrics;
    metrics.set_run(run.run_id());
    EXPECT_OK(coordinator_->ListMetrics(metrics).status());
    int64_t sequence = 0;
    bool ended = false;
    EXPECT_OK(coordinator_->Logs(run.run_id(), 0, &sequence, &ended).status());
  }
}

TEST_F(CoordinatorRequestsTest, BytesThatAreNoMessage) {
  for (uint64_t seed = 1; seed <= Seeds(); ++seed) {
    Philox random(seed);
    for (const auto* method : Methods()) {
      if (method->server_streaming()) continue;
      std::string bytes(random.Below(200), '\0');
      for (char& c : bytes) c = static_cast<char>(random.Below(256));
      bool left = false;
      const grpc::Status status = Call(*method, bytes, &left);
      // gRPC itself says INTERNAL of what it cannot parse.
      EXPECT_TRUE(status.error_code() == StatusCode::INTERNAL ||
                  Expected().contains(status.error_code()))
          << "seed " << seed << ", " << method->name() << ": " << status.error_code() << " "
          << status.error_message();
    }
  }
  EXPECT_OK(coordinator_->Health());
  EXPECT_OK(coordinator_->Get("nobody").status().code() == absl::StatusCode::kNotFound
                ? absl::OkStatus()
                : absl::InternalError("the coordinator does not answer"));
}

}  // namespace
}  // namespace tritter
