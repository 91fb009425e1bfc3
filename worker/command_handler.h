// What the coordinator may tell a worker, and what the worker says of itself at every heartbeat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "worker/plan.h"

namespace tritter {

struct HeartbeatState {
  EpochId id;        // empty run id when idle
  int64_t step = 0;  // optimiser steps done
  std::string state =
      "idle";  // "idle", "joining", "training", "waiting", "checkpointing", "leaving", "draining"
  bool draining = false;  // planned leave: no more plans, please
  // Own computation for one sequence of the last steps, without waiting for data and for others; 0:
  // unknown.
  double seconds_per_sequence = 0;
  // A whole state in memory, left from an epoch that has ended.
  struct Held {
    EpochId id;  // that trained it
    int64_t step = 0;
  };
  std::optional<Held> held = {};
};

// Commands come one at a time, from the session's thread; repeats are harmless. Heartbeat is for
// any thread.
class CommandHandler {
 public:
  virtual ~CommandHandler() = default;
  virtual void OnAssignment(const Assignment& assignment) = 0;
  virtual void OnRendezvous(const EpochId& id, const std::string& address) = 0;
  virtual void OnEndEpoch(const EpochId& id, const std::string& reason) = 0;
  // The group should stop at the next step that all ranks end together.
  virtual void OnYield(const EpochId& id, const std::string& reason) = 0;
  // Another process is this worker by now: end.
  virtual void OnSuperseded(const std::string& reason) = 0;
  // Another process that is connected has had this worker's name all the time: end.
  virtual void OnNameInUse(const std::string& reason) = 0;
  virtual HeartbeatState Heartbeat() = 0;
};

}  // namespace tritter
