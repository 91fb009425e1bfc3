// One child process that is kept running: started, watched, started again with growing pauses when
// it ends, its ready file read. Owner: LocalCluster. All calls from the thread that called Start
// first (children die with that thread).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "tritterctl/local/restart_policy.h"

namespace tritter {

struct ChildSpec {
  std::string name;        // "coordinator", "worker-0"
  std::string log_path;    // stdout and stderr, appended
  std::string ready_path;  // removed before each start; the child writes it when it is ready
  // Asked before each start, so that a second start can name the port of the first.
  std::function<std::vector<std::string>()> argv;
};

class SupervisedChild {
 public:
  SupervisedChild(Env* env, Clock* clock, ChildSpec spec, RestartPolicy policy);
  ~SupervisedChild();  // kills what still runs

  absl::Status Start();
  // Looks at the child; starts it again when its pause is over. `tell` gets a sentence when it
  // ended or was started again. Errors: Internal when it has failed too often in a row (with the
  // end of its log), those of starting it.
  absl::Status Tick(const std::function<void(const std::string&)>& tell);
  // "address" of the ready file, once it is there.
  absl::StatusOr<std::string> ReadyAddress();
  // It runs, and has written its ready file.
  bool Ready() const { return process_ != nullptr && env_->Exists(spec_.ready_path); }
  absl::Duration started() const { return started_; }  // monotonic
  bool running() const { return process_ != nullptr; }
  const ChildSpec& spec() const { return spec_; }
  pid_t pid() const { return process_ ? process_->pid() : 0; }

  void AskToStop();                       // SIGTERM; no restart any more
  void FinishStop(absl::Duration grace);  // waits, then SIGKILL

 private:
  std::string LogTail() const;

  Env* const env_;
  Clock* const clock_;
  const ChildSpec spec_;
  const RestartPolicy policy_;
  std::unique_ptr<Subprocess> process_;
  bool stopping_ = false;
  int failures_ = 0;
  absl::Duration started_ = absl::ZeroDuration();  // monotonic
  absl::Duration restart_at_ = absl::ZeroDuration();
};

}  // namespace tritter
