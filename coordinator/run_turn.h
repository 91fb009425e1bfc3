// One change of a run at a time, also while nobody holds the coordinator's lock.
#pragma once

#include <utility>

#include "common/mutex.h"

namespace tritter {

// Whose turn it is with a run. Guarded by the coordinator's lock; stays where it is.
struct TurnGate {
  bool taken = false;
  CondVar given_back;
};

// The right to change what the store has of a run. Who has it may give up the coordinator's lock,
// to write or to read files, and finds the run's record, epoch, plans, shares, checkpoints and
// artifacts as they were when the lock is back. What is not stored moves without it: the step that
// heartbeats say, complaints, who has left, what the scheduler wishes. No thread takes two.
class RunTurn {
 public:
  // Waits for it; the lock is given up meanwhile, so that all that was read before is old news.
  RunTurn(Mutex* mu, TurnGate* gate) REQUIRES(mu) : gate_(gate) { Take(mu); }
  RunTurn(RunTurn&& other) noexcept
      : gate_(other.gate_), mine_(std::exchange(other.mine_, false)) {}
  RunTurn& operator=(RunTurn&&) = delete;
  ~RunTurn() { GiveBack(); }  // under the lock

  // Between these two others may have the turn. GiveBack under the lock.
  void GiveBack() {
    if (!mine_) return;
    gate_->taken = mine_ = false;
    gate_->given_back.NotifyOne();
  }
  void Take(Mutex* mu) REQUIRES(mu) {
    while (gate_->taken) gate_->given_back.Wait(mu);
    gate_->taken = mine_ = true;
  }

 private:
  TurnGate* const gate_;
  bool mine_ = false;
};

}  // namespace tritter
