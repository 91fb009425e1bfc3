// Both services on a real server in this process: the whole life of runs with scripted workers, on
// real time.
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <iterator>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/run_service.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "coordinator/testing/rpc_worker_client.h"
#include "coordinator/worker_service.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class ServicesTest : public testing::Test {
 protected:
  void SetUp() override { Serve(0); }
  void TearDown() override {
    apis_.clear();
    Shutdown();
  }

  void Serve(int port) {
    CoordinatorDependencies d{
        &store_, &env_, Clock::Real(), &catalog_,
        [](const CheckpointReader&, const std::string& path, const ExportOptions& options) {
          v1::Artifact a;
          a.set_kind(options.format);
          a.set_path(path);
          return absl::StatusOr<v1::Artifact>(a);
        }};
    CoordinatorOptions options;
    options.data_dir = "/data-dir";
    options.tick = absl::Milliseconds(10);
    options.liveness.stream_grace = absl::Milliseconds(100);
    options.liveness.heartbeat_timeout = absl::Seconds(60);  // a slow machine is not a silent host
    options.liveness.restart_grace = absl::Seconds(60);
    options.world.settle = absl::ZeroDuration();
    ASSERT_OK_AND_ASSIGN(coordinator_, Coordinator::Start(d, options));
    runs_service_ = std::make_unique<RunServiceImpl>(coordinator_.get(), Clock::Real());
    worker_service_ = std::make_unique<WorkerServiceImpl>(
        coordinator_.get(),
        WorkerServiceImpl::Limits{.sessions = sessions_, .first_heartbeat = first_heartbeat_});
    grpc::ServerBuilder builder;
    int chosen = 0;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &chosen);
    builder.RegisterService(runs_service_.get());
    builder.RegisterService(worker_service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = absl::StrCat("127.0.0.1:", chosen);
    runs_ =
        v1::RunService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  }

  void Shutdown() {
    if (coordinator_ == nullptr) return;
    coordinator_->Stop();
    server_->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
    server_->Wait();
    server_.reset();
    runs_service_.reset();
    worker_service_.reset();
    coordinator_.reset();
  }

  FakeAgent* AddWorker(const std::string& name, uint64_t incarnation = 1) {
    apis_.push_back(std::make_unique<RpcWorkerApi>(address_));
    agents_.push_back(std::make_unique<FakeAgent>(apis_.back().get(), &env_, name, incarnation));
    EXPECT_OK(agents_.back()->Connect());
    live_.push_back(agents_.back().get());
    return agents_.back().get();
  }

  absl::StatusOr<v1::SubmitRunResponse> Submit(const std::string& yaml,
                                               const std::string& key = "") {
    grpc::ClientContext context;
    v1::SubmitRunRequest request;
    request.set_yaml(yaml);
    request.set_idempotency_key(key);
    request.set_base_dir("/");
    v1::SubmitRunResponse response;
    const absl::Status status = FromRpcStatus(runs_->SubmitRun(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }

  v1::Run Get(const std::string& id) {
    grpc::ClientContext context;
    v1::GetRunRequest request;
    request.set_run(id);
    v1::Run run;
    EXPECT_OK(FromRpcStatus(runs_->GetRun(&context, request, &run)));
    return run;
  }

  // The workers act until the condition holds.
  template <typename Condition>
  void ActUntil(Condition condition) {
    const absl::Duration end = Clock::Real()->Monotonic() + absl::Seconds(60);
    while (!condition()) {
      ASSERT_LT(Clock::Real()->Monotonic(), end) << "the condition did not come true";
      for (FakeAgent* agent : live_) agent->Act();
      std::this_thread::yield();
    }
  }

  int sessions_ = 3;
  absl::Duration first_heartbeat_ = absl::Seconds(60);
  MemoryEnv env_;
  MemoryStore store_;
  FakeCatalog catalog_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<RunServiceImpl> runs_service_;
  std::unique_ptr<WorkerServiceImpl> worker_service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<v1::RunService::Stub> runs_;
  std::vector<std::unique_ptr<RpcWorkerApi>> apis_;
  std::vector<std::unique_ptr<FakeAgent>> agents_;
  std::vector<FakeAgent*> live_;
};

TEST_F(ServicesTest, ARunLivesThroughTheLossOfAWorker) {
  ASSERT_OK_AND_ASSIGN(
      const auto submitted,
      Submit(RunYaml("run", 60, 2, "checkpoint: {every: 20}\nexport: {format: tpack}\n")));
  const std::string id = submitted.run().run_id();
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  ActUntil([&] { return Get(id).committed_step() == 20 && Get(id).step() > 22; });
  std::erase(live_, b);
  b->Kill();
  ActUntil([&] { return Get(id).epochs_lost() == 1; });
  EXPECT_THAT(Get(id).reason(), HasSubstr("w-1"));
  const int64_t newest = Get(id).committed_step();
  FakeAgent* again = AddWorker("w-1", 2);
  ActUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).epoch(), 2u);
  ASSERT_THAT(again->assignments(), SizeIs(1));
  EXPECT_EQ(again->assignments()[0], std::make_pair(uint64_t{2}, newest));
  EXPECT_EQ(a->assignments().back(), std::make_pair(uint64_t{2}, newest));
  EXPECT_THAT(Get(id).artifacts(), SizeIs(1));
}

