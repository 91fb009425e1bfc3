// What the workers of a load have done and how long they waited for it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/mutex.h"

namespace tritter::load {

// Of one kind of call. The durations of some calls may be unknown: heartbeats that nobody answers.
struct CallFigures {
  int64_t calls = 0;
  std::vector<double> milliseconds;  // sorted
  // The value that the share `p` (0 to 1) of them does not exceed; 0 when there is none.
  double Percentile(double p) const;
};

// Thread-safe.
class LoadCounts {
 public:
  void Sent(const std::string& call) EXCLUDES(mu_);
  void Took(const std::string& call, absl::Duration time) EXCLUDES(mu_);
  // Of a call, or of a session that ended, as it should not: counted by what it says.
  void Failed(const std::string& call, const absl::Status& status) EXCLUDES(mu_);

  // Since the last call, which forgets them.
  std::map<std::string, CallFigures> TakeCalls() EXCLUDES(mu_);
  // All failures so far, "call: code: message" to how often; at most 20 different ones.
  std::map<std::string, int64_t> Failures() EXCLUDES(mu_);

 private:
  Mutex mu_;
  std::map<std::string, CallFigures> calls_ GUARDED_BY(mu_);
  std::map<std::string, int64_t> failures_ GUARDED_BY(mu_);
};

}  // namespace tritter::load
