// What becomes of a run when its epoch has ended, and which requests its state allows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/store/records.h"
#include "model/run_spec.h"

namespace tritter {

struct RetryOptions {
  int64_t budget = 5;                             // epochs without progress, in a row
  absl::Duration first_delay = absl::Seconds(1);  // after the second of them; doubles
  absl::Duration longest_delay = absl::Seconds(30);
};

RetryOptions RetryOptionsOf(const RunSpec& spec);

struct EpochEnd {
  bool clean = false;      // every member was told Done and has left
  bool permanent = false;  // a worker says that retrying cannot help
  bool killed = false;     // by its users, who wait for no checkpoint
  bool waited = false;     // there was none: the run waited for one
  bool progress = false;   // it went beyond what was ever reached, or committed a checkpoint
  std::string cause =
      {};         // e.g. "worker w-1 lost: its process died or was cut off"; empty when clean
  int rank = -1;  // the member that failed first; -1: none is to blame
  // Of a run that waited: who has its steps beyond the checkpoint in memory; nobody: they are lost.
  std::vector<std::string> holders = {};
};

struct RunVerdict {
  v1::RunState state = v1::RUN_STATE_RUNNING;
  std::string reason;
  int64_t failures = 0;        // new value of RunRecord::failures
  absl::Duration retry_after;  // RUNNING: not before
};

// `committed`: step of the newest committed checkpoint. `exports`: the run has an export format.
RunVerdict DecideAfterEpoch(const RunRecord& run, const EpochEnd& end, int64_t committed,
                            bool exports, const RetryOptions& options = {});

std::string StateName(v1::RunState state);  // "running"
bool IsFinal(v1::RunState state);           // completed, failed or cancelled
bool NeedsWorkers(v1::RunState state);      // queued or running

}  // namespace tritter
