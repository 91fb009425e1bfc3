// Ending an epoch from outside: a flag that every wait of the epoch listens to, and calls repeated
// until it is raised.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "worker/coordinator_link.h"

namespace tritter {

// Thread-safe. Once cancelled it stays so, with the first cause.
class Cancellation {
 public:
  // False when it was cancelled before.
  bool Cancel(absl::Status cause) {
    MutexLock lock(&mu_);
    if (cancelled_) return false;
    cancelled_ = true;
    cause_ = std::move(cause);
    changed_.NotifyAll();
    return true;
  }
  bool cancelled() const {
    MutexLock lock(&mu_);
    return cancelled_;
  }
  absl::Status cause() const {
    MutexLock lock(&mu_);
    return cause_;
  }
  // Waits this long, or until cancelled (then true).
  bool Sleep(absl::Duration d) const {
    MutexLock lock(&mu_);
    if (!cancelled_) changed_.WaitFor(&mu_, d);
    return cancelled_;
  }

 private:
  mutable Mutex mu_;
  mutable CondVar changed_;
  bool cancelled_ GUARDED_BY(mu_) = false;
  absl::Status cause_ GUARDED_BY(mu_);
};

// Exponential from `initial` to `max`.
struct Backoff {
  absl::Duration initial = absl::Milliseconds(200);
  absl::Duration max = absl::Seconds(3);
};

// Repeats `call` while its failure IsRetryable. `on_retry` sees each failure. Aborted (with the
// cause) once cancelled.
template <typename Call>
auto CallUntilAnswered(const Cancellation& cancellation, const Backoff& backoff, const Call& call,
                       const std::function<void(const absl::Status&)>& on_retry)
    -> decltype(call()) {
  absl::Duration pause = backoff.initial;
  while (true) {
    if (cancellation.cancelled()) return absl::AbortedError(cancellation.cause().message());
    auto result = call();
    const absl::Status status = status_internal::ToStatus(result);
    if (!IsRetryable(status)) return result;
    on_retry(status);
    cancellation.Sleep(pause);
    pause = std::min(pause * 2, backoff.max);
  }
}

}  // namespace tritter
