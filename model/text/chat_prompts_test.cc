#include "model/text/chat_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::HasSubstr;

absl::StatusOr<std::string> TextOf(const ChatPrompts& chat, std::vector<ChatMessage> messages,
                                   const nlohmann::ordered_json& variables = nullptr) {
  const Tokenizer& bytes = ByteTokenizer();
  const auto ids = chat.Encode(messages, variables, absl::UnixEpoch(), bytes);
  if (!ids.ok()) return ids.status();
  return bytes.Decode(*ids);
}

TEST(ChatPrompts, RendersAsksForTheAnswerAndEncodes) {
  const ChatPrompts chat(
      "{{ bos_token }}{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor "
      "%}{% if add_generation_prompt %}{{ who|default('assistant') }}:{% endif %}",
      "[", "]");
  EXPECT_OK(chat.status());
  EXPECT_EQ(TextOf(chat, {{"user", "hi"}, {"assistant", "ho"}, {"user", "é"}}).value(),
            "[user: hi]assistant: ho]user: é]assistant:");
  EXPECT_EQ(TextOf(chat, {{"user", "hi"}}, {{"who", "bot"}}).value(), "[user: hi]bot:");
}

TEST(ChatPrompts, SaysWhyThereAreNoConversations) {
  const ChatPrompts none;
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(TextOf(none, {{"user", "hi"}}).status(), none.status());
  const ChatPrompts broken("{% for %}", "", "");
  EXPECT_THAT(std::string(broken.status().message()), HasSubstr("the model's chat template: "));
  EXPECT_EQ(TextOf(broken, {{"user", "hi"}}).status(), broken.status());
}

}  // namespace
}  // namespace tritter
