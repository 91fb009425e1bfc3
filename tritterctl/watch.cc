#include "tritterctl/watch.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/shutdown.h"
#include "proto/event_kinds.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/output.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

// "run paused at step 241", "run resumed: it had failed".
std::string Turn(absl::string_view state, const std::string& message) {
  return absl::StrCat("run ", absl::StartsWith(message, state) ? "" : absl::StrCat(state, ": "),
                      message);
}

// Tells events while the bar runs; those that are not worth it are in `tritterctl events`. How the
// run has ended is for whoever asked to say: it is not told here.
class Teller {
 public:
  Teller(ProgressPrinter* progress, const WatchOptions& options)
      : progress_(progress), options_(options) {}

  // `run`: as it is now.
  void Tell(const v1::Event& event, const v1::Run& run) {
    if (event.id() <= newest_) return;
    newest_ = event.id();
    const std::string& kind = event.kind();
    const std::string& message = event.message();
    if (kind == kEventWorkerLost || kind == kEventWorkerLeft) {
      Say(message, message);
    } else if (kind == kEventEpochLost) {
      TellLoss(message, run);
    } else if (kind == kEventEpochStopped) {
      // Else what it stopped for comes next.
      if (run.state() == v1::RUN_STATE_RUNNING) progress_->Message(message);
    } else if (kind == kEventStepsGivenUp) {
      progress_->Message(event.message());
    } else if (kind == kEventEpochFormed || kind == kEventStepsRepeated ||
               kind == kEventCheckpointDamaged) {
      waits_.clear();
      if (kind == kEventEpochFormed) told_.clear();
      progress_->Message(message);
    } else if (kind == kEventRunWaiting) {
      TellWaiting(message, run);
    } else if (kind == kEventRunPausing || kind == kEventRunPaused || kind == kEventRunResumed) {
      Say(Turn(kind == kEventRunPausing  ? "pausing"
               : kind == kEventRunPaused ? "paused"
                                         : "resumed",
               message),
          message);
    }
  }
  // What remains of its reason when what has been told is left out.
  std::string Untold(const v1::Run& run) const {
    absl::string_view reason = run.reason();
    for (const std::string& told : told_) {
      absl::ConsumeSuffix(&reason, absl::StrCat("; the last epoch ended: ", told));
      if (absl::ConsumePrefix(&reason, told)) absl::ConsumePrefix(&reason, "; ");
    }
    if (!waits_.empty() && reason == waits_) return "";
    return std::string(reason);
  }
  int64_t newest() const { return newest_; }

 private:
  // `told`: what of it need not be said again.
  void Say(const std::string& text, const std::string& told) {
    told_.push_back(told);
    progress_->Message(text);
  }

  void TellLoss(const std::string& message, const v1::Run& run) {
    const size_t colon =
        message.find(" ended: ");  // "epoch 2 ended: worker w lost: it was cut off"
    const std::string cause =
        colon == std::string::npos ? message : message.substr(colon + sizeof(" ended: ") - 1);
    // The reason of an end says it.
    if (IsTerminal(run.state()) && absl::StrContains(run.reason(), cause)) return;
    if (run.state() == v1::RUN_STATE_CANCELLED || absl::c_linear_search(told_, cause)) return;
    Say(message, cause);
  }

  void TellWaiting(absl::string_view message, const v1::Run& run) {
    for (const std::string& loss : told_)  // how the last epoch ended has been told
      absl::ConsumeSuffix(&message, absl::StrCat("; the last epoch ended: ", loss));
    // It is over, or the bar says what is known better.
    if (options_.waiting && (run.waiting_cause().empty() || !options_.waiting(run).empty())) return;
    if (message == waits_) return;
    waits_ = std::string(message);
    progress_->Message(absl::StrCat("waiting: ", message));
  }

  ProgressPrinter* const progress_;
  const WatchOptions& options_;
  int64_t newest_ = 0;
  std::vector<std::string> told_;  // since an epoch was formed: losses, turns of the run's life
  std::string waits_;              // told last
};

}  // namespace

absl::StatusOr<v1::Run> WatchToEnd(RunApi* client, Clock* clock, const std::string& run,
                                   ProgressPrinter* progress, const WatchOptions& options) {
  const absl::Duration begin = clock->Monotonic();
  absl::Duration last_heard = begin;
  absl::Status interruption;
  v1::Run newest;
  Teller teller(progress, options);
  bool again = false;                          // it was away
  std::optional<absl::Duration> silent_since;  // told
  bool begins = options.begins;
  std::optional<uint64_t> first_epoch;  // that was seen: it may be of workers that are gone
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
    if (silent_since.has_value()) {
      progress->Message(absl::StrCat(
          "the coordinator is back after ",
          FormatSeconds(absl::ToDoubleSeconds(last_heard - *std::exchange(silent_since, {})))));
    }
    newest = update.run();
    if (!first_epoch.has_value()) first_epoch = newest.epoch();
    begins = begins && update.metrics_size() == 0 && newest.epoch() == *first_epoch &&
             newest.state() == v1::RUN_STATE_RUNNING;
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
    shown.set_reason(teller.Untold(newest));
    bool known_better = false;
    if (options.waiting && !shown.waiting_cause().empty()) {
      if (std::string known = options.waiting(shown); !known.empty()) {
        shown.set_reason(std::move(known));
        known_better = true;
      }
    }
    if (!begins || known_better) progress->Update(shown);
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
    } else if (options.tell_away && !silent_since.has_value() && !newest.run_id().empty()) {
      silent_since = clock->Monotonic();
      progress->Message(absl::StrCat("the coordinator is away since ",
                                     FormatTimeMs(absl::ToUnixMillis(clock->Now())),
                                     "; it is asked again and again"));
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
