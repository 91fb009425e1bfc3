#include "tritterctl/chat_session.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(ChatSession, ThePromptHoldsTheTurnsSoFar) {
  ChatSession chat;
  EXPECT_EQ(chat.Prompt("hi"), "User: hi\nAssistant:");
  chat.Add("hi", "  hello\n");
  EXPECT_EQ(chat.Prompt("who?"), "User: hi\nAssistant: hello\nUser: who?\nAssistant:");
  EXPECT_THAT(chat.Stops(), testing::ElementsAre("\nUser:"));
}

TEST(ChatSession, MessagesHoldTheTurnsSoFar) {
  ChatSession chat;
  chat.SetSystem("Be kind.");
  chat.Add("hi", " hello\n");
  std::string all;
  for (const ChatSession::Message& m : chat.Messages("who?")) all += m.role + "=" + m.content + ";";
  EXPECT_EQ(all, "system=Be kind.;user=hi;assistant=hello;user=who?;");
}

TEST(ChatSession, TheSystemTextOutlivesAReset) {
  ChatSession chat({"Q:", "A:"});
  chat.SetSystem("Be kind.");
  chat.Add("a", "b");
  chat.Reset();
  EXPECT_EQ(chat.Prompt("c"), "Be kind.\n\nQ: c\nA:");
}

TEST(ChatSession, ForgetsTheOldestTurnFirst) {
  ChatSession chat;
  EXPECT_FALSE(chat.Forget());
  chat.Add("1", "one");
  chat.Add("2", "two");
  EXPECT_TRUE(chat.Forget());
  EXPECT_EQ(chat.Prompt("3"), "User: 2\nAssistant: two\nUser: 3\nAssistant:");
}

}  // namespace
}  // namespace tritter
