#include "tritterctl/event_feed.h"

#include <algorithm>

#include "common/status_macros.h"
#include "tritterctl/progress.h"

namespace tritter {
namespace {

constexpr int kPage = 1000;
constexpr absl::Duration kTick = absl::Milliseconds(100);

// Hands out everything after `*after`, which moves.
absl::Status Drain(RunApi* client, const std::string& run, int64_t* after,
                   const std::function<void(const v1::Event&)>& on_event) {
  for (;;) {
    v1::ListEventsRequest request;
    request.set_run(run);
    request.set_after_id(*after);
    request.set_limit(kPage);
    ASSIGN_OR_RETURN(const v1::ListEventsResponse page, client->ListEvents(request));
    for (const v1::Event& event : page.events()) {
      on_event(event);
      *after = std::max<int64_t>(*after, event.id());
    }
    if (page.events_size() < kPage) return absl::OkStatus();
  }
}

}  // namespace

absl::StatusOr<std::deque<v1::Event>> NewestEvents(RunApi* client, const std::string& run,
                                                   size_t newest) {
  std::deque<v1::Event> out;
  int64_t after = 0;
  RETURN_IF_ERROR(Drain(client, run, &after, [&](const v1::Event& event) {
    out.push_back(event);
    if (newest > 0 && out.size() > newest) out.pop_front();
  }));
  return out;
}

absl::Status FollowEvents(RunApi* client, Clock* clock, const std::string& run,
                          const FollowOptions& options,
                          const std::function<void(const v1::Event&)>& on_event,
                          const std::function<bool()>& tick) {
  int64_t after = options.after_id;
  absl::Duration heard = clock->Monotonic();
  for (;;) {
    // Asked before its last events are: none comes after them.
    const absl::StatusOr<v1::Run> now = run.empty() ? v1::Run() : client->GetRun(run);
    absl::Status status = now.status();
    if (status.ok()) status = Drain(client, run, &after, on_event);
    if (status.ok()) {
      if (!run.empty() && IsTerminal(now->state())) return absl::OkStatus();
      heard = clock->Monotonic();
    } else if ((!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) ||
               clock->Monotonic() - heard > options.unreachable_limit) {
      return status;
    }
    for (absl::Duration waited; waited < options.interval; waited += kTick) {
      if (!tick()) return absl::CancelledError("interrupted");
      clock->Sleep(kTick);
    }
  }
}

}  // namespace tritter
