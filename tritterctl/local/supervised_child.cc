#include "tritterctl/local/supervised_child.h"

#include <signal.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

SupervisedChild::SupervisedChild(Env* env, Clock* clock, ChildSpec spec, RestartPolicy policy)
    : env_(env), clock_(clock), spec_(std::move(spec)), policy_(policy) {}

SupervisedChild::~SupervisedChild() = default;

absl::Status SupervisedChild::Start() {
  if (env_->Exists(spec_.ready_path)) RETURN_IF_ERROR(env_->RemoveFile(spec_.ready_path));
  SubprocessOptions options;
  options.argv = spec_.argv();
  options.output = SubprocessOptions::Output::kFile;
  options.output_path = spec_.log_path;
  ASSIGN_OR_RETURN(process_, Subprocess::Start(options));
  started_ = clock_->Monotonic();
  return absl::OkStatus();
}

absl::Status SupervisedChild::Tick(const std::function<void(const std::string&)>& tell) {
  if (stopping_) return absl::OkStatus();
  if (process_ != nullptr) {
    const std::optional<ExitStatus> exit = process_->Poll();
    if (!exit) return absl::OkStatus();
    const absl::Duration now = clock_->Monotonic();
    failures_ = FailuresInARow(policy_, failures_, now - started_);
    process_.reset();
    if (GiveUp(policy_, failures_)) {
      return absl::InternalError(
          absl::StrCat(spec_.name, " ended ", failures_, " times in a row, last with ",
                       exit->ToString(), "; its log ", spec_.log_path, " ends with:\n", LogTail()));
    }
    const absl::Duration pause = PauseBeforeRestart(policy_, failures_);
    restart_at_ = now + pause;
    tell(absl::StrCat(spec_.name, " ended with ", exit->ToString(), "; starting it again in ",
                      absl::FormatDuration(pause)));
    return absl::OkStatus();
  }
  return clock_->Monotonic() >= restart_at_ ? Start() : absl::OkStatus();
}

absl::StatusOr<std::string> SupervisedChild::ReadyAddress() {
  if (!env_->Exists(spec_.ready_path))
    return absl::UnavailableError(absl::StrCat(spec_.name, " is not ready yet"));
  ASSIGN_OR_RETURN(const std::string text, env_->ReadFile(spec_.ready_path));
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("address") || !json["address"].is_string()) {
    return absl::DataLossError(
        absl::StrCat(spec_.ready_path, ": expected JSON with \"address\", actual: ", text));
  }
  return json["address"].get<std::string>();
}

void SupervisedChild::AskToStop() {
  stopping_ = true;
  if (process_ != nullptr) process_->Signal(SIGTERM);
}

void SupervisedChild::FinishStop(absl::Duration grace) {
  stopping_ = true;
  if (process_ == nullptr) return;
  if (!process_->Wait(grace)) process_->Kill();
  process_.reset();
}

std::string SupervisedChild::LogTail() const {
  constexpr size_t kTailBytes = 2000;
  const absl::StatusOr<std::string> log = env_->ReadFile(spec_.log_path);
  if (!log.ok()) return std::string(log.status().message());
  return log->size() > kTailBytes ? log->substr(log->size() - kTailBytes) : *log;
}

}  // namespace tritter
