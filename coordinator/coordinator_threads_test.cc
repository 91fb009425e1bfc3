// The coordinator's own concurrency, with plain threads and no gRPC, so that ThreadSanitizer sees
// every hand-over: workers, users and watchers call at once while its own thread decides.
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "coordinator/coordinator.h"
#include "coordinator/store/fault_store.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/testing/coordinator_fixture.h"

namespace tritter {
namespace {

using testing::HasSubstr;

constexpr int64_t kSteps = 40;
constexpr int64_t kTokensOfStep = 2048;  // as FakeAgent reports them

class ThreadsTest : public testing::Test {
 protected:
  ThreadsTest() : store_(&memory_store_) {
    store_.OnAccess([] { std::this_thread::yield(); });  // a disk lets others run
  }

  void SetUp() override {
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
    options.tick = absl::Milliseconds(1);
    options.liveness.stream_grace = absl::Milliseconds(5);
    options.liveness.blame_window = absl::Milliseconds(5);
    options.liveness.heartbeat_timeout = absl::Minutes(5);  // a slow machine is not a silent host
    options.liveness.restart_grace = absl::Minutes(5);
    options.world.settle = absl::ZeroDuration();
    ASSERT_OK_AND_ASSIGN(coordinator_, Coordinator::Start(d, options));
  }

  void TearDown() override {
    ended_ = true;
    for (std::thread& thread : threads_) thread.join();
    coordinator_.reset();
  }

  // A thread that does it again and again until the test ends.
  void Keep(std::function<void()> act) {
    threads_.emplace_back([this, act = std::move(act)] {
      while (!ended_) {
        act();
        std::this_thread::yield();
      }
    });
  }

  std::string Submit(const std::string& name, int64_t workers, const std::string& key = "") {
    v1::SubmitRunRequest request;
    request.set_yaml(RunYaml(name, kSteps, workers, "checkpoint: {every: 10, keep: 2}\n"));
    request.set_idempotency_key(key);
    request.set_base_dir("/");
    const absl::StatusOr<v1::SubmitRunResponse> response = coordinator_->Submit(request);
    EXPECT_OK(response);
    return response.ok() ? response->run().run_id() : "";
  }

  // A worker on a thread of its own; every `life` rounds it is killed and a new process takes its
  // name. 0: it lives on.
  void AddWorker(const std::string& name, int life = 0) {
    struct Life {
      std::unique_ptr<DirectApi> api;
      std::unique_ptr<FakeAgent> agent;
      uint64_t incarnation = 0;
      int rounds = 0;
    };
    auto now = std::make_shared<Life>();
    Keep([this, name, life, now] {
      if (now->agent == nullptr || (life > 0 && ++now->rounds % life == 0)) {
        if (now->agent != nullptr) now->agent->Kill();
        now->api = std::make_unique<DirectApi>(&coordinator_);
        now->agent = std::make_unique<FakeAgent>(now->api.get(), &env_, name, ++now->incarnation);
        EXPECT_OK(now->agent->Connect());
      }
      now->agent->Act();
    });
  }

  v1::Run Get(const std::string& id) {
    const absl::StatusOr<v1::Run> run = coordinator_->Get(id);
    EXPECT_OK(run);
    return run.value_or(v1::Run());
  }

