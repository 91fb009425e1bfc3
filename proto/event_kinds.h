// Kinds of events (tritter.v1.Event.kind): stable names, given by the coordinator and looked for by
// clients. A run that enters a state also has an event "run_<state>".
#pragma once

namespace tritter {

// Of no run.
inline constexpr char kEventCoordinatorStarted[] = "coordinator_started";
inline constexpr char kEventUnreadable[] = "event_unreadable";  // in place of a damaged row
inline constexpr char kEventLeaderChanged[] = "leader_changed";
inline constexpr char kEventRunDeleted[] = "run_deleted";  // its own events are gone with it

inline constexpr char kEventWorkerLost[] = "worker_lost";
inline constexpr char kEventWorkerLeft[] = "worker_left";  // as it was told to
inline constexpr char kEventStraggler[] = "straggler";
inline constexpr char kEventBatchSplit[] = "batch_split";
inline constexpr char kEventEpochFormed[] = "epoch_formed";
inline constexpr char kEventEpochLost[] = "epoch_lost";
inline constexpr char kEventEpochCompleted[] = "epoch_completed";  // the last: all is trained
inline constexpr char kEventEpochStopped[] = "epoch_stopped";      // as it should, before that
inline constexpr char kEventStepsRepeated[] = "steps_repeated";
inline constexpr char kEventStepsGivenUp[] = "steps_given_up";  // who held them has other work
inline constexpr char kEventCheckpointCommitted[] = "checkpoint_committed";
inline constexpr char kEventCheckpointAdopted[] = "checkpoint_adopted";
inline constexpr char kEventCheckpointDamaged[] = "checkpoint_damaged";
inline constexpr char kEventRunSubmitted[] = "run_submitted";
inline constexpr char kEventRunWaiting[] = "run_waiting";
inline constexpr char kEventRunPausing[] = "run_pausing";
inline constexpr char kEventRunPaused[] = "run_paused";
inline constexpr char kEventRunResumed[] = "run_resumed";
inline constexpr char kEventRunCancelling[] = "run_cancelling";
inline constexpr char kEventRunCancelled[] = "run_cancelled";
inline constexpr char kEventRunCompleted[] = "run_completed";
inline constexpr char kEventRunExporting[] = "run_exporting";
inline constexpr char kEventRunDeploying[] = "run_deploying";
inline constexpr char kEventRunReported[] = "run_reported";
inline constexpr char kEventRunFailed[] = "run_failed";

}  // namespace tritter
