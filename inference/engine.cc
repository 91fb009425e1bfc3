#include "inference/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "inference/streaming/load_model.h"

namespace tritter {
namespace {

constexpr int64_t kEmbeddingsAtOnce = 16;
// Prompt positions beside requests that decode, on the CPU: a position of so small a batch costs no
// more than one of a large one (engine_bench), and others wait a fraction of the time.
constexpr int64_t kDecodingChunk = 16;

// With what suits the backend where nothing was said: a step that reads all layers from disk, or
// that a GPU computes, costs nearly the same with more positions.
EngineOptions WithDecodingChunk(EngineOptions options, bool streamed) {
  SchedulerOptions& s = options.scheduler;
  if (s.decoding_chunk == 0)
    s.decoding_chunk = streamed || options.forward != nullptr ? s.prefill_chunk : kDecodingChunk;
  return options;
}

// Until a request that is asked for as a whole has ended.
absl::Status WaitFor(RequestChannel* channel, absl::string_view what,
                     const std::function<bool()>& cancelled) {
  GenerateEvent event;
  while (!channel->Next(kCancelPoll, &event)) {
    if (cancelled()) channel->Cancel();
  }
  if (event.finish == FinishReason::kCancelled)
    return absl::CancelledError(absl::StrCat(what, " was cancelled"));
  if (event.finish == FinishReason::kDeadline)
    return absl::DeadlineExceededError(absl::StrCat(what, " did not end within its deadline"));
  return event.error;
}

}  // namespace

int64_t ActivationBytes(const ModelConfig& config, const LoadPlan& plan,
                        const EngineOptions& options) {
  const int64_t rows = WithDecodingChunk(options, plan.streamed.has_value()).scheduler.max_rows();
  const int64_t sampling = options.threads * SampleBytes(config.vocab);
  if (options.forward != nullptr) {  // logits and hidden states come back to the host
    const int64_t logits = std::min(rows, LogitRowsAtOnce(config.vocab, kLogitFloats));
    return sampling + 4 * (logits * config.vocab + rows * config.hidden);
  }
  const int64_t pages = options.max_kv_bytes / KvPageLayout(config, options.kv_format).page_bytes;
  // With a window a request lets go of its pages and goes on.
  const int64_t positions =
      config.window > 0 ? config.context : std::min(config.context, pages * kKvPagePositions);
  return ForwardBytes(config, options.threads, {rows, rows, rows, positions}) + sampling;
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<PackedModelFile> file,
                                                       const EngineOptions& options) {
  ASSIGN_OR_RETURN(const LoadPlan plan, PlanLoad(*file, options.host_streaming()));
  return Create(std::move(file), plan, options);
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<PackedModelFile> file,
                                                       const LoadPlan& plan,
                                                       const EngineOptions& options) {
  const TernaryKernel* kernel = options.kernel != nullptr ? options.kernel : &BestTernaryKernel();
  const Tokenizer& tokenizer = options.tokenizer != nullptr ? *options.tokenizer : ByteTokenizer();
  if (file->tokenizer_hash() != tokenizer.hash()) {
    return absl::FailedPreconditionError(absl::StrCat("the model was trained with the tokenizer ",
                                                      file->tokenizer_hash(), ", the one given is ",
                                                      tokenizer.hash()));
  }
  if (tokenizer.vocabulary() > file->config().vocab) {
    return absl::FailedPreconditionError(
        absl::StrCat("the tokenizer has ids up to ", tokenizer.vocabulary() - 1,
                     ", the model has a vocabulary of ", file->config().vocab));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PackedModel> model,
                   LoadModel(std::move(file), plan, *kernel, options.clock));
  const int64_t page_bytes = KvPageLayout(model->config(), options.kv_format).page_bytes;
  if (options.max_kv_bytes < page_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the KV cache may take ", options.max_kv_bytes, " bytes, one page of ",
                     "16 positions of this model needs ", page_bytes));
  }
  const int64_t kv_pages = options.max_kv_bytes / page_bytes;
  auto pool = std::make_unique<ThreadPool>(options.threads, options.pin_threads);
  std::unique_ptr<ForwardBackend> forward;
  if (options.forward != nullptr) {
    ASSIGN_OR_RETURN(forward,
                     options.forward(*model, options.kv_format, kv_pages, options.streaming));
  } else {
    forward = std::make_unique<ForwardPass>(model.get(), kernel, pool.get(), options.kv_format);
  }
  const bool streamed = plan.streamed.has_value();
  return std::unique_ptr<Engine>(new Engine(std::move(model), &tokenizer, std::move(pool),
                                            std::move(forward), kv_pages,
                                            WithDecodingChunk(options, streamed)));
}

