// Asks for plans ahead of time, so that training does not wait for the coordinator and goes on
// while it is away.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "worker/cancellation.h"
#include "worker/coordinator_link.h"

namespace tritter {

// One question at a time, answered by a thread of its own. Owned by the epoch. Prefetch and Take
// from the training thread.
class PlanFetcher {
 public:
  struct Options {
    CoordinatorLink* link = nullptr;             // not owned
    const Cancellation* cancellation = nullptr;  // not owned
    EpochId id;
    int rank = 0;
    Backoff backoff;
    std::function<void(const std::string& reason)>
        on_wait;  // the coordinator lets us wait, or is away; once per new reason
    // Asked again and again while Take waits; its failure ends the wait. The coordinator may let us
    // wait for something that has failed here and that it cannot know of.
    std::function<absl::Status()> check;
  };
  explicit PlanFetcher(Options options);
  ~PlanFetcher();  // cancel first, or an unanswered question is waited for

  // Asks, unless that is being asked already. A question before it is given up, answered or not.
  void Prefetch(const PlanQuestion& question);
  // The answer: a Plan or PlanDone (waits ordered by the coordinator are waited out here). Blocks.
  // Errors: Aborted (cancelled), stale epoch, refusals of the coordinator, and those of `check`.
  absl::StatusOr<PlanAnswer> Take(const PlanQuestion& question);

 private:
  void Loop();
  // Until it is answered or given up.
  absl::StatusOr<PlanAnswer> Ask(const PlanQuestion& question);
  bool GivenUp(const PlanQuestion& question);

  const Options options_;
  std::string last_reason_;  // of the thread
  Mutex mu_;
  CondVar changed_;
  bool stop_ GUARDED_BY(mu_) = false;
  std::optional<PlanQuestion> asked_ GUARDED_BY(mu_);  // in work or answered
  std::optional<absl::StatusOr<PlanAnswer>> answer_ GUARDED_BY(mu_);
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace tritter
