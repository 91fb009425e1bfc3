// Serves one packed model: many requests at once. Knows no RPC.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "inference/calls/fair_queue.h"
#include "inference/engine_observer.h"
#include "inference/forward.h"
#include "inference/json_constraint.h"
#include "inference/packed_model.h"
#include "inference/prefix_cache.h"
#include "inference/request.h"
#include "inference/request_channel.h"
#include "inference/scheduler.h"
#include "inference/streaming/stream_plan.h"
#include "model/tokenizer.h"

namespace tritter {

struct EngineOptions {
  int threads = 1;
  bool pin_threads = false;  // each to one CPU
  int64_t max_kv_bytes = int64_t{1} << 30;
  int64_t max_queue = 64;    // requests that wait; one more is refused at once
  bool prefix_reuse = true;  // keep keys and values of past texts for those that begin alike
  SchedulerOptions scheduler;
  KvFormat kv_format = KvFormat::kF32;
  StreamOptions streaming;                // in the memory of what computes
  const TernaryKernel* kernel = nullptr;  // null: the best this CPU runs
  ForwardFactory forward;                 // null: this CPU computes
  Clock* clock = Clock::Real();
  std::shared_ptr<const Tokenizer> tokenizer;  // the model's; null: the byte tokenizer

  // Of the weights in this machine's memory: a device has them from there.
  StreamOptions host_streaming() const { return forward == nullptr ? streaming : StreamOptions{}; }
};

// Bytes that an engine of such a model works in, beside weights and KV cache: the buffers of the
// largest step, and what its threads choose tokens in. Where a device computes, only what comes
// back from it.
int64_t ActivationBytes(const ModelConfig& config, const LoadPlan& plan,
                        const EngineOptions& options);

// A generation at work. Destroying it cancels what is left of it. Thread-safe; outlives the engine
// harmlessly.
class Generation {
 public:
  explicit Generation(std::shared_ptr<RequestChannel> channel) : channel_(std::move(channel)) {}
  ~Generation() { Cancel(); }
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Waits for more: true with everything since the last call (the last event has a finish reason),
  // false when nothing came within `timeout`. Not to be called after the last event.
  bool Next(absl::Duration timeout, GenerateEvent* event) { return channel_->Next(timeout, event); }
  // Takes effect within one token; the last event then says kCancelled.
  void Cancel() { channel_->Cancel(); }

 private:
  std::shared_ptr<RequestChannel> channel_;
};

// Figures since the start, and the present state.
struct EngineStats {
  int64_t queued = 0, active = 0;
  // Used: by requests at work. Cached: of past ones, kept for prefix reuse, given up when needed.
  int64_t kv_pages_used = 0, kv_pages_cached = 0, kv_pages_total = 0, kv_page_bytes = 0;
  int64_t prompt_tokens = 0, cached_prompt_tokens = 0, generated_tokens = 0, steps = 0, refused = 0;
  std::array<int64_t, 6> finished{};  // by FinishReason
};

// Owns the model, the KV cache and the scheduler thread. Thread-safe. Destruction ends every
// request as cancelled.
class Engine {
 public:
  // `plan`: of this file. Errors: those of LoadModel and options.forward; FailedPrecondition for a
  // tokenizer that is not the model's; InvalidArgument when the KV memory does not hold one page.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(std::unique_ptr<PackedModelFile> file,
                                                        const LoadPlan& plan,
                                                        const EngineOptions& options);
  // With the plan that follows from options.streaming. Errors: also those of PlanLoad.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(std::unique_ptr<PackedModelFile> file,
                                                        const EngineOptions& options);
  ~Engine();

  // Errors: those of ValidateGenerate and CompileJsonSchema; ResourceExhausted when the queue is
  // full.
  absl::StatusOr<std::unique_ptr<Generation>> Generate(GenerateParams params);
  // Blocks; asks `cancelled` every few milliseconds. Errors: those of ValidateScore;
  // ResourceExhausted when the queue is full; Cancelled; DeadlineExceeded.
  absl::StatusOr<std::vector<PositionScore>> Score(ScoreParams params,
                                                   const std::function<bool()>& cancelled);

  // Blocks as Score does; the inputs share the engine's steps. Errors: those of ValidateEmbed;
  // Internal (hidden states that are no numbers); else as Score.
  absl::StatusOr<Embeddings> Embed(EmbedParams params, const std::function<bool()>& cancelled);

  // Set once, before the first request.
  void SetObserver(std::shared_ptr<EngineObserver> observer);

  const PackedModel& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::string kernel_name() const { return forward_->name(); }
  StreamStats stream_stats() const { return forward_->stream_stats(); }
  const RequestLimits& limits() const { return limits_; }
  EngineStats stats() const;

 private:
  Engine(std::unique_ptr<PackedModel> model, const Tokenizer* tokenizer,
         std::unique_ptr<ThreadPool> pool, std::unique_ptr<ForwardBackend> forward,
         int64_t kv_pages, const EngineOptions& options);
  // Null for a format of plain text.
  absl::StatusOr<std::unique_ptr<JsonConstraint>> MakeConstraint(const GenerateParams& params);
  absl::Status Enqueue(const std::string& client, std::unique_ptr<Sequence> sequence);
  void Loop();
  void AdmitLocked(std::vector<std::unique_ptr<Sequence>>* finished) REQUIRES(mu_);
  // Counts, reports and publishes what a step brought.
  void Settle(const std::vector<std::unique_ptr<Sequence>>& finished, StepReport report);

  const EngineOptions options_;
  const std::unique_ptr<PackedModel> model_;
  const Tokenizer* const tokenizer_;
  RequestLimits limits_;
  std::once_flag vocabulary_made_;
  std::shared_ptr<const JsonVocabulary> vocabulary_;  // made for the first constrained request

  // Of the scheduler thread.
  const std::unique_ptr<ThreadPool> pool_;
  const std::unique_ptr<ForwardBackend> forward_;
  KvPagePool pages_;
  PrefixCache prefixes_;
  Scheduler scheduler_;

  mutable Mutex mu_;
  CondVar wake_;
  bool stop_ GUARDED_BY(mu_) = false;
  FairQueue<std::unique_ptr<Sequence>> queue_ GUARDED_BY(mu_);
  EngineStats stats_ GUARDED_BY(mu_);
  std::shared_ptr<EngineObserver> observer_ GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace tritter
