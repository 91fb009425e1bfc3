#include "tritterctl/chat_session.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace tritter {

std::string ChatSession::Prompt(absl::string_view question) const {
  std::string prompt;
  if (!system_.empty()) absl::StrAppend(&prompt, system_, "\n\n");
  for (const Turn& turn : turns_) {
    absl::StrAppend(&prompt, form_.user, " ", turn.question, "\n", form_.assistant, " ",
                    turn.answer, "\n");
  }
  absl::StrAppend(&prompt, form_.user, " ", question, "\n", form_.assistant);
  return prompt;
}

std::vector<ChatSession::Message> ChatSession::Messages(absl::string_view question) const {
  std::vector<Message> messages;
  if (!system_.empty()) messages.push_back({"system", system_});
  for (const Turn& turn : turns_) {
    messages.push_back({"user", turn.question});
    messages.push_back({"assistant", turn.answer});
  }
  messages.push_back({"user", std::string(question)});
  return messages;
}

std::vector<std::string> ChatSession::Stops() const { return {absl::StrCat("\n", form_.user)}; }

void ChatSession::Add(absl::string_view question, absl::string_view answer) {
  turns_.push_back({std::string(question), std::string(absl::StripAsciiWhitespace(answer))});
}

bool ChatSession::Forget() {
  if (turns_.empty()) return false;
  turns_.erase(turns_.begin());
  return true;
}

}  // namespace tritter
