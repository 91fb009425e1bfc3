#include "coordinator/store/write_queue.h"

#include <algorithm>
#include <vector>

namespace tritter {

void WriteQueue::Put(Entry* entry) {
  MutexLock lock(&mu_);
  waiting_.push_back(entry);
}

absl::Status WriteQueue::Await(Entry* entry) {
  MutexLock lock(&mu_);
  while (!entry->done_) {
    if (writing_) {
      entry->turn_.Wait(&mu_);
      continue;
    }
    writing_ = true;
    const size_t n = std::min(waiting_.size(), kMostTogether);
    const std::vector<Entry*> together(waiting_.begin(), waiting_.begin() + n);
    waiting_.erase(waiting_.begin(), waiting_.begin() + n);
    std::vector<const WriteBatch*> batches;
    for (const Entry* e : together) batches.push_back(e->batch_);
    mu_.Unlock();
    const std::vector<absl::Status> answers = store_->ApplyAll(batches);
    mu_.Lock();
    writing_ = false;
    for (size_t i = 0; i < together.size(); ++i) {
      together[i]->status_ = answers[i];
      together[i]->done_ = true;
      together[i]->turn_.NotifyOne();  // under the lock: then its owner may be gone
    }
    // Whoever is first now writes next; it may be on its way here.
    if (!waiting_.empty()) waiting_.front()->turn_.NotifyOne();
  }
  return entry->status_;
}

}  // namespace tritter
