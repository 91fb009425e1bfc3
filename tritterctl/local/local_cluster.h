// A coordinator and its workers as child processes of this one, on loopback, in one folder:
//   <dir>/lock            held while this process runs a cluster here
//   <dir>/coordinator/    the coordinator's store and the runs' folders
//   <dir>/logs/*.log      what each process wrote
//   <dir>/*.ready.json    where each process listens
// All calls from one thread. Its destructor leaves no process behind.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/file_lock.h"
#include "tritterctl/local/supervised_child.h"

namespace tritter {

struct LocalClusterOptions {
  std::string dir;  // absolute
  std::string coordinator_binary, worker_binary;
  int workers = 1;
  int threads = 1;                                           // of each worker
  std::vector<std::string> coordinator_flags, worker_flags;  // added to what every cluster gets
  RestartPolicy restart;
  absl::Duration ready_limit = absl::Seconds(60);
  absl::Duration stop_grace = absl::Seconds(8);
};

class LocalCluster {
 public:
  using Tell = std::function<void(const std::string&)>;

  // Starts the coordinator, waits until it is ready, starts the workers. Errors: FailedPrecondition
  // (another process runs a cluster in this folder), Cancelled (SIGINT or SIGTERM meanwhile),
  // DeadlineExceeded, Internal (a child that cannot live).
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(Env* env, Clock* clock,
                                                             const LocalClusterOptions& options,
                                                             Tell tell);
  ~LocalCluster();

  // Restarts what ended. Call it at least every few hundred milliseconds.
  absl::Status Tick();
  // host:port of the coordinator; the same over its restarts.
  const std::string& address() const { return address_; }
  // What is said of a run that waits for workers that are being started (connecting_words.h).
  std::string WaitingFor(const std::string& cause) const;
  // They take their leave, with a checkpoint where that is needed; the coordinator answers yet.
  void StopWorkers();
  // Workers first, then the coordinator.
  void Stop();

 private:
  LocalCluster(Env* env, Clock* clock, LocalClusterOptions options, Tell tell);
  absl::Status StartCoordinator();
  absl::Status StartWorkers();
  ChildSpec MakeSpec(const std::string& name, std::function<std::vector<std::string>()> argv) const;

  Env* const env_;
  Clock* const clock_;
  const LocalClusterOptions options_;
  const Tell tell_;
  std::unique_ptr<FileLock> lock_;
  std::string address_;
  std::unique_ptr<SupervisedChild> coordinator_;
  std::vector<std::unique_ptr<SupervisedChild>> workers_;
};

}  // namespace tritter
