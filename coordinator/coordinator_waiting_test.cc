// Every cause of waiting, through the coordinator: in what `describe` shows, in an event, and in
// the metric.
#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/coordinator_metrics.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::Contains;
using testing::HasSubstr;

class WaitingTest : public CoordinatorFixture {
 protected:
  WaitingTest() : registry_("coordinator"), metrics_(&registry_) {}
  void SetUp() override { Start(); }

  std::string MetricLine(const std::string& id, const std::string& cause, int value) {
    return absl::StrCat("tritter_run_waiting{cause=\"", cause, "\",run=\"", id, "\"} ", value,
                        "\n");
  }
  std::string Metrics() {
    metrics_.Update(coordinator_->Stats());
    return registry_.Text();
  }
  // Shown and counted now.
  void ExpectShown(const std::string& id, const std::string& cause, const std::string& words) {
    const v1::Run run = Get(id);
    EXPECT_EQ(run.waiting_cause(), cause) << run.reason();
    EXPECT_THAT(run.reason(), HasSubstr(words));
    EXPECT_THAT(Metrics(), HasSubstr(MetricLine(id, cause, 1)));
  }
  void ExpectEvent(const std::string& id, const std::string& words) {
    v1::ListEventsRequest request;
    request.set_run(id);
    ASSERT_OK_AND_ASSIGN(const auto events, coordinator_->ListEvents(request));
    EXPECT_THAT(events.events(), Contains(testing::Truly([&](const v1::Event& e) {
                  return e.kind() == kEventRunWaiting && absl::StrContains(e.message(), words);
                })))
        << words;
  }
  void ExpectWaits(const std::string& id, const std::string& cause, const std::string& words) {
    ExpectShown(id, cause, words);
    ExpectEvent(id, words);
  }
  int64_t Waits(const std::string& id) {  // events
    v1::ListEventsRequest request;
    request.set_run(id);
    const auto events = coordinator_->ListEvents(request);
    if (!events.ok()) return -1;
    return absl::c_count_if(events->events(),
                            [](const v1::Event& e) { return e.kind() == kEventRunWaiting; });
  }
  // A run with one worker and a checkpoint of step 20.
  std::string Trained(FakeAgent** worker) {
    const std::string id = Submit(RunYaml("run", 100, 1));
    *worker = AddWorker("w");
    RoundsUntil([&] { return Get(id).committed_step() == 20; });
    EXPECT_EQ(Get(id).waiting_cause(), "");
    return id;
  }
  std::string Share(const std::string& id) {
    return Get(id).run_dir() + "/checkpoints/step-00000020/share-0-of-1.safetensors";
  }
  static std::function<void(FakeAgent*)> Device(const std::string& device) {
    return [device](FakeAgent* agent) { agent->device = device; };
  }

  Registry registry_;
  CoordinatorMetrics metrics_;
};

TEST_F(WaitingTest, Undecided) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  ExpectShown(id, "undecided", "just submitted");
}

TEST_F(WaitingTest, NoWorkers) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  Rounds(1);
  ExpectWaits(id, "no_workers", "needs 2 workers, none is registered");
}

TEST_F(WaitingTest, TooFewWorkers) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  AddWorker("w");
  Rounds(1);
  ExpectWaits(id, "too_few_workers",
              "needs 2 workers: 1 is free; start 1 more, or lower workers.min to 1");
  EXPECT_THAT(Metrics(), testing::Not(HasSubstr("no_workers"))) << "it never waited for that";
  AddWorker("v");
  RoundsUntil([&] { return Get(id).step() > 0; });
  EXPECT_EQ(Get(id).waiting_cause(), "");
  EXPECT_THAT(Metrics(), HasSubstr(MetricLine(id, "too_few_workers", 0)));
}

