// What the engine reports while it works; metrics are made of it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "inference/layer_source.h"
#include "inference/request.h"

namespace tritter {

struct StepReport {
  int64_t active = 0, queued = 0;  // requests after the step
  int64_t kv_pages_used = 0;
  int64_t decoding = 0;          // requests that share the step and are past their prompt
  int64_t prompt_positions = 0;  // computed in the step
  int64_t generated_tokens = 0;
  absl::Duration duration;                  // of the step
  StreamStats stream;                       // since the engine was made
  std::vector<absl::Duration> inter_token;  // of every token that is not its request's first
};

// Called on the scheduler thread, between tokens: must not block. OnRefused is called on the
// caller's thread.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStep(const StepReport& report) = 0;
  virtual void OnFinish(const RequestUsage& usage, FinishReason reason) = 0;
  virtual void OnRefused() = 0;  // queue full
};

}  // namespace tritter