Engine::Engine(std::unique_ptr<PackedModel> model, const Tokenizer* tokenizer,
               std::unique_ptr<ThreadPool> pool, std::unique_ptr<ForwardBackend> forward,
               int64_t kv_pages, const EngineOptions& options)
    : options_(options),
      model_(std::move(model)),
      tokenizer_(tokenizer),
      pool_(std::move(pool)),
      forward_(std::move(forward)),
      pages_(forward_->layout().page_bytes, kv_pages, forward_->kv_memory()),
      prefixes_(&pages_, options.prefix_reuse,
                KvWindow(model_->config(), options.scheduler.prefill_chunk)),
      scheduler_(options.scheduler, forward_.get(), &prefixes_, pool_.get(), options.clock) {
  limits_ = {model_->config().vocab, model_->config().context,
             pages_.max_pages(),     forward_->layout().page_bytes,
             options_.max_queue,     KvWindow(model_->config(), options.scheduler.prefill_chunk)};
  stats_.kv_pages_total = limits_.kv_pages;
  stats_.kv_page_bytes = limits_.kv_page_bytes;
  thread_ = std::thread([this] { Loop(); });
}

Engine::~Engine() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

absl::Status Engine::Enqueue(const std::string& client, std::unique_ptr<Sequence> sequence) {
  MutexLock lock(&mu_);
  if (static_cast<int64_t>(queue_.size()) >= options_.max_queue) {
    ++stats_.refused;
    if (observer_ != nullptr) observer_->OnRefused();
    return absl::ResourceExhaustedError(absl::StrCat(queue_.size(),
                                                     " requests are waiting already, the limit is ",
                                                     options_.max_queue, "; try again later"));
  }
  queue_.Push(client, std::move(sequence));
  ++stats_.queued;
  wake_.NotifyAll();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<JsonConstraint>> Engine::MakeConstraint(
    const GenerateParams& params) {
  if (params.format == OutputFormat::kText) return nullptr;
  JsonGrammar grammar;
  if (params.format == OutputFormat::kJsonObject) {
    grammar = AnyJsonObject();
  } else {
    ASSIGN_OR_RETURN(grammar, CompileJsonSchema(params.json_schema));
  }
  std::call_once(vocabulary_made_, [this] {
    vocabulary_ = std::make_shared<JsonVocabulary>(*tokenizer_, limits_.vocabulary);
  });
  std::vector<int32_t> end_ids = params.stop_ids;
  for (const int32_t id : tokenizer_->end_ids()) {
    if (!params.ignore_eos && id < limits_.vocabulary) end_ids.push_back(id);
  }
  auto constraint = std::make_unique<JsonConstraint>(
      std::make_shared<JsonAutomaton>(std::move(grammar)), vocabulary_, std::move(end_ids));
  if (constraint->allowed().empty()) {
    return absl::FailedPreconditionError(
        "no token of the model's vocabulary begins such JSON; leave the output format out");
  }
  return constraint;
}

absl::StatusOr<std::unique_ptr<Generation>> Engine::Generate(GenerateParams params) {
  RETURN_IF_ERROR(ValidateGenerate(params, limits_));
  ASSIGN_OR_RETURN(std::unique_ptr<JsonConstraint> constraint, MakeConstraint(params));
  auto channel = std::make_shared<RequestChannel>();
  const std::string client = params.client;
  RETURN_IF_ERROR(Enqueue(
      client, std::make_unique<Sequence>(std::move(params), channel, tokenizer_,
                                         std::move(constraint), options_.clock->Monotonic())));
  return std::make_unique<Generation>(std::move(channel));
}

absl::StatusOr<std::vector<PositionScore>> Engine::Score(ScoreParams params,
                                                         const std::function<bool()>& cancelled) {
  RETURN_IF_ERROR(ValidateScore(params, limits_));
  auto channel = std::make_shared<RequestChannel>();
  const std::string client = params.client;
  RETURN_IF_ERROR(Enqueue(client, std::make_unique<Sequence>(std::move(params), channel, tokenizer_,
                                                             options_.clock->Monotonic())));
  RETURN_IF_ERROR(WaitFor(channel.get(), "scoring", cancelled));
  return channel->TakeScores();
}

absl::StatusOr<Embeddings> Engine::Embed(EmbedParams params,
                                         const std::function<bool()>& cancelled) {
  RETURN_IF_ERROR(ValidateEmbed(params, limits_));
  const absl::Duration deadline = options_.clock->Monotonic() + params.timeout;
  const size_t count = params.inputs.size();
  const size_t at_once =
      static_cast<size_t>(std::clamp<int64_t>(options_.max_queue, 1, kEmbeddingsAtOnce));
  std::vector<std::shared_ptr<RequestChannel>> channels;
  Embeddings result;
  absl::Status status;
  while (status.ok() && result.vectors.size() < count) {
    while (status.ok() && channels.size() < std::min(count, result.vectors.size() + at_once)) {
      const absl::Duration now = options_.clock->Monotonic();
      params.timeout = deadline - now;
      result.prompt_tokens += static_cast<int64_t>(params.inputs[channels.size()].size());
      auto channel = std::make_shared<RequestChannel>();
      status = Enqueue(params.client, std::make_unique<Sequence>(params, channels.size(), channel,
                                                                 tokenizer_, now));
      if (status.ok()) channels.push_back(std::move(channel));
    }
    if (!status.ok()) break;
    RequestChannel* next = channels[result.vectors.size()].get();
    status = WaitFor(next, "the embedding", cancelled);
    if (status.ok()) result.vectors.push_back(next->TakeEmbedding());
  }
  for (const auto& channel : channels) channel->Cancel();  // nothing, to those that have ended
  if (!status.ok()) return status;
  return result;
}

void Engine::SetObserver(std::shared_ptr<EngineObserver> observer) {
  MutexLock lock(&mu_);
  observer_ = std::move(observer);
}

EngineStats Engine::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

void Engine::AdmitLocked(std::vector<std::unique_ptr<Sequence>>* finished) {
  const absl::Duration now = options_.clock->Monotonic();
  for (auto& s : queue_.Remove([&](const std::unique_ptr<Sequence>& waiting) {
         return waiting->Interruption(now) != FinishReason::kNone;
       })) {
    s->Finish(s->Interruption(now), now);
    finished->push_back(std::move(s));
  }
  // In turn: a large request at the front waits for memory, and nobody overtakes it for ever.
  while (!queue_.empty() && scheduler_.Admit(queue_.front())) queue_.Pop();
}

void Engine::Settle(const std::vector<std::unique_ptr<Sequence>>& finished, StepReport report) {
  std::shared_ptr<EngineObserver> observer;
  {
    MutexLock lock(&mu_);
    stats_.queued = report.queued = static_cast<int64_t>(queue_.size());
    stats_.active = report.active = scheduler_.active();
    stats_.kv_pages_used = report.kv_pages_used = prefixes_.used_pages();
    stats_.kv_pages_cached = prefixes_.idle_pages();
    report.stream = forward_->stream_stats();
    for (const auto& s : finished) {
      stats_.prompt_tokens += s->usage().prompt_tokens;
      stats_.cached_prompt_tokens += s->usage().cached_prompt_tokens;
      stats_.generated_tokens += s->usage().generated_tokens;
      ++stats_.finished[static_cast<size_t>(s->finish_reason())];
    }
    observer = observer_;
  }
  if (observer != nullptr) {
    observer->OnStep(report);
    for (const auto& s : finished) observer->OnFinish(s->usage(), s->finish_reason());
  }
  for (const auto& s : finished) s->Publish();
}

void Engine::Loop() {
  for (;;) {
    std::vector<std::unique_ptr<Sequence>> finished;
    {
      MutexLock lock(&mu_);
      while (!stop_ && queue_.empty() && scheduler_.idle()) wake_.Wait(&mu_);
      if (stop_) break;
      AdmitLocked(&finished);
      ++stats_.steps;
    }
    StepReport report;
    for (auto& s : scheduler_.Step(&report)) finished.push_back(std::move(s));
    Settle(finished, std::move(report));
  }
  std::vector<std::unique_ptr<Sequence>> finished = scheduler_.FinishAll(FinishReason::kCancelled);
  {
    MutexLock lock(&mu_);
    for (auto& s : queue_.Remove([](const std::unique_ptr<Sequence>&) { return true; })) {
      s->Finish(FinishReason::kCancelled, options_.clock->Monotonic());
      finished.push_back(std::move(s));
    }
  }
  Settle(finished, {});
}

}  // namespace tritter