  void AwaitCompletion(const std::string& id) {
    while (Get(id).state() != v1::RUN_STATE_COMPLETED) {
      ASSERT_NE(Get(id).state(), v1::RUN_STATE_FAILED) << Get(id).reason();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // Every step once, in order, and no gap in the events.
  void ExpectWhole(const std::string& id) {
    v1::ListMetricsRequest request;
    request.set_run(id);
    ASSERT_OK_AND_ASSIGN(const v1::ListMetricsResponse curve, coordinator_->ListMetrics(request));
    ASSERT_EQ(curve.steps_size(), kSteps) << id;
    for (int i = 0; i < curve.steps_size(); ++i) EXPECT_EQ(curve.steps(i).step(), i + 1) << id;
    EXPECT_EQ(Get(id).committed_step(), kSteps);
  }

  MemoryEnv env_;
  MemoryStore memory_store_;
  FaultStore store_;
  FakeCatalog catalog_;
  std::unique_ptr<Coordinator> coordinator_;
  std::atomic<bool> ended_ = false;
  std::vector<std::thread> threads_;
};

TEST_F(ThreadsTest, RunsOfManyWorkersLoseNoReportAndNoCheckpoint) {
  for (int i = 0; i < 6; ++i) AddWorker(absl::StrCat("w", i));
  std::vector<std::string> runs;
  for (int i = 0; i < 6; ++i) runs.push_back(Submit(absl::StrCat("run-", i), 1 + i % 3));
  Keep([this, id = runs[0]] {  // queries
    coordinator_->List(100);
    coordinator_->ListWorkers();
    coordinator_->Stats();
    EXPECT_OK(coordinator_->Health());
    EXPECT_OK(coordinator_->ListCheckpoints(id));
    EXPECT_OK(coordinator_->ListEpochs(id, 10));
  });
  for (const std::string& id : runs) AwaitCompletion(id);
  for (const std::string& id : runs) {
    ExpectWhole(id);
    const v1::Run run = Get(id);
    EXPECT_EQ(run.epochs_lost(), 0) << run.reason();
    EXPECT_EQ(run.reported_tokens(), kSteps * kTokensOfStep);  // no update of the record was lost
  }
}

TEST_F(ThreadsTest, RunsEndWholeWhileWorkersAreKilledAndReplaced) {
  for (int i = 0; i < 4; ++i) AddWorker(absl::StrCat("w", i), 150 + 40 * i);
  AddWorker("steady");
  const std::string a = Submit("a", 2), b = Submit("b", 1), c = Submit("c", 2);
  for (const std::string& id : {a, b, c}) AwaitCompletion(id);
  for (const std::string& id : {a, b, c}) ExpectWhole(id);
}

TEST_F(ThreadsTest, AWatcherSeesEveryEventOnceAndInOrder) {
  for (int i = 0; i < 3; ++i) AddWorker(absl::StrCat("w", i));
  const std::string id = Submit("watched", 2);
  std::vector<int64_t> seen, all;
  std::atomic<bool> whole = false;
  std::thread feed([&] {  // of all runs, as `tritterctl events --follow`
    int64_t after = 0;
    while (true) {
      const bool last = whole;
      v1::ListEventsRequest request;
      request.set_after_id(after);
      const absl::StatusOr<v1::ListEventsResponse> events = coordinator_->ListEvents(request);
      if (!events.ok()) break;
      for (const v1::Event& e : events->events()) seen.push_back(after = e.id());
      if (last) break;
    }
  });
  std::thread watch([&] {
    WatchCursor cursor;
    v1::RunUpdate update;
    int64_t event = 0;
    for (bool done = false; !done;) {
      const absl::StatusOr<bool> news =
          coordinator_->Watch(id, absl::Milliseconds(5), &cursor, &update, &done);
      ASSERT_OK(news);
      for (const v1::Event& e : update.events()) {
        EXPECT_GT(e.id(), event);
        event = e.id();
      }
    }
  });
  std::vector<std::string> others;
  for (int i = 0; i < 8; ++i) others.push_back(Submit(absl::StrCat("other-", i), 1));
  for (const std::string& other : others) AwaitCompletion(other);
  AwaitCompletion(id);
  watch.join();
  whole = true;
  feed.join();
  ASSERT_OK_AND_ASSIGN(const v1::ListEventsResponse events, coordinator_->ListEvents({}));
  for (const v1::Event& e : events.events()) {
    if (!seen.empty() && e.id() <= seen.back()) all.push_back(e.id());
  }
  EXPECT_EQ(seen, all);
}

TEST_F(ThreadsTest, OneKeyOfManySubmissionsIsOneRun) {
  std::vector<std::string> ids(6);
  std::vector<std::thread> submit;
  for (std::string& id : ids) submit.emplace_back([&] { id = Submit("run", 1, "key"); });
  for (std::thread& thread : submit) thread.join();
  for (const std::string& id : ids) EXPECT_EQ(id, ids[0]);
  EXPECT_EQ(coordinator_->List(100).runs_size(), 1);
}

TEST_F(ThreadsTest, OneIdOfChangesOfTwoRunsAtTheSameMomentIsAConflictForOne) {
  const std::string runs[] = {Submit("a", 1), Submit("b", 1)};
  for (int i = 0; i < 50; ++i) {
    const std::string request = absl::StrCat("change-", i);
    absl::Status answers[2];
    const auto change = [&](int at) {
      answers[at] = i % 2 == 0 ? coordinator_->Pause(runs[at], request).status()
                               : coordinator_->Resume(runs[at], request).status();
    };
    std::thread other([&] { change(1); });
    change(0);
    other.join();
    const int refused = answers[0].ok() ? 1 : 0;
    EXPECT_OK(answers[1 - refused]);
    EXPECT_THAT(answers[refused], StatusIs(absl::StatusCode::kAlreadyExists,
                                           HasSubstr(absl::StrCat("run ", runs[1 - refused]))));
  }
}

TEST_F(ThreadsTest, PausedResumedAndCancelledWhileTheyTrain) {
  for (int i = 0; i < 4; ++i) AddWorker(absl::StrCat("w", i));
  const std::string paused = Submit("paused", 2), killed = Submit("killed", 1);
  for (int i = 0; i < 10 && Get(paused).state() != v1::RUN_STATE_COMPLETED; ++i) {
    coordinator_->Pause(paused).status().IgnoreError();  // it may be complete by now
    coordinator_->Resume(paused).status().IgnoreError();
  }
  while (Get(killed).step() < 3) std::this_thread::yield();
  coordinator_->Cancel(killed, true).status().IgnoreError();
  AwaitCompletion(paused);
  ExpectWhole(paused);
  EXPECT_EQ(Get(paused).reported_tokens(), kSteps * kTokensOfStep);
  const v1::RunState state = Get(killed).state();
  EXPECT_TRUE(state == v1::RUN_STATE_CANCELLED || state == v1::RUN_STATE_COMPLETED);
}

}  // namespace
}  // namespace tritter