TEST_F(WaitingTest, WorkersBusy) {
  const std::string first = Submit(RunYaml("first", 1000, 1));
  AddWorker("w");
  Rounds(5);
  const std::string id = Submit(RunYaml("second", 100, 1));
  Rounds(1);
  ExpectWaits(id, "workers_busy",
              absl::StrCat("needs 1 worker: none is free, w works for run first (", first,
                           "); it can start when w is free"));
  const std::string third = Submit(RunYaml("third", 100, 2));
  Rounds(1);
  ExpectWaits(third, "too_few_workers",
              absl::StrCat("needs 2 workers: none is free, w works for run first (", first,
                           "); with those that work 1 is missing: start 1 more, or lower "
                           "workers.min to 1"));
}

TEST_F(WaitingTest, WorkersLeaving) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Silence(a);
  coordinator_->CloseSession(1);  // w-0's stream
  ASSERT_OK(a->Connect());        // it is back, and still at work for the epoch
  FakeAgent* b = live_[0];
  ASSERT_OK(b->Fail("loss is not finite", false));
  clock_.Advance(absl::Milliseconds(1500));
  ASSERT_OK(apis_[0]->Beat([&] {
    v1::Heartbeat h;
    *h.mutable_worker() = a->Identity();
    h.set_run_id(id);
    h.set_epoch(1);
    return h;
  }()));
  b->Act();
  coordinator_->Tick();  // ends the epoch
  b->Act();
  coordinator_->Tick();
  ExpectWaits(id, "workers_leaving", "w-0 is still leaving run");
}

// Of a version that does not know a key of the run: not the run's fault, and no end of it.
TEST_F(WaitingTest, WorkerTooOld) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* old = AddWorker("w-0");
  AddWorker("w-1");
  RoundsUntil([&] { return !old->idle(); });
  ASSERT_OK(old->CannotRead("run.yaml:9:3: training.foo: unknown key\nand more"));
  Rounds(10);
  EXPECT_EQ(Get(id).epoch(), 1u) << "it was placed on that process again";
  ExpectWaits(id, "worker_too_old",
              "needs 2 workers: 1 is free; w-0 (version 0.1.0) cannot read the run's configuration "
              "(run.yaml:9:3: training.foo: unknown key); update it to version 0.1.0");
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_RUNNING);
  // Another serves it, and so does the next process of that name.
  Kill(old);
  AddWorker("w-0", 2);
  RoundsUntil([&] { return Get(id).epoch() == 2u && Get(id).step() > 0; });
}

TEST_F(WaitingTest, LateWordsOfAnOldProcessSayNothingOfTheNextOne) {
  enum { kFree, kNext, kHeld };
  std::atomic<int> turn = kFree;
  store_.OnAccess([&] {
    int next = kNext;
    if (!turn.compare_exchange_strong(next, kHeld)) return;
    while (turn == kHeld) std::this_thread::yield();
  });
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* old = AddWorker("w-0");
  turn = kNext;
  std::thread change([&] { EXPECT_OK(coordinator_->Resume(id, "change")); });
  while (turn != kHeld) std::this_thread::yield();
  v1::ReportRequest late;
  *late.mutable_worker() = old->Identity();
  late.set_run_id(id);
  late.set_epoch(1);
  late.set_failure("run.yaml:9:3: training.foo: unknown key");
  late.set_spec_unreadable(true);
  absl::Status answer;
  std::thread report([&] { answer = coordinator_->Report(late); });
  // It waits for the run's turn by then, most likely; else it is refused at once.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  Kill(old);
  AddWorker("w-0", 2);
  turn = kFree;
  change.join();
  report.join();
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kFailedPrecondition));
  AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() > 0; });
}

TEST_F(WaitingTest, ManyWorkersThatAreTooOldDoNotUseUpTheRetries) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  for (int i = 0; i < 8; ++i) AddWorker("w-" + std::to_string(i));
  for (int i = 0; i < 8; ++i) {
    FakeAgent* given = nullptr;
    RoundsUntil([&] {
      for (FakeAgent* agent : live_) given = agent->idle() ? given : agent;
      return given != nullptr;
    });
    ASSERT_OK(given->CannotRead("run.yaml:9:3: training.foo: unknown key"));
    Rounds(3);
  }
  Rounds(5);
  EXPECT_EQ(Get(id).waiting_cause(), "worker_too_old");
  AddWorker("w-8");
  RoundsUntil([&] { return Get(id).epoch() == 9u && Get(id).step() > 0; });
}

