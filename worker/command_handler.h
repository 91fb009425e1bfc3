// What the coordinator may tell a worker, and what the worker says of itself at every heartbeat.
#pragma once

#include <cstdint>
#include <string>

#include "worker/plan.h"

namespace tritter {

struct HeartbeatState {
  EpochId id;        // empty run id when idle
  int64_t step = 0;  // optimiser steps done
  std::string state =
      "idle";  // "idle", "joining", "training", "waiting", "checkpointing", "leaving", "draining"
  bool draining = false;  // planned leave: no more plans, please
};

// Commands come one at a time, from the session's thread; repeats are harmless. Heartbeat is for
// any thread.
class CommandHandler {
 public:
  virtual ~CommandHandler() = default;
  virtual void OnAssignment(const Assignment& assignment) = 0;
  virtual void OnRendezvous(const EpochId& id, const std::string& address) = 0;
  virtual void OnEndEpoch(const EpochId& id, const std::string& reason) = 0;
  // Another process has this worker's name: end.
  virtual void OnSuperseded(const std::string& reason) = 0;
  virtual HeartbeatState Heartbeat() = 0;
};

}  // namespace tritter
