#include "worker/agent.h"

#include <atomic>
#include <memory>
#include <thread>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "worker/testing/fake_coordinator_link.h"
#include "worker/testing/fake_epoch_parts.h"

namespace tritter {
namespace {

constexpr char kSpec[] = R"(name: test
model: {preset: nano}
data: {sources: [{name: text, shards: /shards/text}]}
training: {steps: 12, sequence_length: 8, global_batch: 4}
)";

// A step that stays where it is until it is let go; the collective's abort does not help it.
class Gate {
 public:
  void Enter() {
    MutexLock lock(&mu_);
    entered_ = true;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(&mu_);
  }
  void AwaitEntered() {
    MutexLock lock(&mu_);
    while (!entered_) changed_.Wait(&mu_);
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool entered_ GUARDED_BY(mu_) = false;
  bool open_ GUARDED_BY(mu_) = false;
};

class WorkerAgentTest : public testing::Test {
 protected:
  WorkerAgentTest() {
    EXPECT_OK(env_.CreateDirs("/runs/run-1/checkpoints"));  // as the coordinator makes them
    Build(absl::Seconds(60));
  }
  void Build(absl::Duration end_limit, absl::Duration hold_state = kHoldState,
             FakeCoordinatorLink* link = nullptr) {
    WorkerAgent::Options options;
    options.epoch.parts = &parts_;
    options.epoch.link = link != nullptr ? link : &link_;
    options.epoch.env = &env_;
    options.epoch.clock = Clock::Real();
    options.epoch.request_prefix = "w";
    options.epoch.backoff = {absl::Milliseconds(1), absl::Milliseconds(2)};
    options.epoch.report_interval = absl::Milliseconds(1);
    options.epoch.ended_flush_limit = absl::Milliseconds(1);
    options.end_limit = end_limit;
    options.hold_state = hold_state;
    options.on_news = [this] { ++news_; };
    options.exit_process = [this](int code, const std::string&) {
      exit_code_ = code;
      gate_.Open();
    };
    options.on_end = [this](const std::string&, bool name_in_use) { superseded_ = !name_in_use; };
    agent_ = std::make_unique<WorkerAgent>(std::move(options));
  }
  static Assignment Order(uint64_t epoch) {
    Assignment a;
    a.id = {"run-1", epoch};
    a.spec_yaml = kSpec;
    a.run_dir = "/runs/run-1";
    return a;
  }
  // Trains forever at step 2 of the first epoch, or until the epoch is ended.
  void HoldAtStepTwo() {
    parts_.on_step = [this](int64_t step) {
      if (step == 2) gate_.Enter();
      return absl::OkStatus();
    };
  }

