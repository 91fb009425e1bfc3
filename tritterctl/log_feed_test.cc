#include "tritterctl/log_feed.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "common/testing/status_matchers.h"
#include "tritterctl/run_client.h"
#include "tritterctl/testing/fake_coordinator_service.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using Code = absl::StatusCode;

v1::LogLine Line(const std::string& text, const std::string& worker = "a", int64_t time_ms = 1) {
  v1::LogLine line;
  line.set_time_ms(time_ms);
  line.set_worker(worker);
  line.set_line(text);
  return line;
}

class LogFeedTest : public testing::Test {
 protected:
  absl::Status Follow(LogFollowOptions options, const std::function<bool()>& tick,
                      const std::string& run = "demo") {
    RunClient client(coordinator_.address());
    options.interval = absl::Milliseconds(100);
    return FollowLogs(
        &client, Clock::Real(), run, options,
        [&](const v1::LogLine& line) { seen_.push_back(line.line()); }, tick);
  }
  // Restarts the coordinator once `seen` lines were handed out; meanwhile the logs become `logs`.
  // The run has ended once `in_all` lines were.
  std::function<bool()> Restart(size_t seen, std::vector<v1::LogLine> logs, size_t in_all) {
    return [=, this] {
      if (!restarted_ && seen_.size() == seen) {
        restarted_ = true;
        coordinator_.Stop();
        coordinator_.SetLogs(logs);
        coordinator_.Start();
      }
      if (seen_.size() >= in_all) End();
      return true;
    };
  }
  void End() {
    v1::Run run = coordinator_.run();
    run.set_state(v1::RUN_STATE_COMPLETED);
    coordinator_.SetRun(run);
  }

  FakeCoordinator coordinator_;
  std::vector<std::string> seen_;
  bool restarted_ = false;
};

TEST_F(LogFeedTest, GoesOnThroughARestartAndRepeatsNothing) {
  const std::vector<v1::LogLine> before = {Line("one"), Line("two"), Line("two")};
  coordinator_.SetLogs(before);
  std::vector<v1::LogLine> after = before;
  // Only the time, the worker, or how often it is there, tells one from those seen before.
  after.insert(after.end(), {Line("two"), Line("one", "a", 2), Line("one", "b"), Line("three")});
  EXPECT_OK(Follow({}, Restart(3, after, 7)));
  EXPECT_THAT(seen_, ElementsAre("one", "two", "two", "two", "one", "one", "three"));
  EXPECT_EQ(coordinator_.log_streams(), 2);
}

TEST_F(LogFeedTest, LinesThatAreNoLongerKeptAreNotMissed) {
  coordinator_.SetLogs({Line("one"), Line("two")});
  EXPECT_OK(Follow({}, Restart(2, {Line("two"), Line("three")}, 3)));
  EXPECT_THAT(seen_, ElementsAre("one", "two", "three"));
}

TEST_F(LogFeedTest, TheTailIsNotFollowedByWhatCameBeforeIt) {
  coordinator_.SetLogs({Line("a1"), Line("b1", "b"), Line("a2"), Line("b2", "b")});
  EXPECT_OK(
      Follow({.worker = "a", .tail = 3}, Restart(1,
                                                 {Line("a1"), Line("b1", "b"), Line("a2"),
                                                  Line("b2", "b"), Line("b3", "b"), Line("a3")},
                                                 2)));
  EXPECT_THAT(seen_, ElementsAre("a2", "a3")) << "the newest three of all, those of one worker";
}

TEST_F(LogFeedTest, ACoordinatorThatStaysAwayIsUnavailable) {
  LogFollowOptions impatient;
  impatient.unreachable_limit = absl::ZeroDuration();
  EXPECT_THAT(Follow(impatient,
                     [&] {
                       if (seen_.size() == 3) coordinator_.Stop();
                       return true;
                     }),
              StatusIs(Code::kUnavailable));
  EXPECT_THAT(Follow({}, [] { return true; }), StatusIs(Code::kUnavailable))
      << "one that was never reached is told at once";
}

TEST_F(LogFeedTest, EndsWhenToldToAlsoWhileTheCoordinatorIsAway) {
  EXPECT_THAT(Follow({}, [&] { return seen_.size() < 3; }), StatusIs(Code::kCancelled));
  int ticks = 0;
  seen_.clear();
  EXPECT_THAT(Follow({},
                     [&] {
                       if (seen_.size() == 3) coordinator_.Stop();
                       return seen_.size() < 3 || ++ticks < 5;
                     }),
              StatusIs(Code::kCancelled));
}

TEST_F(LogFeedTest, AnUnknownRunIsNotFound) {
  EXPECT_THAT(Follow({}, [] { return true; }, "nothing"), StatusIs(Code::kNotFound));
}

}  // namespace
}  // namespace tritter
