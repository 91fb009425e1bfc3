// Shall a live epoch end at its next step, and must its state be on disk then? Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/store/records.h"

namespace tritter {

// Why the scheduler wants an epoch to end; the run goes on in another one.
struct Reshape {
  std::string reason = {};  // "": it does not want that
  bool gives_all = false;   // no member is kept for the run: its state must be on disk
  bool operator==(const Reshape&) const = default;
};

struct StopInputs {
  Intent intent = Intent::kRun;
  std::vector<std::string> draining;  // members that are about to go
  int64_t members = 0;
  Reshape reshape;
};

struct StopDecision {
  std::string reason;    // "": it goes on
  bool on_disk = false;  // a checkpoint is needed whoever keeps the state in memory
};

// The strongest wish wins: cancel and pause, then members that leave, then the scheduler.
StopDecision DecideStop(const StopInputs& in);

// The event of an epoch that has stopped so: at which step, why, what comes next. `staying`:
// members that are there for the next epoch, where others leave and the run is to go on.
std::string StoppedWords(uint64_t epoch, int64_t step, const std::string& why,
                         std::optional<int64_t> staying, int64_t min_workers);

}  // namespace tritter
