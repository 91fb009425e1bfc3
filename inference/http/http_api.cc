#include "inference/http/http_api.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "inference/generation_group.h"
#include "inference/http/json_fields.h"
#include "inference/http/openai_request.h"
#include "inference/http/openai_response.h"

namespace tritter {
namespace {

HttpAnswer Answer(std::string body) {
  HttpAnswer answer;
  answer.body = std::move(body);
  return answer;
}

// Many users may ask through one address, a gateway's.
std::string ClientOf(const HttpRequest& http, const std::string& user) {
  return absl::StrCat(http.peer, " ", user);
}

HttpAnswer Refusal(const absl::Status& status) {
  const OpenAiError error = ToOpenAiError(status);
  HttpAnswer answer = Answer(error.body);
  answer.code = error.code;
  if (error.code == 401) answer.headers = {{"WWW-Authenticate", "Bearer"}};
  if (error.code == 429 || error.code == 503) answer.headers = {{"Retry-After", "1"}};
  return answer;
}

// Everything that one request needs until its answer is written.
struct Work {
  ServedModelPtr model;  // outlives the generations
  OpenAiRequest request;
  OpenAiAnswer answer;
  GenerationGroup group;
  OpenAiUsage usage;
  std::function<bool()> gone;

  // The next news; false once all have ended. Ending with an error ends all.
  bool Next(OpenAiChoice* news, absl::Status* error);
};

bool Work::Next(OpenAiChoice* news, absl::Status* error) {
  GenerationGroup::Event event;
  if (!group.Next(gone, &event)) return false;
  GenerateEvent& what = event.what;
  *news = {};
  news->index = static_cast<int64_t>(event.index);
  news->text = std::move(what.text);
  news->logprobs = std::move(what.logprobs);
  news->has_logprobs = request.params.logprobs.has_value();
  news->finish = what.finish;
  if (what.finish == FinishReason::kNone) return true;
  if (news->index % request.n == 0) {  // a prompt counts once, whatever n is
    usage.prompt_tokens += what.usage.prompt_tokens;
    usage.cached_tokens += what.usage.cached_prompt_tokens;
  }
  usage.completion_tokens += what.usage.generated_tokens;
  if (what.finish == FinishReason::kFailed) *error = what.error;
  if (what.finish == FinishReason::kCancelled)
    *error = absl::CancelledError("the generation was cancelled");
  if (what.finish == FinishReason::kDeadline)
    *error = absl::DeadlineExceededError("the generation did not end within the server's limit");
  return true;
}

HttpAnswer AnswerWhole(Work work) {
  std::vector<OpenAiChoice> choices(work.group.size());
  OpenAiChoice news;
  absl::Status error;
  while (work.Next(&news, &error)) {
    if (!error.ok()) {
      work.group.Cancel();
      return Refusal(error);
    }
    OpenAiChoice& choice = choices[static_cast<size_t>(news.index)];
    choice.index = news.index;
    choice.text += news.text;
    choice.logprobs.insert(choice.logprobs.end(), news.logprobs.begin(), news.logprobs.end());
    choice.has_logprobs = news.has_logprobs;
    choice.finish = news.finish;
  }
  return Answer(WholeAnswer(work.answer, choices, work.usage));
}

void Stream(Work* work, const HttpWrite& write) {
  bool alive = true;
  if (work->answer.chat) {
    for (size_t i = 0; i < work->group.size() && alive; ++i)
      alive = write(FirstChunk(work->answer, static_cast<int64_t>(i)));
  }
  OpenAiChoice news;
  absl::Status error;
  const auto gone = std::exchange(work->gone, nullptr);
  work->gone = [&] { return !alive || gone(); };
  while (work->Next(&news, &error)) {
    if (!alive) continue;  // until the engine has let go of all
    alive = write(error.ok() ? Chunk(work->answer, news) : ErrorChunk(error));
    if (!error.ok() || !alive) work->group.Cancel();
    if (!error.ok()) alive = false;  // nothing behind an error
  }
  if (!alive) return;
  if (work->answer.include_usage) write(UsageChunk(work->answer, work->usage));
  write(kLastChunk);
}

absl::StatusOr<std::vector<int32_t>> ChatPrompt(const OpenAiRequest& request,
                                                const ServedModel& model, absl::Time now) {
  if (!model.chat.status().ok()) {
    return ParameterError("model",
                          absl::StrCat("\"", model.name, "\" takes no conversations: ",
                                       model.chat.status().message(), " (/v1/completions)"),
                          "no_chat_template");
  }
  absl::StatusOr<std::vector<int32_t>> prompt = model.chat.Encode(
      request.messages, request.template_variables, now, model.engine->tokenizer());
  if (!prompt.ok()) return ParameterError("messages", prompt.status().message());
  return prompt;
}

absl::StatusOr<std::vector<std::vector<int32_t>>> Prompts(const OpenAiRequest& request,
                                                          const ServedModel& model,
                                                          absl::Time now) {
  std::vector<std::vector<int32_t>> prompts;
  if (request.chat) {
    ASSIGN_OR_RETURN(prompts.emplace_back(), ChatPrompt(request, model, now));
    return prompts;
  }
  for (const OpenAiPrompt& prompt : request.prompts) {
    ASSIGN_OR_RETURN(prompts.emplace_back(),
                     PromptIds(prompt, "prompt", model.engine->tokenizer()));
  }
  return prompts;
}

absl::StatusOr<std::unique_ptr<Work>> StartWork(const ModelRegistry& registry,
                                                const HttpApiOptions& options,
                                                const HttpRequest& http, bool chat) {
  auto work = std::make_unique<Work>();
  ASSIGN_OR_RETURN(work->request,
                   chat ? ParseChatRequest(http.body) : ParseCompletionRequest(http.body));
  ASSIGN_OR_RETURN(work->model, registry.Find(work->request.model));
  work->request.params.timeout = options.time_limit;
  work->request.params.client = ClientOf(http, work->request.user);
  Engine* const engine = work->model->engine.get();
  ASSIGN_OR_RETURN(const auto prompts, Prompts(work->request, *work->model, options.clock->Now()));
  ASSIGN_OR_RETURN(std::vector<GenerateParams> generations,
                   MakeGenerations(work->request, prompts, engine->limits(), options.fresh_seed()));
  ASSIGN_OR_RETURN(work->group, GenerationGroup::Start(engine, std::move(generations)));
  work->gone = http.client_gone;
  work->answer.chat = chat;
  work->answer.id = absl::StrFormat("%s-%016x", chat ? "chatcmpl" : "cmpl", options.fresh_seed());
  work->answer.model = work->model->name;
  work->answer.created = absl::ToUnixSeconds(options.clock->Now());
  work->answer.include_usage = work->request.include_usage;
  work->answer.tokenizer = &engine->tokenizer();
  return work;
}

}  // namespace

HttpAnswer HttpApi::ErrorBody(int code, const std::string& message) {
  HttpAnswer answer = Answer(ToOpenAiError(code, message).body);
  answer.code = code;
  return answer;
}

HttpAnswer HttpApi::Generate(const HttpRequest& http, bool chat) const {
  if (draining_) return Refusal(absl::UnavailableError("the server is going down"));
  absl::StatusOr<std::unique_ptr<Work>> work = StartWork(*registry_, options_, http, chat);
  if (!work.ok()) return Refusal(work.status());
  if (!(*work)->request.stream) return AnswerWhole(std::move(**work));
  HttpAnswer answer;
  answer.type = "text/event-stream";
  answer.headers = {{"Cache-Control", "no-cache"}};
  answer.stream = [work = std::shared_ptr<Work>(*std::move(work))](const HttpWrite& write) {
    Stream(work.get(), write);
  };
  return answer;
}

HttpAnswer HttpApi::Embed(const HttpRequest& http) const {
  if (draining_) return Refusal(absl::UnavailableError("the server is going down"));
  const absl::StatusOr<OpenAiEmbeddingsRequest> request = ParseEmbeddingsRequest(http.body);
  if (!request.ok()) return Refusal(request.status());
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(request->model);
  if (!model.ok()) return Refusal(model.status());
  EmbedParams params;
  params.normalise = true;
  params.timeout = options_.time_limit;
  params.client = ClientOf(http, request->user);
  for (const OpenAiPrompt& input : request->inputs) {
    absl::StatusOr<std::vector<int32_t>> ids =
        PromptIds(input, "input", (*model)->engine->tokenizer());
    if (!ids.ok()) return Refusal(ids.status());
    params.inputs.push_back(*std::move(ids));
  }
  const absl::StatusOr<Embeddings> embeddings =
      (*model)->engine->Embed(std::move(params), http.client_gone);
  if (!embeddings.ok()) return Refusal(embeddings.status());
  return Answer(EmbeddingsAnswer((*model)->name, *embeddings, request->base64));
}

HttpAnswer HttpApi::Models() const {
  std::vector<ServedModelPtr> models;
  for (const ModelEntry& entry : registry_->List()) {
    if (entry.state != ModelState::kReady) continue;
    if (auto model = registry_->Find(entry.name); model.ok()) models.push_back(*std::move(model));
  }
  return Answer(ModelList(models));
}

HttpAnswer HttpApi::Model(const std::string& name) const {
  const absl::StatusOr<ServedModelPtr> model = registry_->Find(name);
  return model.ok() ? Answer(ModelObject(**model)) : Refusal(model.status());
}

HttpAnswer HttpApi::Health() const {
  if (draining_) return Refusal(absl::UnavailableError("the server is going down"));
  return Answer("{\"status\":\"ok\"}");
}

HttpRoute HttpApi::Route(const char* method, const char* pattern, Role needed,
                         HttpHandler handler) const {
  if (options_.access == nullptr) return {method, pattern, std::move(handler)};
  const auto guarded = [this, needed, handler = std::move(handler)](const HttpRequest& http) {
    const absl::StatusOr<Caller> caller = options_.access->Admit(
        {http.authorization, http.certificate_names, http.peer}, needed, http.path);
    return caller.ok() ? handler(http) : Refusal(caller.status());
  };
  return {method, pattern, guarded};
}

std::vector<HttpRoute> HttpApi::Routes() {
  return {{"GET", "/health", [this](const HttpRequest&) { return Health(); }},
          Route("GET", "/metrics", Role::kRead,
                [this](const HttpRequest&) {
                  HttpAnswer answer = Answer(options_.metrics_text());
                  answer.type = "text/plain; version=0.0.4; charset=utf-8";
                  return answer;
                }),
          Route("GET", "/v1/models", Role::kInfer, [this](const HttpRequest&) { return Models(); }),
          Route("GET", "/v1/models/(.+)", Role::kInfer,
                [this](const HttpRequest& request) { return Model(request.captures.at(0)); }),
          Route("POST", "/v1/completions", Role::kInfer,
                [this](const HttpRequest& request) { return Generate(request, false); }),
          Route("POST", "/v1/embeddings", Role::kInfer,
                [this](const HttpRequest& request) { return Embed(request); }),
          Route("POST", "/v1/chat/completions", Role::kInfer,
                [this](const HttpRequest& request) { return Generate(request, true); })};
}

}  // namespace tritter
