// Workers: when one is lost, when the coordinator itself was away, who has a name, who leaves.
#include <memory>

#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using Code = absl::StatusCode;

class WorkersTest : public CoordinatorFixture {
 protected:
  void SetUp() override { Start(); }
};

TEST_F(WorkersTest, TheBrokenStreamIsNoticedWithinASecond) {
  const std::string id = Submit(RunYaml("run", 1000, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Kill(b);
  Rounds(9);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_TRUE(a->idle());
}

TEST_F(WorkersTest, ASilentWorkerIsLostAfterTheTimeoutAndItsLateWordsAreRefused) {
  const std::string id = Submit(RunYaml("run", 1000, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Silence(b);
  Rounds(45);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  Rounds(10);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_TRUE(a->idle());
  EXPECT_THAT(Get(id).reason(), HasSubstr("(silent for 5 s, pid 100 on host)"));
  b->Act();  // wakes up
  EXPECT_EQ(DetailOf(b->last_error()) ? DetailOf(b->last_error())->reason()
                                      : v1::ErrorDetail::REASON_UNSPECIFIED,
            v1::ErrorDetail::REASON_UNSPECIFIED);  // its session is closed
  EXPECT_OK(b->Connect());
  live_.push_back(b);
  RoundsUntil([&] { return Get(id).epoch() == 2u && Get(id).step() >= 3; });
}

// As after SIGSTOP and SIGCONT of the coordinator, or a pause of its machine.
TEST_F(WorkersTest, ACoordinatorThatWasAwayBlamesNoWorkerForItsOwnSilence) {
  const std::string id = Submit(RunYaml("run", 1000, 2));
  AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  clock_.Advance(absl::Seconds(20));
  coordinator_->Tick();
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  b->Kill();  // its stream breaks, then the coordinator is away again
  clock_.Advance(absl::Seconds(20));
  coordinator_->Tick();
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  ASSERT_OK(b->Connect());
  const int64_t at = Get(id).step();
  RoundsUntil([&] { return Get(id).step() >= at + 5; });
  EXPECT_EQ(Get(id).epoch(), 1u);
  Silence(b);  // and a real loss is still one
  Rounds(60);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
}

// A round of decisions that waits for its disk is no absence: the pulse beats on, heartbeats are
// taken. Whoever was silent meanwhile is lost, and nobody else.
TEST_F(WorkersTest, ASlowDiskExcusesNoSilentWorker) {
  PulseRecord pulse(options_.liveness.own_pause);
  pulse_ = &pulse;
  Start();
  const std::string id = Submit(RunYaml("run", 1000, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Silence(b);
  const auto a_while = [&](bool beats, int seconds) {
    for (int i = 0; i < 10 * seconds; ++i) {
      clock_.Advance(absl::Milliseconds(100));
      if (beats) pulse.Beat(clock_.Monotonic(), clock_.Monotonic());
      a->Act();  // its calls are taken while the tick waits
    }
  };
  a_while(/*beats=*/true, 6);
  coordinator_->Tick();
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_THAT(Get(id).last_failure().cause(), HasSubstr("w-1 lost: silent for 6"));
  EXPECT_EQ(coordinator_->Stats().losses_by_reason.at("silence"), 1) << "w-0 was heard meanwhile";
}

TEST_F(WorkersTest, StaleEpochsAndIncarnationsAreRefusedWithTypedErrors) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* w = AddWorker("w", 1);
  RoundsUntil([&] { return Get(id).step() >= 25; });
  v1::ReportRequest report;
  *report.mutable_worker() = w->Identity();
  report.set_run_id(id);
  report.set_epoch(9);
  absl::Status s = coordinator_->Report(report);
  EXPECT_THAT(s, StatusIs(Code::kFailedPrecondition, HasSubstr("does not exist")));
  report.set_epoch(1);
  ASSERT_OK(w->Fail("NaN in layers.0", false));
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
  s = coordinator_->Report(report);
  ASSERT_THAT(s, StatusIs(Code::kFailedPrecondition, HasSubstr("epoch 1")));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::STALE_EPOCH);
  EXPECT_EQ(DetailOf(s)->current_epoch(), 2u);
  report.mutable_worker()->set_incarnation(77);
  s = coordinator_->Report(report);
  ASSERT_THAT(s, StatusIs(Code::kFailedPrecondition));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::STALE_INCARNATION);
  report.mutable_worker()->set_name("stranger");
  s = coordinator_->Report(report);
  ASSERT_THAT(s, StatusIs(Code::kNotFound));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::UNKNOWN_WORKER);
}

TEST_F(WorkersTest, ANewProcessOfTheSameNameSupersedesTheOld) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* old = AddWorker("w", 1);
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  Kill(old);
  FakeAgent* fresh = AddWorker("w", 2);  // at once: nobody has called the old one lost yet
  coordinator_->Tick();
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_THAT(
      Get(id).last_failure().cause(),
      HasSubstr("worker w lost: its process (pid 100 on host) died or was cut off, a new one "
                "(pid 100 on host) took its place"));
  RoundsUntil([&] { return !fresh->assignments().empty(); });
  EXPECT_EQ(fresh->assignments()[0], std::make_pair(uint64_t{2}, int64_t{20}));
  const absl::Status s = old->Connect();  // it lived on, behind a broken connection
  ASSERT_THAT(s, StatusIs(Code::kFailedPrecondition,
                          HasSubstr("worker w is another process now (pid 100 on host")));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::STALE_INCARNATION);
}