TEST_F(WaitingTest, WorkersLost) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  AddWorker("w-0");
  Kill(AddWorker("w-1"));
  Rounds(20);
  ExpectShown(id, "workers_lost", "needs 2 workers: 1 is free; w-1 was lost 1.");
  ExpectEvent(id,
              "needs 2 workers: 1 is free; w-1 was lost (its process (pid 100 on host) died or was "
              "cut off); one must come back");
  const int64_t told = Waits(id);
  clock_.Advance(absl::Minutes(4));
  Rounds(1);
  ExpectShown(id, "workers_lost",
              "w-1 was lost 4 min ago (its process (pid 100 on host) died or was cut off)");
  EXPECT_EQ(Waits(id), told) << "an age is no news, in whatever unit";
}

// Events and the store keep what they are told: an age would become untrue.
TEST_F(WaitingTest, ARestartDoesNotTellAgainWhatIsKnown) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  Rounds(5);
  const int64_t told = Waits(id);
  EXPECT_EQ(told, 1);
  Stop();
  Start();
  Rounds(5);
  ExpectShown(id, "no_workers", "needs 1 worker, none is registered");
  EXPECT_EQ(Waits(id), told);
}

TEST_F(WaitingTest, ALossIsToldOnceAndWithoutItsAgeInWhatIsKept) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  AddWorker("w-0");
  FakeAgent* other = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Kill(other);
  RoundsUntil([&] { return absl::StrContains(Get(id).reason(), "1 is free; w-1 was lost"); });
  const std::string words =
      "needs 2 workers: 1 is free; w-1 was lost (its process (pid 100 on host) died or was cut "
      "off); one must come back, or another "
      "be started";
  EXPECT_THAT(
      Get(id).reason(),
      testing::MatchesRegex(
          "needs 2 workers: 1 is free; w-1 was lost [0-9.]+ s ago "
          ".its process .pid 100 on host. died or was cut off.; one must come back, or another be "
          "started"));
  v1::ListEventsRequest request;
  request.set_run(id);
  ASSERT_OK_AND_ASSIGN(const auto events, coordinator_->ListEvents(request));
  EXPECT_EQ(events.events().rbegin()->message(), words);
  ASSERT_OK_AND_ASSIGN(const std::vector<RunRecord> stored, store_.Runs());
  EXPECT_EQ(stored[0].reason, words);
}

TEST_F(WaitingTest, WorkersDraining) {
  AddWorker("w", 1, [](FakeAgent* agent) { agent->draining = true; });
  const std::string id = Submit(RunYaml("run", 100, 1));
  Rounds(1);
  ExpectWaits(id, "workers_draining", "needs 1 worker: none is free; w is draining; start 1 more");
}

TEST_F(WaitingTest, TooLittleMemory) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  AddWorker("w", 1, [](FakeAgent* agent) { agent->memory_bytes = 1 << 20; });
  Rounds(1);
  ExpectWaits(id, "too_little_memory", "w has 1.0 MiB, the run needs ");
}

TEST_F(WaitingTest, WrongDevice) {
  std::string yaml = RunYaml("run", 100, 1);
  yaml.replace(yaml.find("max: 1"), 6, "max: 1, device: cuda");
  const std::string id = Submit(yaml);
  AddWorker("w");
  Rounds(1);
  ExpectWaits(id, "wrong_device", "w is a cpu worker, the run asks for cuda");
}

