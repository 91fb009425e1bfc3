#include "tritterctl/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "proto/event_kinds.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_client.h"
#include "tritterctl/testing/demo_run.h"
#include "tritterctl/testing/fake_coordinator_service.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class WatchTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Run> Watch(const WatchOptions& options, const std::string& run = "demo") {
    RunClient client(coordinator_.address());
    ProgressPrinter progress(Clock::Real(), /*quiet=*/true);
    return WatchToEnd(&client, Clock::Real(), run, &progress, options);
  }
  // On stderr by a printer that is not on a terminal.
  std::string Printed(const WatchOptions& options = WatchOptions()) {
    ::testing::internal::CaptureStderr();
    {
      RunClient client(coordinator_.address());
      ProgressPrinter progress(Clock::Real(), /*quiet=*/false, /*terminal=*/false,
                               absl::ZeroDuration());
      EXPECT_OK(WatchToEnd(&client, Clock::Real(), "demo", &progress, options));
    }
    return ::testing::internal::GetCapturedStderr();
  }
  v1::Run Ended(v1::RunState state) {
    v1::Run run = DemoRun();
    run.set_state(state);
    return run;
  }
  FakeCoordinator coordinator_;
};

TEST_F(WatchTest, GivesTheRunOnceItHasEnded) {
  WatchOptions options;
  options.tick = [&] {
    if (coordinator_.watches() > 0) coordinator_.SetRun(Ended(v1::RUN_STATE_FAILED));
    return absl::OkStatus();
  };
  ASSERT_OK_AND_ASSIGN(const v1::Run run, Watch(options));
  EXPECT_EQ(run.state(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(RunExitCode(run), kExitFailed);
  EXPECT_EQ(RunExitCode(Ended(v1::RUN_STATE_COMPLETED)), kExitOk);
}

TEST_F(WatchTest, ACoordinatorThatIsStartedAgainIsFoundAgain) {
  int ticks = 0;
  WatchOptions options;
  options.tick = [&] {
    if (coordinator_.watches() == 1 && ticks == 0) {
      coordinator_.Stop();
      ++ticks;
    } else if (ticks > 0 && ++ticks == 4) {
      coordinator_.Start();
    } else if (coordinator_.watches() == 2) {
      coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
    }
    return absl::OkStatus();
  };
  ASSERT_OK_AND_ASSIGN(const v1::Run run, Watch(options));
  EXPECT_EQ(run.state(), v1::RUN_STATE_COMPLETED);
  EXPECT_EQ(coordinator_.watches(), 2);
}

TEST_F(WatchTest, ACoordinatorThatStaysAwayIsUnavailable) {
  coordinator_.Stop();
  WatchOptions options;
  options.unreachable_limit = absl::ZeroDuration();
  EXPECT_THAT(Watch(options), StatusIs(absl::StatusCode::kUnavailable));
}

v1::Event MakeEvent(int64_t id, const std::string& kind, const std::string& message) {
  v1::Event event;
  event.set_id(id);
  event.set_kind(kind);
  event.set_message(message);
  return event;
}

TEST_F(WatchTest, TellsWhoWasLostFromWhereItGoesOnAndWhatIsTrainedAgainInALineEach) {
  coordinator_.SetEvents(
      {MakeEvent(1, kEventWorkerLost, "worker w-1 lost: stream broken"),
       MakeEvent(2, kEventWorkerLost, "worker w-0 lost: stream broken"),
       MakeEvent(3, kEventEpochLost, "epoch 1 ended: worker w-1 lost: stream broken"),
       MakeEvent(4, kEventRunWaiting,
                 "needs 2 workers, none is registered; the last epoch ended: worker w-1 lost: "
                 "stream broken"),
       MakeEvent(5, kEventEpochFormed, "epoch 2 formed of w-0 trains from step 20"),
       MakeEvent(6, kEventStepsRepeated, "trains 3 steps again"),
       MakeEvent(7, kEventCheckpointCommitted, "checkpoint of step 40"),
       MakeEvent(8, kEventEpochLost, "epoch 2 ended: worker w-0 (rank 0) failed: no memory")});
  coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
  ::testing::internal::CaptureStderr();
  ASSERT_OK(Watch(WatchOptions()));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "worker w-1 lost: stream broken\n"
            "worker w-0 lost: stream broken\n"
            "waiting: needs 2 workers, none is registered\n"
            "epoch 2 formed of w-0 trains from step 20\n"
            "trains 3 steps again\n"
            "epoch 2 ended: worker w-0 (rank 0) failed: no memory\n");
}

TEST_F(WatchTest, AFailureIsToldByTheAnswerAlone) {
  coordinator_.SetEvents(
      {MakeEvent(1, kEventEpochLost, "epoch 1 ended: worker w-0 (rank 0) failed: no memory"),
       MakeEvent(2, kEventRunFailed, "worker w-0 (rank 0) failed: no memory")});
  v1::Run failed = Ended(v1::RUN_STATE_FAILED);
  failed.set_reason("worker w-0 (rank 0) failed: no memory");
  coordinator_.SetRun(failed);
  EXPECT_EQ(Printed(), "demo 40/100 40% loss 1.623 held-out 2.31 bits/byte\n");
}

TEST_F(WatchTest, ACompletionIsToldByTheAnswerAlone) {
  coordinator_.SetEvents({MakeEvent(1, kEventRunCompleted, "trained 100 steps")});
  v1::Run completed = Ended(v1::RUN_STATE_COMPLETED);
  completed.set_reason("trained 100 steps");
  coordinator_.SetRun(completed);
  EXPECT_THAT(Printed(), Not(HasSubstr("trained 100 steps")));
}

TEST_F(WatchTest, TheLineLeavesOutWhatHasBeenTold) {
  v1::Run run = DemoRun();
  run.clear_members();
  run.set_state(v1::RUN_STATE_QUEUED);
  run.set_reason("needs 2 workers: 1 is free");
  coordinator_.SetEvents({MakeEvent(1, kEventRunWaiting, "needs 2 workers: 1 is free")});
  coordinator_.SetRun(run);
  WatchOptions options;
  options.tick = [&] {
    if (coordinator_.watches() > 0) coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
    return absl::OkStatus();
  };
  EXPECT_THAT(Printed(options),
              StartsWith("waiting: needs 2 workers: 1 is free\n"
                         "demo 40/100 40% loss 1.623 held-out 2.31 bits/byte queued\n"));
}

TEST_F(WatchTest, TellsWhyAnEpochStoppedAndThatTheRunWasPausedAndResumed) {
  const std::string stopped = "epoch 1 stopped after step 9, no step is lost: w-1 leaves";
  coordinator_.SetEvents({MakeEvent(1, kEventEpochStopped, stopped),
                          MakeEvent(2, kEventRunPausing, "pause asked for at step 9"),
                          MakeEvent(3, kEventRunPaused, "paused at step 9"),
                          MakeEvent(4, kEventRunResumed, "resumed at step 9")});
  coordinator_.SetRun(DemoRun());
  WatchOptions options;
  options.tick = [&] {
    if (coordinator_.watches() > 0) coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
    return absl::OkStatus();
  };
  EXPECT_THAT(Printed(options), StartsWith(stopped + "\n"
                                                     "run pausing: pause asked for at step 9\n"
                                                     "run paused at step 9\n"
                                                     "run resumed at step 9\n"));
}

// What a run was at under workers that are gone says nothing of those that are being started.
TEST_F(WatchTest, OfARunThatBeginsNothingIsShownUntilItsWorkersReport) {
  WatchOptions options;
  options.begins = true;
  options.tick = [&] {
    v1::Run run = coordinator_.run();
    run.set_epoch(3);
    run.set_step(60);
    if (coordinator_.watches() > 0 && run.state() == v1::RUN_STATE_RUNNING) {
      run.set_state(v1::RUN_STATE_COMPLETED);
      coordinator_.SetRun(run);
    }
    return absl::OkStatus();
  };
  EXPECT_THAT(Printed(options), AllOf(HasSubstr("60/100"), Not(HasSubstr("40/100"))));
}

// Its words stand in place of the coordinator's in the bar, which is enough; what is over is not
// told.
TEST_F(WatchTest, WhoStartsTheWorkersSaysWhatIsWaitedFor) {
  v1::Run waits = DemoRun();
  waits.clear_members();
  waits.set_waiting_cause("no_workers");
  coordinator_.SetEvents({MakeEvent(1, kEventRunWaiting, "needs 2 workers, none is registered"),
                          MakeEvent(2, kEventRunWaiting, "needs 2 workers: 1 is free")});
  WatchOptions options;
  options.waiting = [](const v1::Run& run) { return "they come: " + run.waiting_cause(); };
  coordinator_.SetRun(waits);
  options.tick = [&] {
    if (coordinator_.watches() > 0) coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
    return absl::OkStatus();
  };
  const std::string told = Printed(options);
  EXPECT_THAT(told, ::testing::HasSubstr("they come: no_workers\n"));
  EXPECT_THAT(told, ::testing::Not(::testing::HasSubstr("needs 2 workers")));
  coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
  options.tick = nullptr;
  ::testing::internal::CaptureStderr();
  ASSERT_OK(Watch(options));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(WatchTest, TellsWhatHappenedWhileTheCoordinatorWasAway) {
  coordinator_.SetEvents({MakeEvent(6, kEventWorkerLost, "worker w-1 lost: stream broken")});
  int ticks = 0;
  WatchOptions options;
  options.tick = [&] {
    if (coordinator_.watches() == 1 && ticks == 0) {
      coordinator_.Stop();
      ++ticks;
    } else if (ticks > 0 && ++ticks == 4) {
      coordinator_.Start();
    } else if (coordinator_.watches() == 2) {
      coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
    }
    return absl::OkStatus();
  };
  ::testing::internal::CaptureStderr();
  ASSERT_OK(Watch(options));
  const std::string told = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(told, StartsWith("worker w-1 lost: stream broken\n"
                               "the coordinator is away since "));
  EXPECT_THAT(told, AllOf(HasSubstr("\nthe coordinator is back after "),
                          EndsWith("s\nepoch 2 with 2 workers\n")));
}

TEST_F(WatchTest, EndsAtTheTimeout) {
  WatchOptions options;
  options.timeout = absl::Milliseconds(1);
  EXPECT_THAT(Watch(options),
              StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::HasSubstr("demo is still")));
}

TEST_F(WatchTest, AnErrorOfTheTickEndsIt) {
  WatchOptions options;
  options.tick = [] { return absl::InternalError("a child cannot live"); };
  EXPECT_THAT(Watch(options), StatusIs(absl::StatusCode::kInternal, "a child cannot live"));
}

TEST_F(WatchTest, AnUnknownRunIsNotFoundAtOnce) {
  EXPECT_THAT(Watch(WatchOptions(), "nothing"), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace tritter
