#include "inference/http/openai_response.h"

#include <bit>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "inference/http/json_fields.h"

namespace tritter {
namespace {

using Json = nlohmann::ordered_json;

Json OrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

std::string ErrorBody(const std::string& message, const char* type, const std::string& parameter,
                      const std::string& code) {
  return DumpJson({{"error",
                    {{"message", message},
                     {"type", type},
                     {"param", OrNull(parameter)},
                     {"code", OrNull(code)}}}});
}

bool IsUtf8(const std::string& bytes) {
  try {
    (void)Json(bytes).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

// What a token is called. One that is no whole character: "bytes:\xe4\xb8"; one that stands for
// nothing: "token_id:270".
std::string TokenName(const Tokenizer& tokenizer, int32_t id) {
  std::string text = tokenizer.SpecialText(id);
  if (text.empty()) text = tokenizer.TokenBytes(id);
  if (text.empty()) return absl::StrCat("token_id:", id);
  return IsUtf8(text) ? text : absl::StrCat("bytes:", absl::CHexEscape(text));
}

Json TokenBytes(const Tokenizer& tokenizer, int32_t id) {
  Json bytes = Json::array();
  for (const char c : tokenizer.TokenBytes(id)) bytes.push_back(static_cast<uint8_t>(c));
  return bytes;
}

Json ChatLogprob(const Tokenizer& tokenizer, int32_t id, double logprob) {
  return {{"token", TokenName(tokenizer, id)},
          {"logprob", logprob},
          {"bytes", TokenBytes(tokenizer, id)}};
}

Json ChatLogprobs(const Tokenizer& tokenizer, const std::vector<PositionScore>& scores) {
  Json content = Json::array();
  for (const PositionScore& score : scores) {
    Json token = ChatLogprob(tokenizer, score.id, score.logprob);
    token["top_logprobs"] = Json::array();
    for (const Candidate& c : score.top)
      token["top_logprobs"].push_back(ChatLogprob(tokenizer, c.id, c.logprob));
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json CompletionLogprobs(const Tokenizer& tokenizer, const std::vector<PositionScore>& scores) {
  Json tokens = Json::array(), logprobs = Json::array(), tops = Json::array();
  for (const PositionScore& score : scores) {
    tokens.push_back(TokenName(tokenizer, score.id));
    logprobs.push_back(score.logprob);
    Json top = Json::object();
    for (const Candidate& c : score.top) top[TokenName(tokenizer, c.id)] = c.logprob;
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)}};
}

Json Logprobs(const OpenAiAnswer& answer, const OpenAiChoice& choice) {
  if (!choice.has_logprobs) return nullptr;
  return answer.chat ? ChatLogprobs(*answer.tokenizer, choice.logprobs)
                     : CompletionLogprobs(*answer.tokenizer, choice.logprobs);
}

Json FinishOf(const OpenAiChoice& choice) {
  if (choice.finish == FinishReason::kNone) return nullptr;
  return OpenAiFinishReason(choice.finish);
}

Json UsageJson(const OpenAiUsage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json Head(const OpenAiAnswer& answer, bool chunk) {
  return {{"id", answer.id},
          {"object", !answer.chat ? "text_completion"
                     : chunk      ? "chat.completion.chunk"
                                  : "chat.completion"},
          {"created", answer.created},
          {"model", answer.model}};
}

std::string Event(const Json& json) { return absl::StrCat("data: ", DumpJson(json), "\n\n"); }

std::string ChoiceChunk(const OpenAiAnswer& answer, Json choice) {
  Json json = Head(answer, true);
  json["choices"] = Json::array({std::move(choice)});
  if (answer.include_usage) json["usage"] = nullptr;
  return Event(json);
}

Json ModelJson(const ServedModel& model) {
  return {{"id", model.name},
          {"object", "model"},
          {"created", model.loaded_unix_seconds},
          {"owned_by", "tritter"}};
}

}  // namespace

OpenAiError ToOpenAiError(const absl::Status& status) {
  std::string message(status.message());
  const auto error = [&](int code, const char* type, const char* word) {
    return OpenAiError{code, ErrorBody(message, type, ParameterOf(status), word)};
  };
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnimplemented:
      return {400, ErrorBody(message, "invalid_request_error", ParameterOf(status),
                             ParameterCodeOf(status))};
    case absl::StatusCode::kOutOfRange:
      return error(400, "invalid_request_error", "context_length_exceeded");
    case absl::StatusCode::kFailedPrecondition:
      return error(400, "invalid_request_error", "not_possible_here");
    case absl::StatusCode::kNotFound:
      return {404, ErrorBody(message, "invalid_request_error", "model", "model_not_found")};
    case absl::StatusCode::kResourceExhausted:
      return error(429, "rate_limit_error", "queue_full");
    case absl::StatusCode::kUnauthenticated:
      return error(401, "authentication_error", "invalid_api_key");
    case absl::StatusCode::kPermissionDenied:
      return error(403, "permission_error", "insufficient_permissions");
    case absl::StatusCode::kCancelled:
      return error(499, "invalid_request_error", "cancelled");
    case absl::StatusCode::kUnavailable:
      return error(503, "service_unavailable_error", "unavailable");
    case absl::StatusCode::kDeadlineExceeded:
      return error(504, "timeout_error", "timeout");
    default:
      return error(500, "server_error", "internal_error");
  }
}

OpenAiError ToOpenAiError(int code, const std::string& message) {
  return {code, ErrorBody(message, code >= 500 ? "server_error" : "invalid_request_error", "", "")};
}

const char* OpenAiFinishReason(FinishReason reason) {
  return reason == FinishReason::kLength ? "length" : "stop";
}

std::string WholeAnswer(const OpenAiAnswer& answer, const std::vector<OpenAiChoice>& choices,
                        const OpenAiUsage& usage) {
  Json json = Head(answer, false);
  json["choices"] = Json::array();
  for (const OpenAiChoice& choice : choices) {
    Json one = {{"index", choice.index}};
    if (answer.chat) {
      one["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      one["text"] = choice.text;
    }
    one["logprobs"] = Logprobs(answer, choice);
    one["finish_reason"] = FinishOf(choice);
    json["choices"].push_back(std::move(one));
  }
  json["usage"] = UsageJson(usage);
  return DumpJson(json);
}

std::string FirstChunk(const OpenAiAnswer& answer, int64_t index) {
  return ChoiceChunk(answer, {{"index", index},
                              {"delta", {{"role", "assistant"}, {"content", ""}}},
                              {"logprobs", nullptr},
                              {"finish_reason", nullptr}});
}

std::string Chunk(const OpenAiAnswer& answer, const OpenAiChoice& news) {
  Json choice = {{"index", news.index}};
  if (answer.chat) {
    choice["delta"] = Json::object();
    if (!news.text.empty()) choice["delta"]["content"] = news.text;
  } else {
    choice["text"] = news.text;
  }
  choice["logprobs"] = Logprobs(answer, news);
  choice["finish_reason"] = FinishOf(news);
  return ChoiceChunk(answer, std::move(choice));
}

std::string UsageChunk(const OpenAiAnswer& answer, const OpenAiUsage& usage) {
  Json json = Head(answer, true);
  json["choices"] = Json::array();
  json["usage"] = UsageJson(usage);
  return Event(json);
}

std::string ErrorChunk(const absl::Status& status) {
  return absl::StrCat("data: ", ToOpenAiError(status).body, "\n\n");
}

std::string EmbeddingsAnswer(const std::string& model, const Embeddings& embeddings, bool base64) {
  Json data = Json::array();
  for (size_t i = 0; i < embeddings.vectors.size(); ++i) {
    const std::vector<float>& vector = embeddings.vectors[i];
    Json one = {{"object", "embedding"}, {"index", i}};
    if (base64) {
      static_assert(std::endian::native == std::endian::little);
      one["embedding"] = absl::Base64Escape(absl::string_view(
          reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)));
    } else {
      one["embedding"] = vector;
    }
    data.push_back(std::move(one));
  }
  return DumpJson({{"object", "list"},
                   {"data", std::move(data)},
                   {"model", model},
                   {"usage",
                    {{"prompt_tokens", embeddings.prompt_tokens},
                     {"total_tokens", embeddings.prompt_tokens}}}});
}

std::string ModelList(const std::vector<ServedModelPtr>& models) {
  Json data = Json::array();
  for (const ServedModelPtr& model : models) data.push_back(ModelJson(*model));
  return DumpJson({{"object", "list"}, {"data", std::move(data)}});
}

std::string ModelObject(const ServedModel& model) { return DumpJson(ModelJson(model)); }

}  // namespace tritter
