#include "inference/calls/fair_queue.h"

#include "gtest/gtest.h"

namespace tritter {
namespace {

std::string Order(FairQueue<std::string> queue) {
  std::string order;
  for (; !queue.empty(); queue.Pop()) order += queue.front() + " ";
  return order;
}

FairQueue<std::string> Flooded() {
  FairQueue<std::string> queue;
  for (const char* item : {"a1", "a2", "a3", "a4"}) queue.Push("a", item);
  return queue;
}

TEST(FairQueue, ClientsTakeTurnsAndEachIsServedInItsOrder) {
  FairQueue<std::string> queue = Flooded();
  EXPECT_EQ(Order(queue), "a1 a2 a3 a4 ");
  queue.Push("b", "b1");
  queue.Push("c", "c1");
  queue.Push("b", "b2");
  EXPECT_EQ(queue.size(), 7u);
  EXPECT_EQ(Order(queue), "a1 b1 c1 a2 b2 a3 a4 ");
}

TEST(FairQueue, TheFrontStaysWhoeverComes) {
  FairQueue<std::string> queue = Flooded();
  queue.Push("b", "b1");
  queue.Pop();
  EXPECT_EQ(queue.front(), "b1");
  queue.Push("c", "c1");
  EXPECT_EQ(queue.front(), "b1");
}

TEST(FairQueue, RemovesWhatIsAskedForAndForgetsClientsWithNothingLeft) {
  FairQueue<std::string> queue = Flooded();
  queue.Push("b", "b1");
  queue.Push("c", "c1");
  const auto removed =
      queue.Remove([](const std::string& item) { return item == "a2" || item == "b1"; });
  EXPECT_EQ(removed, (std::vector<std::string>{"a2", "b1"}));
  EXPECT_EQ(queue.size(), 4u);
  EXPECT_EQ(Order(queue), "a1 c1 a3 a4 ");
  queue.Push("b", "b2");
  EXPECT_EQ(Order(queue), "a1 c1 b2 a3 a4 ");
  EXPECT_EQ(queue.Remove([](const std::string&) { return true; }).size(), 5u);
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace tritter
