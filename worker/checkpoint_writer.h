// Writes this rank's share of a checkpoint while training goes on, and sees it committed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "model/checkpoint_store.h"
#include "worker/cancellation.h"
#include "worker/coordinator_link.h"
#include "worker/training/trainer.h"
#include "worker/training_observer.h"

namespace tritter {

// At most one checkpoint is in flight; a thread of its own writes it from the snapshot. Owned by
// the epoch, used by the training thread. The share is durable in the store before the coordinator
// hears of it. A full disk is waited out: the snapshot is kept and
// written again until there is room, so that only what needs the disk waits.
class CheckpointWriter {
 public:
  struct Options {
    CheckpointStore* store = nullptr;  // none of these is owned
    Clock* clock = nullptr;
    CoordinatorLink* link = nullptr;
    const Cancellation* cancellation = nullptr;
    EpochId id;
    int rank = 0;
    Backoff backoff;
    absl::Duration commit_poll =
        absl::Milliseconds(200);                         // while shares of other ranks are missing
    absl::Duration disk_retry = absl::Seconds(5);        // while the disk is full
    absl::Duration disk_full_notice = absl::Minutes(1);  // between calls of on_disk_full
    // From the writer's thread: the disk is full, the share is written again and again. At once,
    // then at times.
    std::function<void(const CheckpointOrder&, const absl::Status&)> on_disk_full;
    // From the writer's thread, each time the share is about to be written.
    std::function<absl::Status()> before_write;
    // From the writer's thread, when the share is durable and before the coordinator hears of it:
    // waits for what it must know before the step can be committed.
    std::function<absl::Status(int64_t step)> before_commit;
    // From the writer's thread, once for each checkpoint: committed, or why not.
    std::function<void(const CheckpointEnd&)> on_end;
  };
  explicit CheckpointWriter(Options options);
  ~CheckpointWriter();  // cancel first, or the checkpoint in flight is waited for

  // Waits for the checkpoint in flight, then starts this one. Returns the failure of an earlier
  // one, once.
  absl::Status Start(std::unique_ptr<TrainerSnapshot> snapshot, CheckpointOrder order);
  // The failure of an earlier checkpoint, once; OK while one is in flight.
  absl::Status Check();
  // Until nothing is in flight; then as Check. Aborted at once when cancelled: what is in flight
  // writes on until it notices, and the destructor waits for that.
  absl::Status WaitIdle();

 private:
  struct Job {
    std::unique_ptr<TrainerSnapshot> snapshot;
    CheckpointOrder order;
  };
  void Loop();
  absl::Status Write(const Job& job, CheckpointEnd* end);
  // All of it again while the disk is full.
  absl::StatusOr<std::vector<ManifestFile>> WriteFiles(const Job& job);
  absl::StatusOr<std::vector<ManifestFile>> TryWriteFiles(const Job& job);
  absl::Status TakeFailureLocked() REQUIRES(mu_);

  const Options options_;
  Mutex mu_;
  CondVar changed_;
  bool stop_ GUARDED_BY(mu_) = false;
  bool busy_ GUARDED_BY(mu_) = false;
  std::optional<Job> next_ GUARDED_BY(mu_);
  absl::Status failure_ GUARDED_BY(mu_);
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace tritter
