// Conversations as prompts of a model: its chat template and tokenizer put together.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/text/chat_template.h"
#include "model/tokenizer.h"

namespace tritter {

struct ChatMessage {
  std::string role, content;  // "system", "user", "assistant"
};

// Immutable, thread-safe.
class ChatPrompts {
 public:
  ChatPrompts() : ChatPrompts("", "", "") {}  // of a model without a chat template
  // An empty template is none. The tokens are texts, "" where the model has none.
  ChatPrompts(absl::string_view chat_template, std::string bos_token, std::string eos_token);

  // OK, or why the model takes no conversations: FailedPrecondition without a template; what
  // ChatTemplate::Parse says of one that this build does not understand.
  const absl::Status& status() const { return status_; }

  // The prompt that asks for the next answer. `variables`: further ones of the template, an object
  // or null. Errors: status(), those of ChatTemplate::Render and Tokenizer::Encode.
  absl::StatusOr<std::vector<int32_t>> Encode(absl::Span<const ChatMessage> messages,
                                              const nlohmann::ordered_json& variables,
                                              absl::Time now, const Tokenizer& tokenizer) const;

 private:
  std::string bos_token_, eos_token_;
  std::optional<ChatTemplate> template_;
  absl::Status status_;
};

}  // namespace tritter
