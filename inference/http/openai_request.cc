#include "inference/http/openai_request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "inference/http/json_fields.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr int64_t kDefaultCompletionTokens = 16;  // as OpenAI has it
constexpr int64_t kMaxTokensLimit = int64_t{1} << 31;

// A token id; -1 when it cannot be one.
int64_t TokenId(const json& value) {
  if (!value.is_number_integer()) return -1;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int32_t>::max()))
    return -1;
  return value.get<int64_t>();
}

bool ReadIds(const json& list, std::vector<int32_t>* ids) {
  for (const json& value : list) {
    const int64_t id = TokenId(value);
    if (id < 0) return false;
    ids->push_back(static_cast<int32_t>(id));
  }
  return true;
}

void ReadStop(JsonFields* fields, GenerateParams* params) {
  const json* stop = fields->Find("stop");
  if (stop != nullptr) {
    if (stop->is_string()) params->stop.push_back(stop->get<std::string>());
    const bool is_list =
        stop->is_array() && std::all_of(stop->begin(), stop->end(),
                                        [](const json& value) { return value.is_string(); });
    if (is_list)
      for (const json& value : *stop) params->stop.push_back(value.get<std::string>());
    if (!is_list && !stop->is_string())
      fields->Fail("stop", "is neither a string nor a list of strings");
  }
  const json* ids = fields->Find("stop_token_ids");
  if (ids != nullptr && (!ids->is_array() || !ReadIds(*ids, &params->stop_ids)))
    fields->Fail("stop_token_ids", "is not a list of token ids");
}

void ReadLogitBias(JsonFields* fields, SamplingParams* sampling) {
  const json* bias = fields->Find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object())
    return fields->Fail("logit_bias", "is not an object of token ids and numbers");
  for (const auto& [key, value] : bias->items()) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || !value.is_number()) {
      return fields->Fail("logit_bias", absl::StrCat("has \"", key,
                                                     "\", every name must be a token id and every "
                                                     "value a number"));
    }
    sampling->logit_bias.push_back({id, value.get<double>()});
  }
}

// It is kept with every request that waits.
void ReadUser(JsonFields* fields, std::string* user) {
  constexpr size_t kMaxBytes = 512;
  fields->String("user", user);
  if (user->size() > kMaxBytes) {
    fields->Fail("user",
                 absl::StrCat("has ", user->size(), " bytes, at most ", kMaxBytes, " are allowed"));
  }
}

void ReadStreaming(JsonFields* fields, OpenAiRequest* request) {
  fields->Bool("stream", &request->stream);
  const json* options = fields->Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields->Fail("stream_options", "is not an object");
  if (!request->stream)
    return fields->Fail("stream_options", "is only for requests with stream: true");
  JsonFields inner(*options, "stream_options.");
  inner.Bool("include_usage", &request->include_usage);
  inner.Ignore({"include_obfuscation"});
  if (const absl::Status status = inner.Finish(); !status.ok()) {
    const std::string name = ParameterOf(status);
    fields->Fail(name, status.message().substr(std::min(status.message().size(), name.size() + 1)),
                 ParameterCodeOf(status));
  }
}

// response_format: {"type": "text" | "json_object"} or {"type": "json_schema", "json_schema":
// {"name", "schema", …}}.
void ReadFormat(JsonFields* fields, GenerateParams* params) {
  const char* const kName = "response_format";
  const json* format = fields->Find(kName);
  if (format == nullptr) return;
  const json type = format->is_object() ? format->value("type", json()) : json();
  if (type == "json_object") {
    params->format = OutputFormat::kJsonObject;
  } else if (type == "json_schema") {
    const json inner = format->value("json_schema", json());
    const json schema = inner.is_object() ? inner.value("schema", json()) : json();
    if (!schema.is_object())
      return fields->Fail(kName, "of type json_schema has no object json_schema.schema");
    params->format = OutputFormat::kJsonSchema;
    params->json_schema = schema.dump();
  } else if (type != "text") {
    fields->Fail(kName, "is not an object of type text, json_object or json_schema");
  }
}

