// Between the engine's scheduler thread, which writes, and the one that waits for a request's
// result.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "inference/request.h"

namespace tritter {

// Shared by both sides. Never blocks the writer: what is not fetched is merged into one event (its
// size is bounded by the request's max_tokens).
class RequestChannel {
 public:
  // Writer.
  void Append(absl::string_view text, int32_t token, std::vector<PositionScore> logprobs);
  void AppendScores(std::vector<PositionScore> scores);
  void SetEmbedding(std::vector<float> embedding);
  void Finish(absl::string_view last_text, FinishReason reason, const RequestUsage& usage,
              const absl::Status& error = absl::OkStatus());

  // Reader. Next: true with everything that came since the last call; false when nothing came in
  // time.
  bool Next(absl::Duration timeout, GenerateEvent* event);
  std::vector<PositionScore> TakeScores();
  std::vector<float> TakeEmbedding();
  // The scheduler notices before its next step.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
  Mutex mu_;
  CondVar changed_;
  bool fresh_ GUARDED_BY(mu_) = false;
  GenerateEvent event_ GUARDED_BY(mu_);
  std::vector<PositionScore> scores_ GUARDED_BY(mu_);
  std::vector<float> embedding_ GUARDED_BY(mu_);
};

}  // namespace tritter
