// A coordinator and workers as real processes on loopback, for end-to-end tests.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/subprocess.h"
#include "proto/tritter/v1/inference.grpc.pb.h"
#include "proto/tritter/v1/runs.grpc.pb.h"

namespace tritter::e2e {

// Tensor name -> bytes of a whole committed checkpoint, whatever the number of its shares.
using State = std::map<std::string, std::string>;

// Shards of the example text in `folder`/shards, and the run below written to `folder`/run.yaml.
// Overrides replace lines of the `training:` and other mappings: key -> value, e.g. {"steps",
// "40"}; "training" is lines of its own of that mapping.
absl::Status MakeShards(const std::string& folder);
std::string RunYaml(const std::string& name, const std::map<std::string, std::string>& overrides);

// How and where a process is started, beside what the cluster says itself.
struct Launch {
  std::vector<std::string> prefix = {};       // before the program, e.g. {"nsenter", …}
  std::vector<std::string> environment = {};  // NAME=value
  std::vector<std::string> flags = {};
  std::string host = "127.0.0.1";          // of the coordinator: where it listens
  std::string program = "tritter_worker";  // of a worker
  // Of a worker: those that it may speak to, a:1,b:2; empty: that of the cluster.
  std::string coordinators = {};
};

// Owned by one test; one thread. Everything it started is killed by its destructor. Several
// clusters may run at once.
class Cluster {
 public:
  // `folder` must hold shards/ (MakeShards); data, logs and ready files go there too.
  explicit Cluster(std::string folder) : folder_(std::move(folder)) {}

  // The second time on the same port and store.
  absl::Status StartCoordinator(const Launch& launch = {});
  absl::Status StartWorker(const std::string& name, const Launch& launch = {});
  void KillCoordinator();                    // SIGKILL
  void KillWorker(const std::string& name);  // SIGKILL
  Subprocess* worker(const std::string& name) { return workers_[name].get(); }
  Subprocess* coordinator() { return coordinator_.get(); }
  // From now on the coordinator that listens there is asked.
  void Ask(const std::string& address);

  absl::StatusOr<std::string> Submit(const std::string& yaml);  // run id
  absl::StatusOr<v1::Run> Get(const std::string& run);
  // Asks until `done` is true of the run; workers that ended with the wish to be started again
  // (exit code 75) are, as by a supervisor. DeadlineExceeded with the last state, reason and the
  // ends of the logs.
  absl::StatusOr<v1::Run> WaitFor(const std::string& run,
                                  const std::function<bool(const v1::Run&)>& done,
                                  absl::Duration timeout = absl::Seconds(120));
  absl::StatusOr<v1::Run> WaitForEnd(const std::string& run,
                                     absl::Duration timeout = absl::Seconds(120));

  v1::RunService::Stub& runs() { return *runs_; }
  const std::string& address() const { return address_; }
  std::string LogTails() const;

 private:
  absl::Status Supervise();

  std::string folder_;
  std::string address_;
  int incarnation_ = 0;
  std::unique_ptr<Subprocess> coordinator_;
  std::map<std::string, std::unique_ptr<Subprocess>> workers_;
  std::map<std::string, Launch> launches_;  // of the workers
  std::unique_ptr<v1::RunService::Stub> runs_;
};

// An inference worker; `flags` say which models it has, e.g. {"--model", path}.
class ModelServer {
 public:
  static absl::StatusOr<std::unique_ptr<ModelServer>> Start(const std::string& folder,
                                                            const std::vector<std::string>& flags);
  v1::InferenceService::Stub& stub() { return *stub_; }
  const std::string& address() const { return address_; }
  Subprocess& process() { return *process_; }

 private:
  std::unique_ptr<Subprocess> process_;
  std::string address_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

absl::StatusOr<State> ReadState(const std::string& run_dir, int64_t step);
// "" when equal, else the first difference.
std::string Difference(const State& a, const State& b);

// Waits for a ready file (JSON with "address") of a process that should not end meanwhile.
absl::StatusOr<std::string> WaitForReady(const std::string& ready_file, Subprocess& process,
                                         const std::string& log);

// Paths inside the test's runfiles.
std::string Binary(const std::string& name);  // "tritterctl", "tritter_coordinator", …
std::string TempFolder(const std::string& name);

}  // namespace tritter::e2e