// Two hosts of one name, say: the one that works is not disturbed.
TEST_F(WorkersTest, ANameThatIsInUseIsRefused) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* first = AddWorker("w", 1);
  RoundsUntil([&] { return Get(id).step() >= 3; });
  apis_.push_back(std::make_unique<DirectApi>(&coordinator_));
  FakeAgent second(apis_.back().get(), &env_, "w", 2);
  absl::Status s = second.Connect();
  ASSERT_THAT(s, StatusIs(Code::kFailedPrecondition,
                          HasSubstr("a worker named w (pid 100 on host) is connected; give this "
                                    "one another --name")));
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::NAME_IN_USE);
  Rounds(100);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  EXPECT_FALSE(second.Connect().ok());
  first->draining = true;  // its name will be free
  first->Act();
  EXPECT_THAT(second.Connect(), StatusIs(Code::kUnavailable, HasSubstr("told to leave")));
  first->draining = false;
  first->Act();
  // A host that vanished: its connection stays open until it was silent for too long.
  Silence(first);
  for (int i = 0; i < 49; ++i) {
    Rounds(1);
    EXPECT_FALSE(second.Connect().ok()) << i;
  }
  Rounds(3);
  EXPECT_OK(second.Connect());
}

// Two hosts of one name, and the connection of the one that works breaks for a moment: the other
// has no better chance in that moment. Who is started in its place has, see above.
TEST_F(WorkersTest, ABrokenStreamIsNoChanceForWhoWasRefused) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* first = AddWorker("w", 1);
  RoundsUntil([&] { return Get(id).step() >= 3; });
  apis_.push_back(std::make_unique<DirectApi>(&coordinator_));
  FakeAgent second(apis_.back().get(), &env_, "w", 2),
      started_again(apis_.back().get(), &env_, "w", 3);
  EXPECT_THAT(second.Connect(), StatusIs(Code::kFailedPrecondition));
  first->Kill();
  EXPECT_THAT(second.Connect(), StatusIs(Code::kUnavailable, HasSubstr("may come back")));
  EXPECT_THAT(started_again.Connect(), StatusIs(Code::kUnavailable));
  ASSERT_OK(first->Connect());
  Rounds(10);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  Kill(first);  // for good
  Rounds(6);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_OK(second.Connect());
}

