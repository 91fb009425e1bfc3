// What /healthz says of this process. Whoever is in charge at the moment hangs it up: the
// coordinator that leads, or nobody while it stands by.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/mutex.h"

namespace tritter {

// Thread-safe. After Set has returned, nothing calls what was hung up before.
class HealthBoard {
 public:
  void Set(std::function<absl::Status()> health, std::string text) {
    MutexLock lock(&mu_);
    health_ = std::move(health);
    text_ = std::move(text);
  }
  absl::Status Health() {
    MutexLock lock(&mu_);
    return health_ ? health_() : absl::OkStatus();
  }
  std::string Text() {
    MutexLock lock(&mu_);
    return text_;
  }

 private:
  Mutex mu_;
  std::function<absl::Status()> health_ GUARDED_BY(mu_);
  std::string text_ GUARDED_BY(mu_) = "starting";
};

}  // namespace tritter
