#include "coordinator/store/fault_store.h"

namespace tritter {

void FaultStore::FailApply(int64_t nth, StoreFault fault, bool sticky) {
  fault_ = fault;
  sticky_ = sticky;
  at_ = count_ + nth;
}

absl::Status FaultStore::Apply(const WriteBatch& batch) {
  if (on_access_) on_access_();
  const int64_t index = count_++;
  const int64_t at = at_;
  const bool fails = at >= 0 && (index == at || (sticky_ && index > at));
  if (fails && fault_ == StoreFault::kRefuse) {
    return absl::ResourceExhaustedError("store: injected fault: no space left on device");
  }
  if (fails && fault_ == StoreFault::kLoseRequest)
    return absl::UnavailableError("store: injected fault: it cannot be reached");
  absl::Status status = base_->Apply(batch);
  if (fails && status.ok()) out_of_touch_ = fault_ == StoreFault::kLoseTouch;
  if (fails && status.ok())
    return absl::UnavailableError("store: injected fault: the answer was lost");
  return status;
}

absl::Status FaultStore::AtRead() {
  if (!out_of_touch_.exchange(false)) return absl::OkStatus();
  return absl::UnavailableError("store: injected fault: it cannot be reached");
}

}  // namespace tritter