TEST_F(WaitingTest, MixedDevicesWhereTheRunDoesNotSayThatTheyMayTrainTogether) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  AddWorker("c");
  AddWorker("g", 1, [](FakeAgent* agent) { agent->device = "cuda:0 A"; });
  Rounds(1);
  ExpectWaits(id, "mixed_devices", "say `workers.device: any` to let CPUs and GPUs train together");
  ASSERT_OK(coordinator_->Cancel(id, true));
  std::string yaml = RunYaml("together", 100, 2);
  yaml.replace(yaml.find("max: 2"), 6, "max: 2, device: any");
  const std::string together = Submit(yaml);
  RoundsUntil([&] { return Get(together).state() == v1::RUN_STATE_COMPLETED; });
}

TEST_F(WaitingTest, MixedVersions) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  AddWorker("old", 1, [](FakeAgent* agent) { agent->version = "0.1.0"; });
  AddWorker("new", 1, [](FakeAgent* agent) { agent->version = "0.2.0"; });
  Rounds(1);
  ExpectWaits(id, "mixed_versions", "old is of version 0.1.0, the group of 0.2.0");
  AddWorker("other", 1, [](FakeAgent* agent) { agent->version = "0.2.0"; });
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
}

TEST_F(WaitingTest, Settling) {
  std::string yaml = RunYaml("run", 100, 1);
  yaml.replace(yaml.find("max: 1"), 6, "max: 2");
  const std::string id = Submit(yaml);
  AddWorker("w");
  Rounds(1);
  ExpectWaits(id, "settling", "of up to 2 workers 1 is free; waits 1.9 s for more");
}

TEST_F(WaitingTest, BehindOneOfAHigherPriorityAndBehindAnOlderOne) {
  // Of the highest priority: nobody takes its worker.
  const std::string running = Submit(absl::StrCat("priority: 9\n", RunYaml("running", 1000, 1)));
  AddWorker("w-0");
  RoundsUntil([&] { return Get(running).step() > 0; });
  Submit(absl::StrCat("priority: 5\n", RunYaml("urgent", 1000, 2)));
  const std::string behind = Submit(RunYaml("behind", 1000, 1));
  AddWorker("w-1");
  Rounds(1);
  ExpectWaits(behind, "behind_priority",
              absl::StrCat("waits behind urgent (", Get("urgent").run_id(), ", priority 5)"));
  ASSERT_OK(coordinator_->Cancel("urgent", true));
  ASSERT_OK(coordinator_->Cancel("behind", true));
  clock_.Advance(absl::Milliseconds(10));
  Submit(RunYaml("older", 1000, 2));
  clock_.Advance(absl::Milliseconds(10));
  const std::string younger = Submit(RunYaml("younger", 1000, 1));
  Rounds(1);
  ExpectWaits(younger, "behind_older",
              absl::StrCat("waits behind older (", Get("older").run_id(), ", priority 0)"));
}

TEST_F(WaitingTest, BehindAProjectThatUsesLessOfItsShare) {
  AddWorker("w-0");
  const std::string running = Submit(absl::StrCat("project: p\n", RunYaml("running", 1000, 1)));
  RoundsUntil([&] { return Get(running).step() > 0; });
  EXPECT_EQ(Get(running).project(), "p");
  const std::string older = Submit(absl::StrCat("project: p\n", RunYaml("older", 1000, 1)));
  clock_.Advance(absl::Milliseconds(10));
  const std::string wide = Submit(absl::StrCat("project: q\n", RunYaml("wide", 1000, 2)));
  AddWorker("w-1");
  Rounds(1);
  ExpectWaits(older, "behind_share",
              absl::StrCat("project p uses 1 of 2 workers, its share is 1; wide (", wide,
                           ") of project q, which uses 0, is ahead"));
  ExpectShown(wide, "workers_busy", "w-0 works for run running");
  ASSERT_OK(coordinator_->Cancel("running", true));
  RoundsUntil([&] { return Get(older).step() > 0; });
  EXPECT_EQ(Get(wide).waiting_cause(), "workers_busy") << "neither used any: age decided";
}

