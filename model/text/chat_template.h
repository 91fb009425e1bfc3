// Chat templates of Hugging Face folders: messages to the text of a prompt, as the transformers
// library renders them. The part of Jinja that such templates use; anything else is refused by
// name, with line and column. docs/formats/tokenizer.md says what there is.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "model/text/template_syntax.h"

namespace tritter {

struct ChatTemplateInput {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json tools;  // null: none
  bool add_generation_prompt = false;
  std::string bos_token, eos_token;  // "": not defined
  // Further variables by name, as `chat_template_kwargs` gives them; null: none.
  nlohmann::ordered_json more;
  absl::Time now = absl::UnixEpoch();  // for strftime_now, in UTC
};

// Immutable, thread-safe.
class ChatTemplate {
 public:
  // Errors: those of ParseTemplate.
  static absl::StatusOr<ChatTemplate> Parse(absl::string_view source);

  // Errors, all with line and column: InvalidArgument for what the template refuses
  // (raise_exception) and for values that do not fit what it does with them; Unimplemented for a
  // function, filter, test or method that is not supported; ResourceExhausted beyond the bounds of
  // work and text.
  absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const;

 private:
  explicit ChatTemplate(std::vector<TemplateNode> nodes)
      : nodes_(std::make_shared<const std::vector<TemplateNode>>(std::move(nodes))) {}
  std::shared_ptr<const std::vector<TemplateNode>> nodes_;
};

}  // namespace tritter
