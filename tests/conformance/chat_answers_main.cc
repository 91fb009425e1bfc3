// Renders chat templates for chat_templates.py: each line of JSON with "template", "messages" and
// what else ChatTemplateInput has, gives one with "text" or "error".
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "common/status_macros.h"
#include "model/text/chat_template.h"

namespace tritter {
namespace {

using nlohmann::ordered_json;

absl::StatusOr<std::string> Answer(const ordered_json& question) {
  ASSIGN_OR_RETURN(const ChatTemplate chat,
                   ChatTemplate::Parse(question.at("template").get<std::string>()));
  ChatTemplateInput input;
  input.messages = question.at("messages");
  input.tools = question.value("tools", ordered_json());
  input.add_generation_prompt = question.value("add_generation_prompt", false);
  input.bos_token = question.value("bos_token", "");
  input.eos_token = question.value("eos_token", "");
  input.more = question.value("more", ordered_json());
  return chat.Render(input);
}

}  // namespace
}  // namespace tritter

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto answer = tritter::Answer(nlohmann::ordered_json::parse(line));
    const nlohmann::json out =
        answer.ok() ? nlohmann::json{{"text", *answer}}
                    : nlohmann::json{{"error", std::string(answer.status().message())}};
    std::cout << out.dump() << std::endl;
  }
}
