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

class WatchTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Run> Watch(const WatchOptions& options, const std::string& run = "demo") {
    RunClient client(coordinator_.address());
    ProgressPrinter progress(Clock::Real(), /*quiet=*/true);
    return WatchToEnd(&client, Clock::Real(), run, &progress, options);
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

TEST_F(WatchTest, TellsOfALostWorkerAndOfTheEpochThatEndedWithIt) {
  v1::Event lost;
  lost.set_id(1);
  lost.set_kind(kEventWorkerLost);
  lost.set_message("worker w-1 lost: stream broken");
  v1::Event ended = lost;
  ended.set_id(2);
  ended.set_kind(kEventEpochLost);
  v1::Event formed = lost;
  formed.set_id(3);
  formed.set_kind(kEventEpochFormed);
  coordinator_.SetEvents({lost, ended, formed});
  coordinator_.SetRun(Ended(v1::RUN_STATE_COMPLETED));
  ::testing::internal::CaptureStderr();
  ASSERT_OK(Watch(WatchOptions()));
  const std::string told = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(told, ::testing::HasSubstr("worker_lost: worker w-1 lost: stream broken"));
  EXPECT_THAT(told, ::testing::HasSubstr("epoch_lost: "));
  EXPECT_THAT(told, ::testing::Not(::testing::HasSubstr("epoch_formed")));
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
