#include "tritterctl/watch.h"

#include "absl/strings/str_cat.h"
#include "common/shutdown.h"
#include "proto/event_kinds.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

// Told to the user while the bar runs; the rest is in `tritterctl events`.
bool WorthTelling(const v1::Event& event) {
  return event.kind() == kEventWorkerLost || event.kind() == kEventWorkerLeft ||
         event.kind() == kEventEpochLost || event.kind() == kEventRunResumed ||
         event.kind() == kEventRunFailed || event.kind() == kEventRunWaiting ||
         event.kind() == kEventCheckpointDamaged;
}

}  // namespace

absl::StatusOr<v1::Run> WatchToEnd(RunApi* client, Clock* clock, const std::string& run,
                                   ProgressPrinter* progress, const WatchOptions& options) {
  const absl::Duration begin = clock->Monotonic();
  absl::Duration last_heard = begin;
  absl::Status interruption;
  v1::Run newest;
  int64_t last_event = 0;
  const auto tick = [&] {
    if (ShutdownRequested()) {
      interruption = absl::CancelledError("interrupted");
    } else if (clock->Monotonic() - begin > options.timeout) {
      interruption = absl::DeadlineExceededError(
          absl::StrCat("run ", run, " is still ", ShownState(newest), " after ",
                       absl::FormatDuration(options.timeout), ": ", newest.reason()));
    } else if (options.tick) {
      interruption = options.tick();
    }
    return interruption.ok();
  };
  const auto on_update = [&](const v1::RunUpdate& update) {
    last_heard = clock->Monotonic();
    newest = update.run();
    for (const v1::Event& event : update.events()) {
      if (event.id() > last_event && WorthTelling(event))
        progress->Message(absl::StrCat(event.kind(), ": ", event.message()));
      last_event = std::max(last_event, event.id());
    }
    progress->Update(newest);
  };
  for (;;) {
    const absl::Status status = client->WatchRun(run, on_update, tick);
    if (!interruption.ok()) return interruption;
    if (IsTerminal(newest.state())) return newest;
    if (status.ok()) {
      // The stream ended without saying how the run ended: ask.
      absl::StatusOr<v1::Run> now = client->GetRun(run);
      if (now.ok() && IsTerminal(now->state())) return now;
    } else if (status.code() != absl::StatusCode::kUnavailable &&
               status.code() != absl::StatusCode::kDeadlineExceeded) {
      return status;
    }
    if (clock->Monotonic() - last_heard > options.unreachable_limit)
      return status.ok() ? absl::UnavailableError("the coordinator ends every watch") : status;
    for (int i = 0; i < 3; ++i) {
      if (!tick()) return interruption;
      WaitForShutdown(absl::Milliseconds(100));
    }
  }
}

int RunExitCode(const v1::Run& run) {
  return run.state() == v1::RUN_STATE_COMPLETED ? kExitOk : kExitFailed;
}

}  // namespace tritter
