// Several coordinators on one PostgreSQL database, as real processes: one leads, and when it dies
// or falls silent another does. Training notices nothing of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/figure.h"
#include "common/net.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "coordinator/store/postgres/testing/postgres_server.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/train.h"

namespace tritter::e2e {
namespace {

using testing::HasSubstr;

constexpr int kSteps = 160;
constexpr absl::Duration kPatience = absl::Seconds(120);

const std::map<std::string, std::string> kRun = {
    {"steps", std::to_string(kSteps)}, {"every", "40"}, {"evaluate", "80"}, {"export", "{}"}};

// The weights of a run that nobody disturbed.
const State& Reference() {
  static const State* state = new State(
      FinalState(Train({.name = "reference", .workers = {{"w0"}, {"w1"}}, .overrides = kRun})));
  return *state;
}

class Takeover : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = PostgresServer::Start();
    missing_ = server.status();
    if (server.ok()) server_ = *std::move(server);
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override {
    if (absl::IsNotFound(missing_)) GTEST_SKIP() << missing_.message();
    ASSERT_OK(missing_);
    ASSERT_OK_AND_ASSIGN(database_, server_->CreateDatabase());
    folder_ = TempFolder(testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(MakeShards(folder_));
    cluster_ = std::make_unique<Cluster>(folder_);
  }
  void TearDown() override {
    cluster_.reset();  // ends its processes before their database
    standby_.reset();
  }
  // A coordinator that leads, one that stands by, and workers that know both.
  void StartAll() {
    ASSERT_OK(cluster_->StartCoordinator({.flags = {"--store", database_}}));
    first_ = cluster_->address();
    ASSERT_OK_AND_ASSIGN(const int port, PickFreeLoopbackPort());
    second_ = absl::StrCat("127.0.0.1:", port);
    SubprocessOptions options;
    options.argv = {Binary("tritter_coordinator"),
                    "--listen",
                    second_,
                    "--metrics-listen",
                    "127.0.0.1:0",
                    "--data-dir",
                    JoinPath(folder_, "data"),
                    "--store",
                    database_,
                    "--ready-file",
                    Ready()};
    options.output = SubprocessOptions::Output::kFile;
    options.output_path = JoinPath(folder_, "standby.log");
    ASSERT_OK_AND_ASSIGN(standby_, Subprocess::Start(options));
    while (!Env::Real()->Exists(Ready())) {
      ASSERT_FALSE(standby_->Poll().has_value()) << Log("standby");
      Clock::Real()->Sleep(absl::Milliseconds(10));
    }
    EXPECT_THAT(*Env::Real()->ReadFile(Ready()), HasSubstr("\"leads\":false"));
    for (const char* name : {"w0", "w1"})
      ASSERT_OK(cluster_->StartWorker(name, {.coordinators = Both()}));
  }
  std::string Both() const { return absl::StrCat(first_, ",", second_); }
  std::string Ready() const { return JoinPath(folder_, "standby.json"); }
  std::string Log(const std::string& process) const {
    auto text = Env::Real()->ReadFile(JoinPath(folder_, process + ".log"));
    return text.ok() ? *text : "";
  }
  // A run that has something to lose: its newest checkpoint is that of step 40.
  std::string UnderWay() {
    auto run = cluster_->Submit(RunYaml("disturbed", kRun));
    EXPECT_OK(run.status());
    if (!run.ok()) return "";
    auto now = cluster_->WaitFor(
        *run, [](const v1::Run& r) { return r.committed_step() >= 40 && r.step() >= 45; });
    EXPECT_OK(now.status());
    return *run;
  }
  // The other one decides: says how long after `since` it answered, and when the workers had come.
  void AwaitTakeover(const std::string& run, absl::Duration since, const char* what) {
    cluster_->Ask(second_);
    absl::StatusOr<v1::Run> seen =
        cluster_->WaitFor(run, [](const v1::Run&) { return true; }, kPatience);
    ASSERT_OK(seen.status());
    const absl::Duration decided = Clock::Real()->Monotonic() - since;
    const int64_t step = seen->step();
    seen = cluster_->WaitFor(
        run, [&](const v1::Run& r) { return r.step() > step || r.step() == kSteps; }, kPatience);
    ASSERT_OK(seen.status());
    const absl::Duration heard = Clock::Real()->Monotonic() - since;
    // Reported, with no part in whether the test passes: it is a matter of time.
    PrintFigure({absl::StrCat(what, " -> another coordinator decides"),
                 absl::ToDoubleSeconds(decided), "s", "", "<= 10"});
    PrintFigure({absl::StrCat(what, " -> it hears of further steps"), absl::ToDoubleSeconds(heard),
                 "s", "", ""});
  }
  void ExpectUndisturbedEnd(const std::string& run) {
    ASSERT_OK_AND_ASSIGN(const v1::Run end, cluster_->WaitForEnd(run, kPatience));
    EXPECT_EQ(end.state(), v1::RUN_STATE_COMPLETED) << end.reason();
    EXPECT_EQ(end.epoch(), 1u) << "no step was repeated: " << end.reason();
    EXPECT_EQ(end.epochs_lost(), 0);
    EXPECT_EQ(Difference(Reference(), FinalState(end)), "");
    grpc::ClientContext context;
    v1::ListMetricsRequest request;
    request.set_run(run);
    request.set_limit(5000);
    v1::ListMetricsResponse curve;
    ASSERT_TRUE(cluster_->runs().ListMetrics(&context, request, &curve).ok());
    ASSERT_EQ(curve.steps_size(), kSteps);
    for (int i = 0; i < kSteps; ++i) EXPECT_EQ(curve.steps(i).step(), i + 1);
  }
  std::vector<std::string> Events(const std::string& kind) {
    grpc::ClientContext context;
    v1::ListEventsRequest request;
    request.set_limit(10000);
    v1::ListEventsResponse response;
    EXPECT_TRUE(cluster_->runs().ListEvents(&context, request, &response).ok());
    std::vector<std::string> messages;
    for (const v1::Event& event : response.events()) {
      if (event.kind() == kind) messages.push_back(event.message());
    }
    return messages;
  }
  void ExpectTakeoverOnRecord() {
    const std::vector<std::string> started = Events("coordinator_started"),
                                   changed = Events("leader_changed");
    ASSERT_EQ(started.size(), 1u);
    EXPECT_THAT(started[0], testing::AllOf(HasSubstr(first_), HasSubstr(" leads in term 1")));
    ASSERT_EQ(changed.size(), 1u) << absl::StrJoin(changed, "\n");
    EXPECT_THAT(changed[0],
                testing::AllOf(HasSubstr(second_), HasSubstr(" leads in term 2, after "),
                               HasSubstr(" in term 1")));
  }

  static inline std::unique_ptr<PostgresServer> server_;
  static inline absl::Status missing_;
  std::string database_, folder_, first_, second_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<Subprocess> standby_;
};

TEST_F(Takeover, AKilledLeaderIsReplacedAndTrainingGoesOn) {
  StartAll();
  const std::string run = UnderWay();
  cluster_->KillCoordinator();
  AwaitTakeover(run, Clock::Real()->Monotonic(), "leader killed");
  // Who knows both finds the one that leads, however they are ordered.
  for (const std::string& list : {Both(), absl::StrCat(second_, ",", first_)}) {
    ASSERT_OK_AND_ASSIGN(const RunResult got, RunCommand({Binary("tritterctl"), "--coordinator",
                                                          list, "get", "runs", "-o", "name"}));
    EXPECT_TRUE(got.exit.ok()) << got.output;
    EXPECT_THAT(got.output, HasSubstr(run));
  }
  ExpectUndisturbedEnd(run);
  ExpectTakeoverOnRecord();
}

TEST_F(Takeover, AStoppedLeaderIsReplacedAndWritesNothingWhenItWakesUp) {
  StartAll();
  const std::string run = UnderWay();
  cluster_->coordinator()->Signal(SIGSTOP);
  AwaitTakeover(run, Clock::Real()->Monotonic(), "leader stopped");
  cluster_->coordinator()->Signal(SIGCONT);
  const absl::Duration until = Clock::Real()->Monotonic() + kPatience;
  while (!absl::StrContains(Log("coordinator"), "lead_lost") && Clock::Real()->Monotonic() < until)
    Clock::Real()->Sleep(absl::Milliseconds(50));
  EXPECT_THAT(Log("coordinator"),
              testing::AllOf(HasSubstr("leads in term 2, this coordinator led in term 1 and can "
                                       "write nothing more"),
                             HasSubstr("lead_lost")));
  ExpectUndisturbedEnd(run);
  ExpectTakeoverOnRecord();
  EXPECT_FALSE(cluster_->coordinator()->Poll().has_value())
      << "it stands by: " << Log("coordinator");
}

TEST_F(Takeover, ARestartOfTheDatabaseCostsNoStep) {
  StartAll();
  const std::string run = UnderWay();
  server_->Crash();
  Clock::Real()->Sleep(absl::Seconds(2));  // writes are refused meanwhile, the plan is trained
  ASSERT_OK(server_->Run());
  ExpectUndisturbedEnd(run);
  EXPECT_THAT(Events("leader_changed"), testing::IsEmpty()) << "the one that led goes first";
  EXPECT_FALSE(cluster_->coordinator()->Poll().has_value());
  EXPECT_FALSE(standby_->Poll().has_value());
}

}  // namespace
}  // namespace tritter::e2e
