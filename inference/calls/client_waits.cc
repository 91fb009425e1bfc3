#include "inference/calls/client_waits.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tritter {

ClientWaits::Wait::Wait(ClientWaits* waits, For what, End end) : waits_(waits) {
  const absl::Duration now = waits_->clock_->Monotonic();
  MutexLock lock(&waits_->mu_);
  allowed_ = what != For::kRequest || !waits_->draining_;
  entry_ = waits_->entries_.insert(waits_->entries_.end(), Entry{what, now, std::move(end)});
}

ClientWaits::Wait::~Wait() {
  MutexLock lock(&waits_->mu_);
  waits_->entries_.erase(entry_);
}

void ClientWaits::EndOverdue() {
  const absl::Duration now = clock_->Monotonic();
  MutexLock lock(&mu_);
  for (Entry& entry : entries_) {
    if (entry.end == nullptr || now - entry.since < limit_) continue;
    const bool stream = entry.what == For::kRequest;
    std::exchange(entry.end, nullptr)(absl::AbortedError(absl::StrCat(
        stream ? "no request came on this stream for " : "nothing of the answer was read for ",
        absl::FormatDuration(limit_), ", which is the limit; ",
        stream ? "open another stream" : "read while the text is generated",
        ", or start the server with a larger --idle-limit")));
  }
}

void ClientWaits::StartDraining() {
  MutexLock lock(&mu_);
  draining_ = true;
  for (Entry& entry : entries_) {
    if (entry.end == nullptr || entry.what != For::kRequest) continue;
    std::exchange(entry.end, nullptr)(absl::UnavailableError(
        "the server is shutting down and takes no other request; ask another one, or again when it "
        "is back"));
  }
}

}  // namespace tritter