  MemoryEnv env_;
  FakeEpochParts parts_;
  FakeCoordinatorLink link_{{}};
  Gate gate_;
  std::atomic<int> exit_code_{-1};
  std::atomic<bool> superseded_{false};
  std::atomic<int> news_{0};
  std::unique_ptr<WorkerAgent> agent_;
};

TEST_F(WorkerAgentTest, IsIdleUntilItIsAssignedAndAfterTheEpoch) {
  EXPECT_EQ(agent_->Heartbeat().state, "idle");
  HoldAtStepTwo();
  agent_->OnAssignment(Order(1));
  gate_.AwaitEntered();
  const HeartbeatState busy = agent_->Heartbeat();
  EXPECT_EQ(busy.id, (EpochId{"run-1", 1}));
  EXPECT_EQ(busy.state, "training");
  EXPECT_EQ(busy.step, 2);
  gate_.Open();
  ASSERT_TRUE(agent_->Drain(absl::Seconds(60)));
  EXPECT_EQ(agent_->Heartbeat().id.run_id, "");
  EXPECT_EQ(parts_.steps_executed(), 12);
}

TEST_F(WorkerAgentTest, RepeatedAndOlderAssignmentsChangeNothing) {
  HoldAtStepTwo();
  agent_->OnAssignment(Order(5));
  gate_.AwaitEntered();
  agent_->OnAssignment(Order(5));
  agent_->OnAssignment(Order(4));
  EXPECT_EQ(agent_->Heartbeat().id.epoch, 5u);
  agent_->OnEndEpoch({"run-1", 4}, "an old order that comes late");
  EXPECT_EQ(agent_->Heartbeat().id.epoch, 5u);
  gate_.Open();
  EXPECT_TRUE(agent_->Drain(absl::Seconds(60)));
  EXPECT_EQ(parts_.steps_executed(), 12);
}

TEST_F(WorkerAgentTest, AssignmentThatComesAfterItsEndIsIgnored) {
  agent_->OnEndEpoch({"run-1", 2}, "worker-b was lost");
  agent_->OnAssignment(Order(2));
  EXPECT_EQ(agent_->Heartbeat().state, "idle");
}

TEST_F(WorkerAgentTest, EndEpochLeavesItAndTheNextOneIsTaken) {
  link_.GoAway();
  agent_->OnAssignment(Order(1));
  link_.AwaitRefusals(2);
  agent_->OnEndEpoch({"run-1", 1}, "worker-b was lost");
  EXPECT_EQ(agent_->Heartbeat().state, "idle");
  link_.Return();
  agent_->OnAssignment(Order(2));
  EXPECT_TRUE(agent_->Drain(absl::Seconds(60)));
  EXPECT_EQ(parts_.steps_executed(), 12);
  EXPECT_EQ(exit_code_, -1);
}

TEST_F(WorkerAgentTest, NewerAssignmentReplacesTheEpochAtWork) {
  link_.GoAway();
  agent_->OnAssignment(Order(1));
  link_.AwaitRefusals(2);
  link_.Return();
  agent_->OnAssignment(Order(2));
  EXPECT_EQ(agent_->Heartbeat().id.epoch, 2u);
  EXPECT_TRUE(agent_->Drain(absl::Seconds(60)));
}

TEST_F(WorkerAgentTest, ProcessAsksForARestartWhenTrainingDoesNotLeave) {
  Build(absl::Milliseconds(20));
  HoldAtStepTwo();
  agent_->OnAssignment(Order(1));
  gate_.AwaitEntered();
  agent_->OnEndEpoch({"run-1", 1}, "worker-b was lost");
  EXPECT_EQ(exit_code_, kExitRestart);
}

TEST_F(WorkerAgentTest, HeartbeatNamesTheEpochUntilTrainingHasLeftIt) {
  HoldAtStepTwo();
  agent_->OnAssignment(Order(1));
  gate_.AwaitEntered();
  std::thread session([&] { agent_->OnEndEpoch({"run-1", 1}, "worker-b was lost"); });
  HeartbeatState heartbeat = agent_->Heartbeat();
  while (heartbeat.state == "training") heartbeat = agent_->Heartbeat();
  EXPECT_EQ(heartbeat.state, "leaving");
  EXPECT_EQ(heartbeat.id, (EpochId{"run-1", 1}));
  EXPECT_EQ(heartbeat.step, 2);
  gate_.Open();
  session.join();
  EXPECT_EQ(agent_->Heartbeat().state, "idle");
  EXPECT_EQ(agent_->Heartbeat().id.run_id, "");
}

TEST_F(WorkerAgentTest, ALostPeersSurvivorHoldsItsStateAndGoesOnFromIt) {
  HoldAtStepTwo();
  agent_->OnAssignment(Order(1));
  gate_.AwaitEntered();
  EXPECT_FALSE(agent_->Heartbeat().held.has_value()) << "it is at work";
  std::thread session([&] { agent_->OnEndEpoch({"run-1", 1}, "worker-b was lost"); });
  while (agent_->Heartbeat().state == "training") std::this_thread::yield();
  gate_.Open();
  session.join();
  HeartbeatState heartbeat = agent_->Heartbeat();
  EXPECT_EQ(heartbeat.id.run_id, "");
  ASSERT_TRUE(heartbeat.held.has_value());
  EXPECT_EQ(heartbeat.held->id, (EpochId{"run-1", 1}));
  EXPECT_EQ(heartbeat.held->step, 2);
  EXPECT_EQ(parts_.trainers_alive(), 1);

  Assignment next = Order(2);
  next.start_step = 2;
  next.from_memory = true;
  next.state_epoch = 1;
  agent_->OnAssignment(next);
  EXPECT_FALSE(agent_->Heartbeat().held.has_value());
  ASSERT_TRUE(agent_->Drain(absl::Seconds(60)));
  EXPECT_EQ(parts_.trainers_made(), 1);
}

TEST_F(WorkerAgentTest, ACheckpointThatIsSlowToWriteHoldsUpNoOtherEpoch) {
  FakeCoordinatorLink link({.checkpoints = {{2, "e1"}, {4, "e1"}}});
  Build(absl::Seconds(60), kHoldState, &link);
  parts_.on_write = [this] { gate_.Enter(); };
  agent_->OnAssignment(Order(1));
  gate_.AwaitEntered();
  // The next checkpoint waits for the one before.
  while (agent_->Heartbeat().step < 4) std::this_thread::yield();
  agent_->OnEndEpoch({"run-1", 1}, "worker-b was lost");
  const HeartbeatState heartbeat = agent_->Heartbeat();
  EXPECT_EQ(heartbeat.state, "idle");
  ASSERT_TRUE(heartbeat.held.has_value());
  EXPECT_EQ(heartbeat.held->step, 4);
  EXPECT_EQ(exit_code_, -1);
  gate_.Open();
  agent_.reset();  // waits for the writer
  EXPECT_TRUE(link.commits().empty());
}

TEST_F(WorkerAgentTest, AHeldStateIsGivenUpForAnotherRunAndAfterAWhile) {
  for (const bool other_run : {true, false}) {
    Build(absl::Seconds(60), other_run ? kHoldState : absl::ZeroDuration());
    link_.EndWhenYielded(true);
    parts_.on_step = [this](int64_t) {
      agent_->OnYield({"run-1", 1}, "pause asked for");
      return absl::OkStatus();
    };
    news_ = 0;
    agent_->OnAssignment(Order(1));
    while (news_ == 0) std::this_thread::yield();
    parts_.on_step = nullptr;
    EXPECT_EQ(parts_.trainers_alive(), 1);
    EXPECT_EQ(agent_->Heartbeat().held.has_value(), other_run);
    if (other_run) {
      ASSERT_EQ(agent_->Heartbeat().held->step, 1);
      Assignment other = Order(1);
      other.id.run_id = "run-2";
      agent_->OnAssignment(other);
      while (news_ == 1) std::this_thread::yield();
      EXPECT_FALSE(agent_->Heartbeat().held.has_value()) << "that run is complete";
      EXPECT_EQ(parts_.trainers_made(), 2);
    }
    EXPECT_EQ(parts_.trainers_alive(), 0);
  }
}

TEST_F(WorkerAgentTest, ALeavingWorkerStopsAfterTheStepUnderWay) {
  link_.EndWhenYielded(true);
  HoldAtStepTwo();
  agent_->OnAssignment(Order(1));
  gate_.AwaitEntered();
  EXPECT_FALSE(agent_->Drain(absl::ZeroDuration()));
  EXPECT_EQ(agent_->Heartbeat().state, "draining");
  gate_.Open();
  EXPECT_TRUE(agent_->Drain(absl::Seconds(60)));
  EXPECT_EQ(link_.yielded_at(), std::vector<int64_t>{3});
  EXPECT_EQ(parts_.steps_executed(), 3);
  const HeartbeatState heartbeat = agent_->Heartbeat();
  EXPECT_TRUE(heartbeat.draining);
  EXPECT_EQ(heartbeat.held->step, 3);
}

TEST_F(WorkerAgentTest, AYieldOfAnotherEpochChangesNothing) {
  HoldAtStepTwo();
  agent_->OnAssignment(Order(5));
  gate_.AwaitEntered();
  agent_->OnYield({"run-1", 4}, "an old order that comes late");
  agent_->OnYield({"run-2", 5}, "another run's");
  gate_.Open();
  while (news_ == 0) std::this_thread::yield();
  EXPECT_TRUE(link_.yielded_at().empty());
  EXPECT_EQ(parts_.steps_executed(), 12);
}

TEST_F(WorkerAgentTest, DrainingTakesNoAssignmentAndSaysSo) {
  EXPECT_TRUE(agent_->Drain(absl::ZeroDuration()));
  EXPECT_EQ(agent_->Heartbeat().state, "draining");
  EXPECT_TRUE(agent_->Heartbeat().draining);
  agent_->OnAssignment(Order(1));
  EXPECT_EQ(agent_->Heartbeat().id.run_id, "");
}

TEST_F(WorkerAgentTest, DrainGivesUpAfterItsLimit) {
  HoldAtStepTwo();
  agent_->OnAssignment(Order(1));
  gate_.AwaitEntered();
  EXPECT_FALSE(agent_->Drain(absl::Milliseconds(5)));
  gate_.Open();
  agent_->Shutdown("the worker ends");
}

TEST_F(WorkerAgentTest, SupersededEndsTheWork) {
  link_.GoAway();
  agent_->OnAssignment(Order(1));
  link_.AwaitRefusals(1);
  agent_->OnSuperseded("incarnation 7 is newer");
  EXPECT_TRUE(superseded_);
  EXPECT_EQ(agent_->Heartbeat().id.run_id, "");
}

}  // namespace
}  // namespace tritter
