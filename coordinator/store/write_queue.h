// Writes to a store from many threads: in the order in which they were put, those that wait
// together in one transaction.
#pragma once

#include <deque>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "coordinator/store/store.h"

namespace tritter {

// Thread-safe; owns no thread: one of those that wait writes for all that were put by then. The
// store outlives it.
class WriteQueue {
 public:
  // One write, in the hands of who puts it until Await has answered.
  class Entry {
   public:
    explicit Entry(const WriteBatch& batch) : batch_(&batch) {}  // which outlives it
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    friend class WriteQueue;
    const WriteBatch* const batch_;
    CondVar turn_;  // it is done, or its owner is to write
    bool done_ = false;
    absl::Status status_;
  };

  explicit WriteQueue(Store* store) : store_(store) {}

  // Never waits for the disk: under a lock that orders the writes, say.
  void Put(Entry* entry);
  // After Put: the store's answer.
  absl::Status Await(Entry* entry);

 private:
  // As many as a transaction may hold, so that the first of them does not wait for long.
  static constexpr size_t kMostTogether = 256;

  Store* const store_;
  Mutex mu_;
  std::deque<Entry*> waiting_ GUARDED_BY(mu_);
  bool writing_ GUARDED_BY(mu_) = false;
};

}  // namespace tritter
