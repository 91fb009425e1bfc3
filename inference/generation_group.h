// Several generations of one call, their events in the order in which they come.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/engine.h"

namespace tritter {

// Not thread-safe. Destroying it cancels what has not ended.
class GenerationGroup {
 public:
  // All or none. Errors: those of ValidateGenerate; InvalidArgument for more than the queue holds
  // even when it is empty; ResourceExhausted when the queue is full.
  static absl::StatusOr<GenerationGroup> Start(Engine* engine, std::vector<GenerateParams> params);

  struct Event {
    size_t index = 0;  // of the params
    GenerateEvent what;
  };
  // The next event of any; false once all have ended. While waiting it asks `gone` every few
  // milliseconds; then the rest is cancelled and ends within one token.
  bool Next(const std::function<bool()>& gone, Event* event);
  void Cancel();
  size_t size() const { return generations_.size(); }

 private:
  std::vector<std::unique_ptr<Generation>> generations_;  // null: ended
  size_t next_ = 0, left_ = 0;
};

}  // namespace tritter