TEST_F(ServicesTest, ARestartedCoordinatorGoesOnWithTheSameEpoch) {
  ASSERT_OK_AND_ASSIGN(const auto submitted, Submit(RunYaml("run", 60, 2)));
  const std::string id = submitted.run().run_id();
  AddWorker("w-0");
  AddWorker("w-1");
  ActUntil([&] { return Get(id).step() >= 25; });
  const int port = std::stoi(address_.substr(address_.find(':') + 1));
  for (auto& api : apis_) api->BreakSession();
  Shutdown();
  Serve(port);
  for (FakeAgent* agent : live_) ASSERT_OK(agent->Connect());
  ActUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).epoch(), 1u);
  for (FakeAgent* agent : live_) {
    EXPECT_THAT(agent->assignments(), SizeIs(1));
    EXPECT_THAT(agent->trained(), SizeIs(60));
  }
}

TEST_F(ServicesTest, TypedErrorsTravelInTheTrailingMetadata) {
  const absl::Status bad = Submit("name: x\nmodle: {}\n").status();
  EXPECT_THAT(bad, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("modle")));
  ASSERT_TRUE(DetailOf(bad).has_value());
  EXPECT_EQ(DetailOf(bad)->reason(), v1::ErrorDetail::INVALID_RUN_SPEC);
  RpcWorkerApi api(address_);
  v1::ReportRequest report;
  report.mutable_worker()->set_name("stranger");
  const absl::Status unknown = api.Report(report);
  EXPECT_THAT(unknown, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(DetailOf(unknown)->reason(), v1::ErrorDetail::UNKNOWN_WORKER);
}

TEST_F(ServicesTest, SubmitWithTheSameKeyIsTheSameRun) {
  ASSERT_OK_AND_ASSIGN(const auto first, Submit(RunYaml("run", 60, 2), "key"));
  ASSERT_OK_AND_ASSIGN(const auto second, Submit(RunYaml("run", 60, 2), "key"));
  EXPECT_TRUE(second.repeated());
  EXPECT_EQ(first.run().run_id(), second.run().run_id());
}

TEST_F(ServicesTest, AStreamOfAStrangerIsEnded) {
  RpcWorkerApi api(address_);
  v1::Heartbeat heartbeat;
  heartbeat.mutable_worker()->set_name("stranger");
  ASSERT_OK(api.OpenSession(heartbeat));
  const absl::Duration end = Clock::Real()->Monotonic() + absl::Seconds(30);
  while (api.Beat(heartbeat).ok()) ASSERT_LT(Clock::Real()->Monotonic(), end);
}

TEST_F(ServicesTest, AStreamWithoutAHeartbeatIsEnded) {
  Shutdown();
  first_heartbeat_ = absl::Milliseconds(20);
  Serve(0);
  auto stub =
      v1::WorkerService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  auto stream = stub->Session(&context);
  v1::Command command;
  EXPECT_FALSE(stream->Read(&command));  // without the limit it would wait for ever
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(ServicesTest, MoreSessionsThanAllowedAreRefused) {
  for (const char* name : {"w-0", "w-1", "w-2"}) AddWorker(name);
  ActUntil([&] { return coordinator_->Stats().workers_by_state["idle"] == 3; });
  auto stub =
      v1::WorkerService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  const auto open = [&] {
    grpc::ClientContext context;
    auto stream = stub->Session(&context);
    v1::Command command;
    while (stream->Read(&command)) {
    }
    return FromRpcStatus(stream->Finish());
  };
  EXPECT_THAT(open(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("more than 3 sessions")));
}

TEST_F(ServicesTest, SessionsNeedNoThreads) {
  constexpr int kSessions = 200;
  Shutdown();
  sessions_ = kSessions;
  Serve(0);
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  auto stub =
      v1::WorkerService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<v1::Heartbeat, v1::Command>>> streams;
  const auto before = threads();
  for (int i = 0; i < kSessions; ++i) {
    grpc::ClientContext context;
    v1::RegisterRequest request;
    v1::RegisterResponse response;
    request.mutable_worker()->set_name(absl::StrCat("w-", i));
    ASSERT_TRUE(stub->Register(&context, request, &response).ok());
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub->Session(contexts.back().get()));
    v1::Heartbeat heartbeat;
    *heartbeat.mutable_worker() = request.worker();
    ASSERT_TRUE(streams.back()->Write(heartbeat));
  }
  ActUntil([&] { return coordinator_->Stats().workers_by_state["idle"] == kSessions; });
  EXPECT_LT(threads() - before, kSessions / 4);  // gRPC's own, for other calls
  for (auto& context : contexts) context->TryCancel();
  for (auto& stream : streams) stream->Finish();
}