TEST_F(WaitingTest, ARunThatIsNotPreemptibleKeepsItsWorkers) {
  const std::string low = Submit(absl::StrCat("preemptible: false\n", RunYaml("low", 100, 1)));
  AddWorker("w");
  RoundsUntil([&] { return Get(low).step() > 10; });
  const std::string id = Submit(absl::StrCat("priority: 5\n", RunYaml("urgent", 100, 1)));
  Rounds(2);
  ExpectWaits(id, "workers_busy",
              absl::StrCat("it can start when w is free; low (", Get("low").run_id(),
                           ", priority 0) is not preemptible"));
  RoundsUntil([&] { return Get(id).step() > 0; });
  EXPECT_EQ(Get(low).state(), v1::RUN_STATE_COMPLETED);
  EXPECT_EQ(Get(low).epoch(), 1u);
}

TEST_F(WaitingTest, Preempting) {
  Submit(RunYaml("low", 1000, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get("low").step() > 10; });
  const std::string id = Submit(absl::StrCat("priority: 5\n", RunYaml("urgent", 1000, 1)));
  coordinator_->Tick();
  ExpectWaits(id, "preempting",
              absl::StrCat("needs 1 worker, gets them soon: low (", Get("low").run_id(),
                           ", priority 0) gives up w after a checkpoint"));
  RoundsUntil([&] { return Get(id).step() > 0; });
}

TEST_F(WaitingTest, RetryDelay) {
  FakeAgent* w = nullptr;
  const std::string id = Trained(&w);
  for (int i = 0; i < 4; ++i) {  // the first after progress
    RoundsUntil([&] { return !w->idle(); });
    ASSERT_OK(w->Fail("out of memory", false));
    RoundsUntil([&] { return w->idle(); });
  }
  Rounds(1);
  ExpectWaits(id, "retry_delay", "tries again in ");
  EXPECT_THAT(Get(id).reason(),
              HasSubstr("(3 epochs in a row made no progress, it gives up after 5)"));
  EXPECT_THAT(Get(id).reason(),
              HasSubstr("the last epoch ended: worker w (rank 0) failed: out of memory"));
}

TEST_F(WaitingTest, Committing) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() == 19; });
  bool seen = false;
  env_.on_rename = [&](const std::string& to) {
    if (seen || !absl::EndsWith(to, "/step-00000020")) return;
    seen = true;  // it becomes a checkpoint: its worker is lost meanwhile
    w->Kill();
    clock_.Advance(absl::Milliseconds(600));
    coordinator_->Tick();
    coordinator_->Tick();
    ExpectWaits(id, "committing", "a checkpoint of its last epoch is being committed");
  };
  RoundsUntil([&] { return seen; }, 20);
  env_.on_rename = nullptr;
}

