#include "tritterctl/event_feed.h"

#include <gmock/gmock.h>

#include <vector>

#include "common/testing/fake_clock.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::SizeIs;
using Code = absl::StatusCode;

// Events 1 to `count`, a page at a time; everything else is not asked.
class FakeApi : public RunApi {
 public:
  absl::StatusOr<v1::ListEventsResponse> ListEvents(const v1::ListEventsRequest& request) override {
    ++asked;
    if (!down.ok()) return down;
    v1::ListEventsResponse out;
    for (int64_t id = request.after_id() + 1; id <= count && out.events_size() < request.limit();
         ++id) {
      out.add_events()->set_id(id);
    }
    return out;
  }
  absl::StatusOr<v1::Run> GetRun(const std::string&) override {
    v1::Run run;
    run.set_state(state);
    if (!down.ok()) return down;
    return run;
  }
  absl::StatusOr<v1::SubmitRunResponse> SubmitRun(const v1::SubmitRunRequest&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::ValidateRunResponse> ValidateRun(const v1::ValidateRunRequest&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::ListRunsResponse> ListRuns(int) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::Run> PauseRun(const std::string&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::Run> ResumeRun(const std::string&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::Run> CancelRun(const std::string&, bool) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::Run> GetRunToChange(const std::string&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::Run> CheckDeletion(const std::string&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::DeleteRunResponse> DeleteRun(const std::string&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::ListCheckpointsResponse> ListCheckpoints(const std::string&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::ListEpochsResponse> ListEpochs(const std::string&, int) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers() override {
    return absl::UnimplementedError("");
  }
  absl::Status WatchRun(const std::string&, const std::function<void(const v1::RunUpdate&)>&,
                        const std::function<bool()>&) override {
    return absl::UnimplementedError("");
  }
  absl::Status StreamLogs(const v1::StreamLogsRequest&,
                          const std::function<void(const v1::LogLine&)>&,
                          const std::function<bool()>&) override {
    return absl::UnimplementedError("");
  }

  int64_t count = 0;
  int asked = 0;
  absl::Status down;
  v1::RunState state = v1::RUN_STATE_RUNNING;
};

TEST(EventFeed, TheNewestAreFoundBehindManyPages) {
  FakeApi api;
  api.count = 2500;
  ASSERT_OK_AND_ASSIGN(const auto newest, NewestEvents(&api, "r", 2));
  ASSERT_THAT(newest, SizeIs(2));
  EXPECT_EQ(newest[0].id(), 2499);
  EXPECT_EQ(newest[1].id(), 2500);
  EXPECT_THAT(*NewestEvents(&api, "r", 0), SizeIs(2500));
}

TEST(EventFeed, FollowsUntilTheRunEndsWithWhatHappenedLast) {
  FakeApi api;
  FakeClock clock;
  api.count = 3;
  std::vector<int64_t> seen;
  int ticks = 0;
  EXPECT_OK(FollowEvents(
      &api, &clock, "r", {.after_id = 1}, [&](const v1::Event& e) { seen.push_back(e.id()); },
      [&] {
        if (++ticks == 3) {
          api.count = 5;
          api.state = v1::RUN_STATE_FAILED;
        }
        return ticks < 100;
      }));
  EXPECT_THAT(seen, ElementsAre(2, 3, 4, 5));
}

TEST(EventFeed, GoesOnThroughARestartOfTheCoordinatorButNotForEver) {
  FakeApi api;
  FakeClock clock;
  std::vector<int64_t> seen;
  int ticks = 0;
  const auto on_event = [&](const v1::Event& e) { seen.push_back(e.id()); };
  EXPECT_THAT(FollowEvents(&api, &clock, "", {}, on_event,
                           [&] {
                             ++ticks;
                             api.down =
                                 ticks < 20 ? absl::UnavailableError("restarts") : absl::OkStatus();
                             if (ticks == 30) api.count = 1;
                             return ticks < 60;
                           }),
              StatusIs(Code::kCancelled));
  EXPECT_THAT(seen, ElementsAre(1));
  api.down = absl::UnavailableError("gone");
  EXPECT_THAT(FollowEvents(&api, &clock, "", {}, on_event, [] { return true; }),
              StatusIs(Code::kUnavailable));
}

TEST(EventFeed, AnErrorOfTheServiceEndsIt) {
  FakeApi api;
  FakeClock clock;
  api.down = absl::NotFoundError("no run");
  EXPECT_THAT(FollowEvents(
                  &api, &clock, "r", {}, [](const v1::Event&) {}, [] { return true; }),
              StatusIs(Code::kNotFound));
}

}  // namespace
}  // namespace tritter
