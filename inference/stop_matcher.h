// Finds stop strings in text that arrives in pieces. Text is held back for as long as it could
// become a stop string, so that nothing of one is ever sent.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tritter {

// One per request; not thread-safe.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  // Text that may be sent now. After found() everything further is dropped.
  std::string Push(absl::string_view text);
  // What is still held back, when the generation ended without a stop string.
  std::string Finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace tritter
