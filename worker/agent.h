// The worker as the coordinator sees it: takes assignments, runs one epoch at a time on a training
// thread, ends it when told.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/mutex.h"
#include "worker/command_handler.h"
#include "worker/epoch_runner.h"

namespace tritter {

// Wait until training has left an epoch this long; then the process is ended, and its supervisor
// starts it anew.
inline constexpr absl::Duration kEpochEndLimit = absl::Seconds(5);
// How long a state is kept in memory after its epoch for the next one to go on from.
inline constexpr absl::Duration kHoldState = absl::Minutes(10);
// Exit code that asks for the restart.
inline constexpr int kExitRestart = 75;

// Owned by main. Commands from the session's thread, Drain and Shutdown from main. Between two
// epochs it keeps the trainer of the one that ended, so that the next may start from its state;
// there are never two trainers.
class WorkerAgent : public CommandHandler {
 public:
  struct Options {
    EpochRunner::Options epoch;  // assignment is filled in for each epoch
    absl::Duration end_limit = kEpochEndLimit;
    absl::Duration hold_state = kHoldState;
    // Ends the process at once, without clean-up: something hangs. Does not return (in tests it
    // may).
    std::function<void(int exit_code, const std::string& reason)> exit_process;
    // Another process has this one's name: it has to end. `name_in_use`: it never had the name.
    std::function<void(const std::string& reason, bool name_in_use)> on_end;
    // The heartbeat has news that should not wait for its turn: an epoch was left.
    std::function<void()> on_news;
  };
  explicit WorkerAgent(Options options);
  ~WorkerAgent() override;

  void OnAssignment(const Assignment& assignment) override;
  void OnRendezvous(const EpochId& id, const std::string& address) override;
  void OnEndEpoch(const EpochId& id, const std::string& reason) override;
  void OnYield(const EpochId& id, const std::string& reason) override;
  void OnSuperseded(const std::string& reason) override;
  void OnNameInUse(const std::string& reason) override;
  HeartbeatState Heartbeat() override;

  // Planned leave: heartbeats say so from now on, no assignment is taken, and the epoch at work is
  // asked to stop after the step under way. Returns when it has ended, or false after `limit`.
  bool Drain(absl::Duration limit);
  // Ends the epoch at work.
  void Shutdown(const std::string& reason);

 private:
  struct Active {
    EpochId id;
    std::unique_ptr<EpochRunner> runner;  // null once it has ended
    int64_t step = 0;
    bool leaving = false;  // was told to end
    bool done = false;     // nothing of it is left; until then heartbeats name it
    std::thread thread;
  };
  void Train(const std::shared_ptr<Active>& active);
  void EndActive(const std::string& reason);
  // A state that was kept long enough, to be freed without the lock.
  HeldTrainer ExpiredLocked() REQUIRES(mu_);

  const Options options_;
  Mutex mu_;
  CondVar changed_;
  std::shared_ptr<Active> active_ GUARDED_BY(mu_);                // its fields too
  std::map<std::string, uint64_t> newest_epoch_ GUARDED_BY(mu_);  // by run
  // Lets go of the epoch before, whose last checkpoint may still be on its way to the disk. Of the
  // training threads, of which there is one at a time.
  std::thread retiring_;
  HeldTrainer held_ GUARDED_BY(mu_);
  absl::Duration held_since_ GUARDED_BY(mu_);
  bool draining_ GUARDED_BY(mu_) = false;
};

// Of the agent of a process: it trains with `parts` on `files`, speaks through `link` (all outlive
// it), and ends the process where something hangs. Without on_end, on_news and an observer.
WorkerAgent::Options AgentOptionsOf(const std::string& name, uint64_t incarnation,
                                    EpochParts* parts, CoordinatorLink* link, Env* files);

}  // namespace tritter