// What a dead process said may be on its way for long; a living one stays who it is.
TEST_F(WorkersTest, ALateRegistrationReplacesNobody) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* dead = AddWorker("w", 1);
  RoundsUntil([&] { return Get(id).step() >= 3; });
  Kill(dead);
  FakeAgent* lives = AddWorker("w", 2);
  RoundsUntil([&] { return Get(id).epoch() == 2u && Get(id).step() >= 3; });
  const auto late = [&](uint64_t incarnation) {
    v1::RegisterRequest request;
    request.mutable_worker()->set_name("w");
    request.mutable_worker()->set_incarnation(incarnation);
    request.set_device("cpu test x1");
    return coordinator_->Register(request).status();
  };
  EXPECT_EQ(DetailOf(late(1))->reason(), v1::ErrorDetail::STALE_INCARNATION);
  EXPECT_EQ(DetailOf(late(77))->reason(), v1::ErrorDetail::NAME_IN_USE);
  lives->Kill();  // its stream breaks, for a moment
  EXPECT_EQ(DetailOf(late(1))->reason(), v1::ErrorDetail::STALE_INCARNATION);
  EXPECT_EQ(DetailOf(late(77))->reason(), v1::ErrorDetail::NAME_IN_USE);
  ASSERT_OK(lives->Connect());
  Rounds(100);
  EXPECT_EQ(Get(id).epoch(), 2u);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
}

// Its connection breaks and comes back, while another process has asked for the name in between.
TEST_F(WorkersTest, WhoOpensItsSessionFirstKeepsTheName) {
  FakeAgent* first = AddWorker("w", 1);
  apis_.push_back(std::make_unique<DirectApi>(&coordinator_));
  FakeAgent second(apis_.back().get(), &env_, "w", 2);
  first->Kill();
  v1::RegisterRequest request;
  *request.mutable_worker() = second.Identity();
  ASSERT_OK(coordinator_->Register(request));
  ASSERT_OK(first->Connect());
  v1::Heartbeat hello;
  *hello.mutable_worker() = second.Identity();
  const absl::Status s =
      coordinator_->OpenSession(hello, std::make_shared<RecordingSink>()).status();
  ASSERT_TRUE(DetailOf(s).has_value()) << s;
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::NAME_IN_USE);
  first->Kill();
  EXPECT_THAT(second.Connect(), StatusIs(Code::kUnavailable, HasSubstr("may come back")));
  Rounds(6);
  ASSERT_OK(second.Connect());
  EXPECT_EQ(DetailOf(first->Connect())->reason(), v1::ErrorDetail::STALE_INCARNATION);
}

TEST_F(WorkersTest, AWorkerThatLeavesAsItWasToldIsNoLoss) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* w = AddWorker("w");
  FakeAgent* idle = AddWorker("x");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  FakeAgent* leaves = w->idle() ? idle : w;
  leaves->draining = true;
  RoundsUntil([&] { return leaves->idle() && Get(id).epoch() == 2u; });
  Kill(leaves);
  Rounds(20);
  std::vector<std::string> kinds, words;
  v1::ListEventsRequest all;
  ASSERT_OK_AND_ASSIGN(const v1::ListEventsResponse events, coordinator_->ListEvents(all));
  for (const v1::Event& e : events.events()) {
    kinds.push_back(e.kind());
    words.push_back(e.message());
  }
  EXPECT_THAT(kinds, Contains(kEventWorkerLeft));
  EXPECT_THAT(kinds, Not(Contains(kEventWorkerLost)));
  EXPECT_THAT(words, Contains("worker w left, as it was told to"));
  EXPECT_THAT(words,
              Contains(testing::MatchesRegex(
                  "epoch 1 stopped after step [0-9]+, no step is lost: worker w leaves, as it was "
                  "told to .SIGTERM or Ctrl-C.; the run goes on when it has 1 worker")));
  kinds = EventKinds(id);
  EXPECT_THAT(kinds, Contains(kEventEpochStopped));
  EXPECT_THAT(kinds, Not(Contains("epoch_completed"))) << "nothing is";
  EXPECT_THAT(kinds, Contains(kEventWorkerLeft)) << "of the run that it trained";
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  EXPECT_TRUE(coordinator_->Stats().losses_by_reason.empty());
  EXPECT_EQ(coordinator_->Stats().workers_by_state["left"], 1);
  // One that dies in its epoch, leaving or not, is lost.
  FakeAgent* other = leaves == w ? idle : w;
  other->draining = true;
  other->Act();
  Kill(other);
  Rounds(20);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_EQ(coordinator_->Stats().losses_by_reason.at("stream"), 1);
  EXPECT_THAT(Get(id).reason(), HasSubstr("w left "));
}
// While one run's reason is written, and the lock given up, another process takes the place of a
// worker that was chosen for the next run.
TEST_F(WorkersTest, NoEpochIsFormedOfAProcessThatIsAnotherByNow) {
  FakeAgent* w = AddWorker("w");
  const std::string first = Submit(RunYaml("first", 100, 2));
  Rounds(1);
  const std::string second = Submit(RunYaml("second", 100, 1));
  bool replaced = false;
  const auto look = [&] {
    if (replaced || Get(first).waiting_cause() != "too_little_memory") return;
    replaced = true;
    w->Kill();
    AddWorker("w", 2, [](FakeAgent* a) { a->device = "cuda:0 H100"; });
  };
  AddWorker("x", 1, [](FakeAgent* a) { a->memory_bytes = 1; });  // news for the first run's reason
  store_.OnAccess(look);
  Rounds(1);
  store_.OnAccess(nullptr);
  ASSERT_TRUE(replaced);
  EXPECT_EQ(Get(second).epoch(), 0u) << "that is decided anew, with what it is now";
  Rounds(1);
  EXPECT_EQ(Get(second).epoch(), 1u);
  EXPECT_EQ(Get(second).epochs_lost(), 0);
}