TEST_F(ServicesTest, AProcessWhosePlaceIsTakenHearsSoAndOneWhoseNameIsInUseToo) {
  auto stub =
      v1::WorkerService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  const auto attach = [&](uint64_t incarnation) {
    grpc::ClientContext context;
    v1::RegisterRequest request;
    v1::RegisterResponse response;
    request.mutable_worker()->set_name("w");
    request.mutable_worker()->set_incarnation(incarnation);
    return FromRpcStatus(stub->Register(&context, request, &response));
  };
  struct Open {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::Heartbeat, v1::Command>> stream;
  };
  const auto open = [&](uint64_t incarnation) {
    auto out = std::make_unique<Open>();
    out->stream = stub->Session(&out->context);
    v1::Heartbeat heartbeat;
    heartbeat.mutable_worker()->set_name("w");
    heartbeat.mutable_worker()->set_incarnation(incarnation);
    EXPECT_TRUE(out->stream->Write(heartbeat));
    return out;
  };
  const auto reason = [](const absl::Status& s) {
    const std::optional<v1::ErrorDetail> detail = DetailOf(s);
    return detail.has_value() ? detail->reason() : v1::ErrorDetail::REASON_UNSPECIFIED;
  };
  ASSERT_OK(attach(1));
  auto first = open(1);
  ActUntil([&] { return coordinator_->Stats().workers_by_state["idle"] == 1; });
  EXPECT_EQ(reason(attach(2)), v1::ErrorDetail::NAME_IN_USE);
  first->context.TryCancel();
  first->stream->Finish();
  ActUntil([&] { return attach(2).ok(); });
  auto second = open(2);
  ActUntil([&] { return coordinator_->Stats().workers_by_state["idle"] == 1; });
  auto again = open(1);
  v1::Command command;
  EXPECT_FALSE(again->stream->Read(&command));
  EXPECT_EQ(reason(FromRpcStatus(again->stream->Finish())), v1::ErrorDetail::STALE_INCARNATION);
  second->context.TryCancel();
  second->stream->Finish();
}

TEST_F(ServicesTest, WatchEndsWithTheRunAndSawEveryStep) {
  ASSERT_OK_AND_ASSIGN(const auto submitted, Submit(RunYaml("run", 40, 1)));
  const std::string id = submitted.run().run_id();
  std::vector<int64_t> steps;
  v1::RunState last = v1::RUN_STATE_UNSPECIFIED;
  grpc::Status status;
  std::atomic<bool> started{false};
  std::thread watcher([&] {
    grpc::ClientContext context;
    v1::WatchRunRequest request;
    request.set_run(id);
    auto reader = runs_->WatchRun(&context, request);
    v1::RunUpdate update;
    while (reader->Read(&update)) {
      started = true;
      for (const auto& m : update.metrics()) steps.push_back(m.step());
      last = update.run().state();
    }
    status = reader->Finish();
  });
  ActUntil([&] { return started.load(); });
  AddWorker("w");
  ActUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  watcher.join();
  EXPECT_OK(FromRpcStatus(status));
  EXPECT_EQ(last, v1::RUN_STATE_COMPLETED);
  ASSERT_THAT(steps, SizeIs(40));
  EXPECT_EQ(steps.back(), 40);
}

TEST_F(ServicesTest, PauseResumeAndCancel) {
  ASSERT_OK_AND_ASSIGN(const auto submitted, Submit(RunYaml("run", 100000, 1)));
  const std::string id = submitted.run().run_id();
  AddWorker("w");
  ActUntil([&] { return Get(id).step() >= 5; });
  grpc::ClientContext pause_context, resume_context, cancel_context;
  v1::Run run;
  v1::PauseRunRequest pause;
  pause.set_run(id);
  ASSERT_TRUE(runs_->PauseRun(&pause_context, pause, &run).ok());
  ActUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; });
  const int64_t at = Get(id).committed_step();
  v1::ResumeRunRequest resume;
  resume.set_run(id);
  ASSERT_TRUE(runs_->ResumeRun(&resume_context, resume, &run).ok());
  ActUntil([&] { return Get(id).step() > at; });
  v1::CancelRunRequest cancel;
  cancel.set_run(id);
  ASSERT_TRUE(runs_->CancelRun(&cancel_context, cancel, &run).ok());
  ActUntil([&] { return Get(id).state() == v1::RUN_STATE_CANCELLED; });
  EXPECT_GT(Get(id).committed_step(), at);
}

}  // namespace
}  // namespace tritter
