// Why a run does not train although it should: a cause for programs and a sentence for people.
// Every run that is queued or running without a live epoch has one, and so has one whose export or
// deployment is held up: it is in `describe`, in the events (when it changes) and in the metric
// tritter_run_waiting.
#pragma once

#include <string>

namespace tritter {

// A new cause comes with its name in WaitCauseName, and with a test through the coordinator
// (coordinator_waiting_test.cc) that shows its sentence.
enum class WaitCause {
  kNone,       // it does not wait
  kUndecided,  // submitted, resumed or ended an epoch a moment ago: the next tick decides
  // Workers. Of several obstacles the cause is the one whose end would do, the nearest first.
  kNoWorkers,        // none is registered
  kTooFewWorkers,    // all of them together are not enough
  kWorkersLeaving,   // they have not yet left an epoch that has ended
  kWorkersBusy,      // they work for other runs
  kWorkersLost,      // they were lost, and are not back
  kWorkersDraining,  // they are about to go
  kWorkerTooOld,     // they cannot read the configuration of the run, being of another version
  kTooLittleMemory,  // they have less than the run needs
  kWrongDevice,      // they are of another kind than the run asks for or its group is of
  kMixedDevices,     // CPUs and GPUs would do together, but form no group
  kMixedVersions,    // workers of several versions would do together, but form no group
  kSettling,         // there are enough, but fewer than it may have, and more may follow at once
  // Other runs.
  kBehindPriority,      // one of a higher priority is ahead, and waits for the same workers
  kPreempting,          // others give up workers for it, and are about to stop
  kBehindShare,         // one of a project that uses less of its share is
  kBehindOlder,         // an older one of the same priority is, or one whose epoch was lost
  kAfterUnfinished,     // a run that must be complete first is not yet
  kAfterFailed,         // such a run has failed or was cancelled: somebody must act
  kNoInferenceServers,  // its job is for inference servers, and this coordinator knows none
  kServerAway,          // likewise, and one of them does not answer
  // Itself.
  kRetryDelay,            // its last epochs failed; a pause before the next
  kCommitting,            // a checkpoint of its last epoch is being committed
  kRetaining,             // its older checkpoints are being removed
  kVerifying,             // its checkpoint is read before it goes on from there
  kCheckpointUnreadable,  // the newest checkpoint cannot be read now: a disk, a mount
  kCheckpointsDamaged,    // none of its checkpoints is whole
  kCheckpointsNotTidied,  // the folder of its checkpoints cannot be looked through
  kSpecUnreadable,        // its stored configuration was written by another version
  kRecordUnreadable,      // a row of it in the store is damaged
  kExportNotStored,       // it has exported, and the store does not take that
  kStoreFailing,          // its epoch, or its end, cannot be stored
};

// Stable, snake_case: the label of the metric and Run.waiting_cause. Empty for kNone.
const char* WaitCauseName(WaitCause cause);

struct Wait {
  WaitCause cause = WaitCause::kNone;
  std::string sentence = {};  // with names and numbers; empty with kNone
  bool waits() const { return cause != WaitCause::kNone; }
};

// What `describe` shows of it: the sentence and how the last epoch ended (`ended`; empty: there was
// none), once where the sentence names the worker whose loss that was (`lost`; empty: it was none).
// Not where it waits for other runs alone: that explains nothing then.
std::string WaitText(const Wait& wait, const std::string& ended, const std::string& lost);
// Whether it waits for workers, whoever has them.
bool ForWorkers(WaitCause cause);
// The same but for figures and ages, which move all the time: no news.
bool SaysTheSame(const std::string& a, const std::string& b);

}  // namespace tritter