// What a worker said of itself is not stored. Its epoch goes on while it says it again.
TEST_F(WorkersTest, AfterARestartWhoIsAwaitedRegistersFirst) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Stop();
  Start();
  v1::Heartbeat hello;
  *hello.mutable_worker() = w->Identity();
  hello.set_run_id(id);
  hello.set_epoch(1);
  const absl::Status s =
      coordinator_->OpenSession(hello, std::make_shared<RecordingSink>()).status();
  ASSERT_TRUE(DetailOf(s).has_value()) << s;
  EXPECT_EQ(DetailOf(s)->reason(), v1::ErrorDetail::UNKNOWN_WORKER);
  ASSERT_OK(w->Connect());
  Rounds(5);
  const v1::ListWorkersResponse workers = coordinator_->ListWorkers();
  ASSERT_EQ(workers.workers_size(), 1);
  EXPECT_EQ(workers.workers(0).host(), "host");
  EXPECT_EQ(workers.workers(0).threads(), 1);
  EXPECT_EQ(Get(id).epoch(), 1u);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  EXPECT_GE(Get(id).step(), 9) << "it trained on";
}

// Its registration may be lost on the way; what it trains meanwhile shows that it lives.
TEST_F(WorkersTest, AnAwaitedMemberThatCallsIsNotLost) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Stop();
  Start();
  v1::ReportRequest report;
  *report.mutable_worker() = w->Identity();
  report.set_run_id(id);
  report.set_epoch(1);
  for (int seconds = 0; seconds < 30; ++seconds) {
    clock_.Advance(absl::Seconds(1));
    ASSERT_OK(coordinator_->Report(report));
    coordinator_->Tick();
  }
  // Its answer may be lost too: then its stream is opened one attempt later.
  v1::RegisterRequest registration;
  *registration.mutable_worker() = w->Identity();
  clock_.Advance(absl::Seconds(9));
  ASSERT_OK(coordinator_->Register(registration));
  clock_.Advance(absl::Seconds(9));
  coordinator_->Tick();
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  for (int seconds = 0; seconds < 11; ++seconds) {
    clock_.Advance(absl::Seconds(1));
    coordinator_->Tick();
  }
  EXPECT_EQ(Get(id).epochs_lost(), 1);
}

// Its connection is gone, and nobody knows yet whether for good: it is no worker that is
// connecting.
TEST_F(WorkersTest, WhoHasJustLeftIsDraining) {
  FakeAgent* w = AddWorker("w");
  const std::string id = Submit(RunYaml("run", 100, 1));
  w->draining = true;
  w->Act();
  w->Kill();
  coordinator_->Tick();
  EXPECT_EQ(Get(id).waiting_cause(), "workers_draining");
  EXPECT_THAT(Get(id).reason(), HasSubstr("w is draining"));
}

}  // namespace
}  // namespace tritter
