#include "tritterctl/watch.h"

#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/shutdown.h"
#include "proto/event_kinds.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

// Tells events while the bar runs; those that are not worth it are in `tritterctl events`.
class Teller {
 public:
  Teller(ProgressPrinter* progress, const WatchOptions& options)
      : progress_(progress), options_(options) {}

  // `run`: as it is now.
  void Tell(const v1::Event& event, const v1::Run& run) {
    if (event.id() <= newest_) return;
    newest_ = event.id();
    const std::string& kind = event.kind();
    if (kind == kEventWorkerLost || kind == kEventWorkerLeft) {
      losses_.push_back(event.message());
      progress_->Message(event.message());
    } else if (kind == kEventEpochLost) {
      const bool told = absl::c_any_of(
          losses_, [&](const std::string& loss) { return absl::EndsWith(event.message(), loss); });
      if (!told) progress_->Message(event.message());
    } else if (kind == kEventEpochFormed || kind == kEventStepsRepeated ||
               kind == kEventCheckpointDamaged) {
      waits_.clear();
      if (kind == kEventEpochFormed) losses_.clear();
      progress_->Message(event.message());
    } else if (kind == kEventRunWaiting) {
      TellWaiting(event, run);
    } else if (kind == kEventRunResumed || kind == kEventRunFailed) {
      progress_->Message(absl::StrCat("run ", kind == kEventRunFailed ? "failed" : "resumed", ": ",
                                      event.message()));
    }
  }
  int64_t newest() const { return newest_; }

 private:
  void TellWaiting(const v1::Event& event, const v1::Run& run) {
    absl::string_view message = event.message();
    for (const std::string& loss : losses_)  // how the last epoch ended has been told
      absl::ConsumeSuffix(&message, absl::StrCat("; the last epoch ended: ", loss));
    std::string text = absl::StrCat("waiting: ", message);
    // It is over, or the bar says what is known better.
    if (options_.waiting && (run.waiting_cause().empty() || !options_.waiting(run).empty())) return;
    if (text == waits_) return;
    waits_ = text;
    progress_->Message(text);
  }

  ProgressPrinter* const progress_;
  const WatchOptions& options_;
  int64_t newest_ = 0;
  std::vector<std::string> losses_;  // told since an epoch was formed
  std::string waits_;                // told last
};

}  // namespace

absl::StatusOr<v1::Run> WatchToEnd(RunApi* client, Clock* clock, const std::string& run,
                                   ProgressPrinter* progress, const WatchOptions& options) {
  const absl::Duration begin = clock->Monotonic();
  absl::Duration last_heard = begin;
  absl::Status interruption;
  v1::Run newest;
  Teller teller(progress, options);
  bool again = false;  // it was away
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
    if (std::exchange(again, false) && teller.newest() > 0) {
      v1::ListEventsRequest missed;
      missed.set_run(run);
      missed.set_after_id(teller.newest());
      if (const absl::StatusOr<v1::ListEventsResponse> events = client->ListEvents(missed);
          events.ok()) {
        for (const v1::Event& event : events->events()) teller.Tell(event, newest);
      }
    }
    for (const v1::Event& event : update.events()) teller.Tell(event, newest);
    v1::Run shown = newest;
    if (options.waiting && !shown.waiting_cause().empty()) {
      if (std::string known = options.waiting(shown); !known.empty())
        shown.set_reason(std::move(known));
    }
    progress->Update(shown);
  };
  for (;;) {
    const absl::Status status = client->WatchRun(run, on_update, tick);
    again = true;
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
