#include "model/text/chat_prompts.h"

#include <utility>

#include "common/status_macros.h"

namespace tritter {

ChatPrompts::ChatPrompts(absl::string_view chat_template, std::string bos_token,
                         std::string eos_token)
    : bos_token_(std::move(bos_token)), eos_token_(std::move(eos_token)) {
  if (chat_template.empty()) {
    status_ = absl::FailedPreconditionError(
        "the model has no chat template; give it a prompt in the form it was trained on");
    return;
  }
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse(chat_template);
  status_ = Annotate(parsed.status(), "the model's chat template");
  if (parsed.ok()) template_ = *std::move(parsed);
}

absl::StatusOr<std::vector<int32_t>> ChatPrompts::Encode(absl::Span<const ChatMessage> messages,
                                                         const nlohmann::ordered_json& variables,
                                                         absl::Time now,
                                                         const Tokenizer& tokenizer) const {
  RETURN_IF_ERROR(status_);
  ChatTemplateInput input;
  for (const ChatMessage& message : messages)
    input.messages.push_back({{"role", message.role}, {"content", message.content}});
  input.add_generation_prompt = true;
  input.bos_token = bos_token_;
  input.eos_token = eos_token_;
  input.more = variables;
  input.now = now;
  ASSIGN_OR_RETURN(const std::string text, template_->Render(input));
  // Not EncodePrompt: the template says itself what stands at the beginning.
  return tokenizer.Encode(text);
}

}  // namespace tritter