// What both kinds of request have.
void ReadCommon(JsonFields* fields, OpenAiRequest* request) {
  fields->String("model", &request->model);
  SamplingParams& sampling = request->params.sampling;
  sampling.temperature = 1;
  fields->Number("temperature", 0, 2, &sampling.temperature);
  fields->Number("top_p", 0, 1, &sampling.top_p);
  if (sampling.top_p == 0) {  // the most likely token alone
    sampling.top_p = 1;
    sampling.temperature = 0;
  }
  fields->Number("presence_penalty", -2, 2, &sampling.presence_penalty);
  fields->Number("frequency_penalty", -2, 2, &sampling.frequency_penalty);
  fields->Number("min_p", 0, 1, &sampling.min_p);
  fields->Number("repetition_penalty", 0.01, 100, &sampling.repetition_penalty);
  fields->Integer("top_k", -1, std::numeric_limits<int32_t>::max(), &sampling.top_k);
  sampling.top_k = std::max<int64_t>(sampling.top_k, 0);  // -1: no limit, as elsewhere
  fields->Bool("ignore_eos", &request->params.ignore_eos);
  ReadLogitBias(fields, &sampling);
  ReadStop(fields, &request->params);
  ReadStreaming(fields, request);
  ReadFormat(fields, &request->params);
  fields->Integer("n", 1, kMaxChoices, &request->n);
  int64_t tokens = 0;
  if (fields->Integer("max_tokens", 1, kMaxTokensLimit, &tokens)) request->max_tokens = tokens;
  int64_t seed = 0;
  if (fields->Integer("seed", std::numeric_limits<int64_t>::min(),
                      std::numeric_limits<int64_t>::max(), &seed))
    request->seed = static_cast<uint64_t>(seed);
  ReadUser(fields, &request->user);
  // Of the account, not of the text.
  fields->Ignore({"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                  "prompt_cache_retention"});
}

void ReadPrompts(JsonFields* fields, const std::string& name, int64_t max,
                 std::vector<OpenAiPrompt>* prompts) {
  const json* prompt = fields->Find(name);
  const char* const kForms =
      "is needed: a string, a list of strings, a list of token ids, or a list of such lists";
  if (prompt == nullptr) return fields->Fail(name, kForms);
  if (prompt->is_string()) return prompts->push_back(prompt->get<std::string>());
  if (!prompt->is_array() || prompt->empty()) return fields->Fail(name, kForms);
  if (static_cast<int64_t>(prompt->size()) > max && !prompt->front().is_number()) {
    return fields->Fail(
        name, absl::StrCat("is a list of ", prompt->size(), ", at most ", max, " are allowed"));
  }
  if (prompt->front().is_number()) {
    std::vector<int32_t> ids;
    if (!ReadIds(*prompt, &ids)) return fields->Fail(name, "has something that is no token id");
    return prompts->push_back(std::move(ids));
  }
  for (const json& one : *prompt) {
    std::vector<int32_t> ids;
    if (one.is_string()) {
      prompts->push_back(one.get<std::string>());
    } else if (one.is_array() && ReadIds(one, &ids)) {
      prompts->push_back(std::move(ids));
    } else {
      return fields->Fail(name, kForms);
    }
  }
}

// A string, or a list of parts of type text.
bool ReadContent(const json& content, std::string* text) {
  if (content.is_string()) {
    *text = content.get<std::string>();
    return true;
  }
  if (!content.is_array()) return false;
  for (const json& part : content) {
    if (!part.is_object() || part.value("type", json()) != "text") return false;
    const auto found = part.find("text");
    if (found == part.end() || !found->is_string()) return false;
    *text += found->get<std::string>();
  }
  return true;
}

void ReadMessages(JsonFields* fields, std::vector<ChatMessage>* messages) {
  const json* list = fields->Find("messages");
  if (list == nullptr || !list->is_array() || list->empty())
    return fields->Fail("messages", "is needed: a list of at least one message");
  for (size_t i = 0; i < list->size(); ++i) {
    const json& message = (*list)[i];
    const std::string at = absl::StrCat("messages[", i, "]");
    if (!message.is_object()) return fields->Fail(at, "is not an object");
    ChatMessage read;
    JsonFields inner(message, at + ".");
    inner.String("role", &read.role);
    const json* content = inner.Find("content");
    if (content == nullptr || !ReadContent(*content, &read.content))
      inner.Fail("content", "is neither a string nor a list of parts of type text");
    inner.Ignore({"name", "refusal", "annotations"});
    inner.Unsupported({"tool_calls", "tool_call_id", "function_call", "audio"});
    if (read.role == "developer") read.role = "system";
    if (read.role != "system" && read.role != "user" && read.role != "assistant")
      inner.Fail("role", absl::StrCat("is \"", read.role,
                                      "\", allowed are system, developer, user and assistant"));
    if (const absl::Status status = inner.Finish(); !status.ok()) {
      const std::string name = ParameterOf(status);
      return fields->Fail(name, status.message().substr(name.size() + 1), ParameterCodeOf(status));
    }
    messages->push_back(std::move(read));
  }
}

}  // namespace

absl::StatusOr<OpenAiRequest> ParseCompletionRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(body));
  OpenAiRequest request;
  JsonFields fields(object);
  ReadCommon(&fields, &request);
  if (!request.max_tokens.has_value()) request.max_tokens = kDefaultCompletionTokens;
  ReadPrompts(&fields, "prompt", kMaxChoices, &request.prompts);
  int64_t logprobs = 0, best_of = request.n;
  if (fields.Integer("logprobs", 0, kMaxCandidates, &logprobs)) request.params.logprobs = logprobs;
  if (fields.Integer("best_of", 1, kMaxChoices, &best_of) && best_of != request.n)
    fields.Fail("best_of", absl::StrCat("is ", best_of, ", only n = ", request.n, " is possible"));
  bool echo = false;
  if (fields.Bool("echo", &echo) && echo)
    fields.Fail("echo", "is not supported by this server; put the prompt before the text yourself",
                "unsupported_parameter");
  std::string suffix;
  if (fields.String("suffix", &suffix) && !suffix.empty())
    fields.Fail("suffix", "is not supported by this server; leave it out", "unsupported_parameter");
  if (fields.ok() && static_cast<int64_t>(request.prompts.size()) * request.n > kMaxChoices) {
    fields.Fail("n", absl::StrCat("is ", request.n, " for ", request.prompts.size(),
                                  " prompts, at most ", kMaxChoices, " texts are made at a time"));
  }
  RETURN_IF_ERROR(fields.Finish());
  return request;
}

