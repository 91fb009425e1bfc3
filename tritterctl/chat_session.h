// A conversation: the turns so far as messages or, for a model that has no form of its own for one,
// as the text of a prompt. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tritter {

struct ChatForm {
  std::string user = "User:", assistant = "Assistant:";  // what stands before the turns
};

// Not thread-safe.
class ChatSession {
 public:
  explicit ChatSession(ChatForm form = {}) : form_(std::move(form)) {}

  // Stands before everything; empty: nothing.
  void SetSystem(std::string text) { system_ = std::move(text); }
  const std::string& system() const { return system_; }
  // Forgets the turns, not the system text.
  void Reset() { turns_.clear(); }

  // The prompt that asks for the answer to `question`.
  std::string Prompt(absl::string_view question) const;
  struct Message {
    std::string role, content;
  };
  std::vector<Message> Messages(absl::string_view question) const;
  // Texts that end an answer to Prompt.
  std::vector<std::string> Stops() const;
  void Add(absl::string_view question, absl::string_view answer);
  // Drops the oldest turn: false when there is none.
  bool Forget();
  size_t turns() const { return turns_.size(); }

 private:
  struct Turn {
    std::string question, answer;
  };
  const ChatForm form_;
  std::string system_;
  std::vector<Turn> turns_;
};

}  // namespace tritter
