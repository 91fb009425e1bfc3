// Continuous batching: which positions of which requests are computed in the next step. Requests
// join and leave between steps. A step computes one position of every request that decodes, and a
// bounded number of prompt positions, fewer when somebody waits for his next token, dealt out in
// turn, so that a long prompt stalls neither those that decode nor shorter prompts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "inference/engine_observer.h"
#include "inference/forward_backend.h"
#include "inference/prefix_cache.h"
#include "inference/sequence.h"
#include "inference/thread_pool.h"

namespace tritter {

struct SchedulerOptions {
  int64_t max_batch = 64;        // requests at work at a time
  int64_t prefill_chunk = 128;   // prompt positions per step
  int64_t decoding_chunk = 0;    // the same while requests decode; 0: what suits the backend
  int64_t prefill_quantum = 32;  // prompt positions of one request before it is the next one's turn

  // Of a step, at most: a prompt alone, or beside all other requests that decode.
  int64_t max_rows() const {
    return std::max(prefill_chunk, max_batch - 1 + std::min(prefill_chunk, decoding_chunk));
  }
};

// Owned by the engine; used by its scheduler thread alone.
class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, ForwardBackend* forward, PrefixCache* pages,
            ThreadPool* pool, Clock* clock)
      : options_(options), forward_(forward), pages_(pages), pool_(pool), clock_(clock) {}

  bool idle() const { return active_.empty(); }
  int64_t active() const { return static_cast<int64_t>(active_.size()); }
  // Takes the request and its pages, or under a window the promise of them; false when there is no
  // room now (the caller keeps it). Without memory for its pages the request has failed and comes
  // back from the next Step.
  bool Admit(std::unique_ptr<Sequence>& sequence);
  // Ends what is cancelled or over time, then computes one step. Returns what finished, without
  // pages, not yet published.
  std::vector<std::unique_ptr<Sequence>> Step(StepReport* report);
  std::vector<std::unique_ptr<Sequence>> FinishAll(FinishReason reason);

 private:
  struct Work {
    Sequence* sequence;
    int64_t positions;                     // computed in this step
    int64_t first_logits;                  // row of the logits
    int64_t logits;                        // how many rows
    int64_t first_hidden = 0, hidden = 0;  // the same of hidden states
    int32_t token = 0;                     // sampled
    absl::Status error = {};               // of the logits
    std::vector<PositionScore> scores = {};
  };
  std::vector<std::unique_ptr<Sequence>> TakeFinished();
  void DealOut(std::vector<Work>* work);
  // Rows [first, first + count) of the logits, as far as they are this request's.
  void ReadLogits(Work& work, int64_t first, int64_t count) const;

  const SchedulerOptions options_;
  ForwardBackend* const forward_;
  PrefixCache* const pages_;
  ThreadPool* const pool_;
  Clock* const clock_;
  std::vector<std::unique_ptr<Sequence>> active_;
  size_t turn_ = 0;  // whose prompt is first
};

}  // namespace tritter