absl::StatusOr<OpenAiRequest> ParseChatRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(body));
  OpenAiRequest request;
  request.chat = true;
  JsonFields fields(object);
  ReadCommon(&fields, &request);
  ReadMessages(&fields, &request.messages);
  int64_t tokens = 0;
  if (fields.Integer("max_completion_tokens", 1, kMaxTokensLimit, &tokens))
    request.max_tokens = tokens;
  bool logprobs = false;
  int64_t top = 0;
  fields.Bool("logprobs", &logprobs);
  if (fields.Integer("top_logprobs", 0, kMaxCandidates, &top) && !logprobs)
    fields.Fail("top_logprobs", "is only for requests with logprobs: true");
  if (logprobs) request.params.logprobs = top;
  if (const json* variables = fields.Find("chat_template_kwargs"); variables != nullptr) {
    if (!variables->is_object()) fields.Fail("chat_template_kwargs", "is not an object");
    request.template_variables = *variables;
  }
  if (const json* choice = fields.Find("tool_choice");
      choice != nullptr && *choice != "none" && *choice != "auto")
    fields.Fail("tool_choice", "is not supported by this server; leave it out",
                "unsupported_parameter");
  if (const json* modalities = fields.Find("modalities");
      modalities != nullptr && *modalities != json::array({"text"}))
    fields.Fail("modalities", "is not [\"text\"], which is all that this server does",
                "unsupported_parameter");
  fields.Unsupported({"tools", "functions", "function_call", "audio", "prediction",
                      "web_search_options", "reasoning_effort", "verbosity"});
  fields.Ignore({"parallel_tool_calls"});
  RETURN_IF_ERROR(fields.Finish());
  return request;
}

absl::StatusOr<OpenAiEmbeddingsRequest> ParseEmbeddingsRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(body));
  OpenAiEmbeddingsRequest request;
  JsonFields fields(object);
  fields.String("model", &request.model);
  ReadPrompts(&fields, "input", static_cast<int64_t>(kMaxEmbedInputs), &request.inputs);
  std::string encoding = "float";
  fields.String("encoding_format", &encoding);
  if (encoding != "float" && encoding != "base64")
    fields.Fail("encoding_format",
                absl::StrCat("is \"", encoding, "\", allowed are float and base64"));
  request.base64 = encoding == "base64";
  fields.Unsupported({"dimensions"});
  ReadUser(&fields, &request.user);
  RETURN_IF_ERROR(fields.Finish());
  return request;
}

absl::StatusOr<std::vector<int32_t>> PromptIds(const OpenAiPrompt& prompt, absl::string_view name,
                                               const Tokenizer& tokenizer) {
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) return *ids;
  absl::StatusOr<std::vector<int32_t>> ids = tokenizer.EncodePrompt(std::get<std::string>(prompt));
  if (!ids.ok())
    return ParameterError(name, absl::StrCat("has no tokens: ", ids.status().message()));
  return ids;
}

absl::StatusOr<std::vector<GenerateParams>> MakeGenerations(
    const OpenAiRequest& request, const std::vector<std::vector<int32_t>>& prompts,
    const RequestLimits& limits, uint64_t fresh_seed) {
  const int64_t positions = LongestRequest(limits);
  std::vector<GenerateParams> generations;
  uint64_t seed = request.seed.value_or(fresh_seed);
  for (const std::vector<int32_t>& prompt : prompts) {
    GenerateParams params = request.params;
    params.prompt = prompt;
    // Without a limit: up to the end of the context.
    params.max_tokens = request.max_tokens.value_or(
        std::max<int64_t>(1, positions - static_cast<int64_t>(prompt.size())));
    // Before there are n of it, which may take n times as much memory.
    RETURN_IF_ERROR(ValidateGenerate(params, limits));
    for (int64_t i = 0; i < request.n; ++i) {
      params.sampling.seed = seed++;
      generations.push_back(params);
    }
  }
  return generations;
}

}  // namespace tritter