TEST_F(WaitingTest, Retaining) {
  const std::string id = Submit(RunYaml("run", 100, 1, "checkpoint: {every: 20, keep: 1}\n"));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  while (Get(id).committed_step() < 40) w->Act();
  std::promise<void> seen;
  std::atomic<int> reads = 0;
  env_.on_map = [&](const std::string& path) {
    if (!absl::StrContains(path, "step-00000040") || ++reads > 1) return;
    EXPECT_EQ(seen.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
  };
  options_.background = true;
  Start();
  while (reads == 0) std::this_thread::yield();
  ASSERT_OK(w->Connect());
  ASSERT_OK(w->Fail("out of memory", false));
  while (Get(id).waiting_cause() != "retaining") {
    clock_.Advance(absl::Milliseconds(400));
    coordinator_->Tick();
  }
  ExpectWaits(id, "retaining", "its older checkpoints are being removed");
  seen.set_value();
  Stop();
  env_.on_map = nullptr;
}

TEST_F(WaitingTest, Verifying) {
  FakeAgent* w = nullptr;
  const std::string id = Trained(&w);
  bool seen = false;
  ASSERT_OK(w->Fail("out of memory", false));
  env_.on_map = [&](const std::string& path) {
    if (seen || Get(id).members_size() > 0) return;
    seen = true;
    ExpectWaits(id, "verifying", "reads its checkpoint of step 20 (2 KiB) before it goes on");
  };
  RoundsUntil([&] { return Get(id).epoch() == 2u; }, 50);
  EXPECT_TRUE(seen);
  env_.on_map = nullptr;
}

TEST_F(WaitingTest, CheckpointUnreadable) {
  FakeAgent* w = nullptr;
  const std::string id = Trained(&w);
  const std::string dir = Get(id).run_dir() + "/checkpoints";
  ASSERT_OK(env_.Rename(dir, "/data-dir/elsewhere"));
  ASSERT_OK(w->Fail("input/output error", false));
  Rounds(20);
  ExpectWaits(id, "checkpoint_unreadable", "the checkpoint of step 20 cannot be read now");
}

TEST_F(WaitingTest, CheckpointsDamaged) {
  FakeAgent* w = nullptr;
  const std::string id = Trained(&w);
  ASSERT_OK(WriteFileAtomically(&env_, Share(id), "x"));
  ASSERT_OK(w->Fail("out of memory", false));
  Rounds(20);
  ExpectWaits(id, "checkpoints_damaged", "no checkpoint can be used (step 20: ");
}

TEST_F(WaitingTest, CheckpointsNotTidied) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  env_.list_status = absl::UnavailableError("checkpoints: input/output error");
  AddWorker("w");
  Rounds(2);
  ExpectWaits(id, "checkpoints_not_tidied",
              "its checkpoints cannot be tidied: checkpoints: input/output error");
  env_.list_status = absl::OkStatus();
  RoundsUntil([&] { return Get(id).step() > 0; });
}

TEST_F(WaitingTest, SpecUnreadable) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  ASSERT_OK_AND_ASSIGN(std::vector<RunRecord> runs, memory_store_.Runs());
  runs[0].spec_yaml += "unknown_key: 1\n";
  WriteBatch batch;
  batch.runs = runs;
  ASSERT_OK(memory_store_.Apply(batch));
  Start();
  Rounds(1);
  ExpectWaits(id, "spec_unreadable", "its stored configuration cannot be read: ");
}

TEST_F(WaitingTest, StoreFailing) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  AddWorker("w");
  store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true);
  Rounds(2);
  ExpectShown(id, "store_failing", "its epoch cannot be stored: ");  // no event without a store
  store_.Heal();
  RoundsUntil([&] { return Get(id).step() > 0; });
  EXPECT_EQ(Get(id).waiting_cause(), "");
}

// What could not be said when it was news is said when the store is well again.
TEST_F(WaitingTest, AnEventThatCouldNotBeStoredIsStoredLater) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true);
  Rounds(2);
  ExpectShown(id, "no_workers", "none is registered");
  EXPECT_THAT(EventKinds(id), testing::Not(Contains(kEventRunWaiting)));
  store_.Heal();
  Rounds(2);
  ExpectWaits(id, "no_workers", "none is registered");
}

TEST_F(WaitingTest, ForAnInferenceServerThatIsAway) {
  options_.inference_servers = {"a:1"};
  options_.model_root = "/models";
  absl::Status loaded = absl::UnavailableError("connection refused");
  load_model_ = [&](const std::string&, const std::string&) { return loaded; };
  Start();
  Submit(RunYaml("base", 30, 1, "export: {format: tpack}\n"));
  const std::string id = Submit("job: serve\nof: base\n");
  AddWorker("w");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_DEPLOYING; });
  Rounds(2);
  const std::string words = "server a:1: connection refused; tried again every 5 s";
  ExpectWaits(id, "server_away", words);
  const int64_t events = Waits(id);
  Rounds(200);
  ExpectShown(id, "server_away", words);
  EXPECT_EQ(Waits(id), events) << "told once";
  Start();  // what another coordinator has stored is no news to this one
  Rounds(2);
  ExpectShown(id, "server_away", words);
  loaded = absl::OkStatus();
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).waiting_cause(), "");
}

