#include "tritterctl/local/local_cluster.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "tritterctl/local/connecting_words.h"

namespace tritter {

LocalCluster::LocalCluster(Env* env, Clock* clock, LocalClusterOptions options, Tell tell)
    : env_(env), clock_(clock), options_(std::move(options)), tell_(std::move(tell)) {}

LocalCluster::~LocalCluster() { Stop(); }

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(
    Env* env, Clock* clock, const LocalClusterOptions& options, Tell tell) {
  std::unique_ptr<LocalCluster> cluster(new LocalCluster(env, clock, options, std::move(tell)));
  RETURN_IF_ERROR(env->CreateDirs(JoinPath(options.dir, "logs")));
  RETURN_IF_ERROR(env->CreateDirs(JoinPath(options.dir, "coordinator")));
  absl::StatusOr<std::unique_ptr<FileLock>> lock = FileLock::Acquire(JoinPath(options.dir, "lock"));
  if (absl::IsFailedPrecondition(lock.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("another tritterctl local works in this folder: ",
                     absl::StripSuffix(lock.status().message(),
                                       "; stop that process first, or use another folder"),
                     "; wait for it or choose another --dir"));
  }
  RETURN_IF_ERROR(lock);
  cluster->lock_ = *std::move(lock);
  RETURN_IF_ERROR(cluster->StartCoordinator());
  RETURN_IF_ERROR(cluster->StartWorkers());
  return cluster;
}

ChildSpec LocalCluster::MakeSpec(const std::string& name,
                                 std::function<std::vector<std::string>()> argv) const {
  ChildSpec spec;
  spec.name = name;
  spec.log_path = JoinPath(options_.dir, absl::StrCat("logs/", name, ".log"));
  spec.ready_path = JoinPath(options_.dir, name + ".ready.json");
  spec.argv = std::move(argv);
  return spec;
}

absl::Status LocalCluster::StartCoordinator() {
  const auto argv = [this] {
    std::vector<std::string> out = {
        options_.coordinator_binary,
        // Any free port at first; later the same again, which the workers know.
        "--listen", address_.empty() ? "127.0.0.1:0" : address_, "--data-dir",
        JoinPath(options_.dir, "coordinator"), "--metrics-listen", "127.0.0.1:0", "--ready-file",
        JoinPath(options_.dir, "coordinator.ready.json")};
    out.insert(out.end(), options_.coordinator_flags.begin(), options_.coordinator_flags.end());
    return out;
  };
  coordinator_ = std::make_unique<SupervisedChild>(env_, clock_, MakeSpec("coordinator", argv),
                                                   options_.restart);
  RETURN_IF_ERROR(coordinator_->Start());
  const absl::Duration deadline = clock_->Monotonic() + options_.ready_limit;
  for (;;) {
    absl::StatusOr<std::string> address = coordinator_->ReadyAddress();
    if (address.ok()) {
      address_ = *std::move(address);
      return absl::OkStatus();
    }
    if (address.status().code() != absl::StatusCode::kUnavailable) return address.status();
    RETURN_IF_ERROR(coordinator_->Tick(tell_));
    if (clock_->Monotonic() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("the coordinator was not ready within ",
                                                      absl::FormatDuration(options_.ready_limit),
                                                      "; see ", coordinator_->spec().log_path));
    }
    if (WaitForShutdown(absl::Milliseconds(20))) return absl::CancelledError("interrupted");
  }
}

absl::Status LocalCluster::StartWorkers() {
  for (int i = 0; i < options_.workers; ++i) {
    const std::string name = absl::StrCat("worker-", i);
    const auto argv = [this, name] {
      std::vector<std::string> out = {options_.worker_binary,
                                      "--coordinator",
                                      address_,
                                      "--name",
                                      name,
                                      "--threads",
                                      absl::StrCat(options_.threads),
                                      "--metrics-listen",
                                      "127.0.0.1:0",
                                      "--ready-file",
                                      JoinPath(options_.dir, name + ".ready.json")};
      out.insert(out.end(), options_.worker_flags.begin(), options_.worker_flags.end());
      return out;
    };
    workers_.push_back(
        std::make_unique<SupervisedChild>(env_, clock_, MakeSpec(name, argv), options_.restart));
    RETURN_IF_ERROR(workers_.back()->Start());
  }
  return absl::OkStatus();
}

absl::Status LocalCluster::Tick() {
  RETURN_IF_ERROR(coordinator_->Tick(tell_));
  for (const auto& worker : workers_) RETURN_IF_ERROR(worker->Tick(tell_));
  return absl::OkStatus();
}

std::string LocalCluster::WaitingFor(const std::string& cause) const {
  std::vector<std::string> starting;
  absl::Duration since_start = absl::InfiniteDuration();
  for (const auto& worker : workers_) {
    if (!worker->Ready()) starting.push_back(worker->spec().name);
    since_start = std::min(since_start, clock_->Monotonic() - worker->started());
  }
  return ConnectingWords(cause, starting, since_start);
}

void LocalCluster::StopWorkers() {
  for (const auto& worker : workers_) worker->AskToStop();
  const absl::Duration deadline = clock_->Monotonic() + options_.stop_grace;
  for (const auto& worker : workers_)
    worker->FinishStop(std::max(absl::ZeroDuration(), deadline - clock_->Monotonic()));
}

void LocalCluster::Stop() {
  StopWorkers();
  if (coordinator_ != nullptr) {
    coordinator_->AskToStop();
    coordinator_->FinishStop(options_.stop_grace);
  }
}

}  // namespace tritter
