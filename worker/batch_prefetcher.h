// Reads the next batch in a thread of its own while a step computes, so that a step waits for data
// only where reading takes longer than computing.
#pragma once

#include <cstdint>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "worker/epoch_parts.h"

namespace tritter {

// Start and Take are for one thread, the training thread. What is read, and with which status, is
// what EpochData::Read gives: a read that was started but is not taken leaves no trace. Owned by
// the epoch.
class BatchPrefetcher {
 public:
  // The arguments of EpochData::Read.
  struct Request {
    int64_t first_slot = 0, global_batch = 0, first_position = 0, count = 0;
    bool operator==(const Request&) const = default;
  };
  explicit BatchPrefetcher(EpochData* data);  // not owned; outlives this
  ~BatchPrefetcher();                         // waits for the read under way

  // Begins to read; a batch that was started before and not taken is dropped.
  void Start(const Request& request);
  // The batch that was started with this request, once it is there; any other is read here and now.
  absl::StatusOr<EpochData::Share> Take(const Request& request);

 private:
  void Loop();
  absl::StatusOr<EpochData::Share> Read(const Request& request);

  EpochData* const data_;
  Mutex mu_;
  CondVar changed_;
  bool stop_ GUARDED_BY(mu_) = false;
  bool reading_ GUARDED_BY(mu_) = false;
  std::optional<Request> wanted_ GUARDED_BY(mu_);  // the thread's order, until it is carried out
  std::optional<Request> read_ GUARDED_BY(mu_);    // what `share_` is of
  absl::StatusOr<EpochData::Share> share_ GUARDED_BY(mu_);
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace tritter