TEST_F(WaitingTest, ForAStoreThatDoesNotTakeTheExport) {
  const std::string id = Submit(RunYaml("run", 30, 1, "export: {format: tpack}\n"));
  AddWorker("w");
  on_export_ = [&] { store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true); };
  RoundsUntil([&] { return exports_ > 0; });
  Rounds(1);
  ExpectShown(id, "export_not_stored", "this cannot be stored yet");  // without a store no event
  store_.Heal();
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).waiting_cause(), "");
}

TEST_F(WaitingTest, ForAStoreThatDoesNotTakeThatAModelIsServed) {
  options_.inference_servers = {"a:1"};
  options_.model_root = "/models";
  load_model_ = [&](const std::string&, const std::string&) {
    store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true);
    return absl::OkStatus();
  };
  Start();
  Submit(RunYaml("base", 30, 1, "export: {format: tpack}\n"));
  const std::string id = Submit("job: serve\nof: base\n");
  AddWorker("w");
  RoundsUntil([&] { return Get(id).waiting_cause() == "store_failing"; });
  ExpectShown(id, "store_failing", "is served by a:1; this cannot be stored yet");
  load_model_ = [](const std::string&, const std::string&) { return absl::OkStatus(); };
  store_.Heal();
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
}

// Not a cause of waiting, but shown in the same places.
TEST_F(WaitingTest, AStragglerIsNamed) {
  const std::string id = Submit(RunYaml("run", 1000, 2, "checkpoint: {every: 1000}\n"));
  FakeAgent* fast = AddWorker("w-0");
  FakeAgent* slow = AddWorker("w-1");
  fast->seconds_per_sequence = 0.1;
  slow->seconds_per_sequence = 0.25;
  RoundsUntil([&] { return Get(id).step() > 0; });
  Rounds(90);
  EXPECT_THAT(Get(id).reason(), testing::Not(HasSubstr("wait for it"))) << "not yet";
  Rounds(20);
  const std::string words =
      "w-1 takes 2 s to compute its part of a step, the others 0.8 s: all wait for it";
  EXPECT_THAT(Get(id).reason(), HasSubstr(words));
  EXPECT_THAT(EventKinds(id), Contains(kEventStraggler));
  const std::string labels =
      absl::StrCat("tritter_run_straggler{run=\"", id, "\",worker=\"w-1\"} ");
  EXPECT_THAT(Metrics(), HasSubstr(absl::StrCat(labels, "2.5\n")));
  slow->seconds_per_sequence = 0.1;
  Rounds(120);
  EXPECT_THAT(Get(id).reason(), testing::Not(HasSubstr("wait for it")));
  EXPECT_THAT(Metrics(), HasSubstr(absl::StrCat(labels, "0\n")));
}

TEST(WaitCauseName, IsOfItsOwn) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(WaitCause::kStoreFailing); ++i)
    EXPECT_TRUE(names.insert(WaitCauseName(static_cast<WaitCause>(i))).second) << i;
}

TEST_F(WaitingTest, ForARunThatMustBeCompleteFirst) {
  const std::string first = Submit(RunYaml("first", 100, 1));
  const std::string second = Submit(RunYaml("second", 10, 1, "after: [first]\n"));
  FakeAgent* w = AddWorker("w-0");
  AddWorker("w-1");
  RoundsUntil([&] { return Get(first).step() >= 5; });
  ExpectWaits(second, "after_unfinished", "waits for run first (");
  ASSERT_OK(w->Fail("shard truncated", /*permanent=*/true));
  RoundsUntil([&] { return Get(first).state() == v1::RUN_STATE_FAILED; });
  Rounds(1);
  ExpectWaits(second, "after_failed", "which has failed: ");
}

}  // namespace
}  // namespace tritter
