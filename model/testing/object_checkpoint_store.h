// A CheckpointStore with nothing but what an object store gives: whole objects under flat keys, no
// rename, no folders. The manifest, written last, is the commit.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "model/checkpoint_store.h"

namespace tritter {

// Objects in memory. An object is there whole or not at all; what was answered is durable and seen
// by everybody. Thread-safe.
class MemoryBucket {
 public:
  absl::Status Put(const std::string& key, std::string object);
  absl::Status Delete(const std::string& key);                     // OK when it is not there
  absl::StatusOr<std::string> Get(const std::string& key) const;   // NotFound
  std::vector<std::string> Keys(const std::string& prefix) const;  // sorted

  // From the n-th change on (the first is 1) every change fails; with `done` the n-th does happen
  // and only its answer is lost.
  void FailAt(int64_t n, bool done);
  void Heal() { FailAt(0, false); }
  bool tripped() const;
  std::string last() const;  // the change that failed first, else the last one

 private:
  absl::Status Change(const std::string& what, const std::string& key, const std::string* object);

  mutable Mutex mu_;
  std::map<std::string, std::string> objects_ GUARDED_BY(mu_);
  int64_t changes_ GUARDED_BY(mu_) = 0;
  int64_t fail_at_ GUARDED_BY(mu_) = 0;
  bool done_ GUARDED_BY(mu_) = false;
  bool tripped_ GUARDED_BY(mu_) = false;
  std::string last_ GUARDED_BY(mu_);
};

// Keys: step-N/manifest.json, step-N/<attempt>/<file>. `bucket` outlives it.
std::unique_ptr<CheckpointStore> ObjectCheckpointStore(MemoryBucket* bucket);

}  // namespace tritter
