#include "worker/plan_fetcher.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

PlanFetcher::PlanFetcher(Options options)
    : options_(std::move(options)), thread_([this] { Loop(); }) {}

PlanFetcher::~PlanFetcher() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void PlanFetcher::Prefetch(const PlanQuestion& question) {
  MutexLock lock(&mu_);
  if (asked_ == question) return;
  asked_ = question;
  answer_.reset();
  changed_.NotifyAll();
}

absl::StatusOr<PlanAnswer> PlanFetcher::Take(const PlanQuestion& question) {
  Prefetch(question);
  MutexLock lock(&mu_);
  while (!answer_.has_value()) {
    if (options_.cancellation->cancelled())
      return absl::AbortedError(options_.cancellation->cause().message());
    if (options_.check) RETURN_IF_ERROR(options_.check());
    changed_.WaitFor(&mu_, absl::Milliseconds(50));  // neither of the two wakes us
  }
  absl::StatusOr<PlanAnswer> answer = *std::move(answer_);
  answer_.reset();
  asked_.reset();
  return answer;
}

void PlanFetcher::Loop() {
  while (true) {
    PlanQuestion question;
    {
      MutexLock lock(&mu_);
      while (!stop_ && (!asked_.has_value() || answer_.has_value())) changed_.Wait(&mu_);
      if (stop_) return;
      question = *asked_;
    }
    absl::StatusOr<PlanAnswer> answer = Ask(question);
    MutexLock lock(&mu_);
    if (asked_ == question) answer_ = std::move(answer);
    changed_.NotifyAll();
  }
}

bool PlanFetcher::GivenUp(const PlanQuestion& question) {
  MutexLock lock(&mu_);
  return asked_ != question;
}

absl::StatusOr<PlanAnswer> PlanFetcher::Ask(const PlanQuestion& question) {
  const auto note = [this](const std::string& reason) {
    if (reason != last_reason_ && options_.on_wait) options_.on_wait(reason);
    last_reason_ = reason;
  };
  while (!GivenUp(question)) {
    auto answer = CallUntilAnswered(
        *options_.cancellation, options_.backoff,
        [&] { return options_.link->NextPlan(options_.id, options_.rank, question); },
        [&](const absl::Status& status) {
          note(absl::StrCat("the coordinator is away: ", status.message()));
        });
    if (!answer.ok()) return answer.status();
    const auto* wait = std::get_if<PlanWait>(&*answer);
    if (wait == nullptr) {
      last_reason_.clear();
      return answer;
    }
    note(wait->reason);
    if (options_.cancellation->Sleep(wait->retry_after)) break;
  }
  return absl::AbortedError(options_.cancellation->cause().message());
}

}  // namespace tritter
