#include "tritterctl/local/supervised_child.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "common/testing/fake_clock.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SupervisedChildTest : public ::testing::Test {
 protected:
  std::unique_ptr<SupervisedChild> Make(const std::string& script) {
    const std::string base = ::testing::TempDir() + "/" +
                             ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ChildSpec spec{"child", base + ".log", base + ".ready.json",
                   [script] { return std::vector<std::string>{"/bin/sh", "-c", script}; }};
    return std::make_unique<SupervisedChild>(Env::Real(), &clock_, spec, RestartPolicy());
  }
  // Ticks until the child of `pid` is seen to have ended.
  absl::Status TickUntilEnded(SupervisedChild* child) {
    absl::Status status;
    while (status.ok() && child->running())
      status = child->Tick([&](const std::string& text) { told_.push_back(text); });
    return status;
  }
  FakeClock clock_;
  std::vector<std::string> told_;
};

TEST_F(SupervisedChildTest, IsStartedAgainAfterAPause) {
  const auto child = Make("sleep 600");
  ASSERT_OK(child->Start());
  const pid_t first = child->pid();
  kill(first, SIGKILL);
  ASSERT_OK(TickUntilEnded(child.get()));
  EXPECT_THAT(
      told_,
      ElementsAre(HasSubstr("child ended with signal 9 (Killed); starting it again in 200ms")));
  ASSERT_OK(child->Tick([](const std::string&) {}));
  EXPECT_FALSE(child->running()) << "the pause is not over";
  clock_.Advance(absl::Milliseconds(200));
  ASSERT_OK(child->Tick([](const std::string&) {}));
  EXPECT_TRUE(child->running());
  EXPECT_NE(child->pid(), first);
}

TEST_F(SupervisedChildTest, GivesUpWithTheEndOfTheLog) {
  const auto child = Make("echo port in use; exit 3");
  ASSERT_OK(child->Start());
  absl::Status status;
  for (int i = 0; i < 50 && status.ok(); ++i) {
    status = TickUntilEnded(child.get());
    clock_.Advance(absl::Seconds(5));
    if (status.ok()) status = child->Tick([](const std::string&) {});
  }
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kInternal,
                       ::testing::AllOf(HasSubstr("5 times in a row"), HasSubstr("exit code 3"),
                                        HasSubstr("port in use"))));
}

TEST_F(SupervisedChildTest, ReadyFileOfAnEarlierLifeDoesNotCount) {
  const auto child = Make("sleep 600");
  ASSERT_OK(
      WriteFileAtomically(Env::Real(), child->spec().ready_path, R"({"address": "127.0.0.1:1"})"));
  ASSERT_OK(child->Start());
  EXPECT_THAT(child->ReadyAddress(), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_OK(
      WriteFileAtomically(Env::Real(), child->spec().ready_path, R"({"address": "127.0.0.1:2"})"));
  EXPECT_EQ(*child->ReadyAddress(), "127.0.0.1:2");
  ASSERT_OK(WriteFileAtomically(Env::Real(), child->spec().ready_path, "garbage"));
  EXPECT_THAT(child->ReadyAddress(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SupervisedChildTest, StoppingEndsIt) {
  const auto child = Make("sleep 600");
  ASSERT_OK(child->Start());
  const pid_t pid = child->pid();
  child->AskToStop();
  child->FinishStop(absl::Seconds(30));
  EXPECT_EQ(kill(pid, 0), -1);
  ASSERT_OK(child->Tick([](const std::string&) {}));
  EXPECT_FALSE(child->running()) << "no restart after a stop";
}

TEST_F(SupervisedChildTest, OneThatWillNotStopIsKilled) {
  const auto child = Make("trap '' TERM; while :; do sleep 600; done");
  ASSERT_OK(child->Start());
  const pid_t pid = child->pid();
  child->AskToStop();
  child->FinishStop(absl::Milliseconds(20));
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(RestartPolicy, PausesDoubleUpToALimitAndAHealthyLifeWipesThem) {
  const RestartPolicy policy;
  EXPECT_EQ(PauseBeforeRestart(policy, 1), absl::Milliseconds(200));
  EXPECT_EQ(PauseBeforeRestart(policy, 3), absl::Milliseconds(800));
  EXPECT_EQ(PauseBeforeRestart(policy, 100), absl::Seconds(5));
  EXPECT_EQ(FailuresInARow(policy, 3, absl::Seconds(1)), 4);
  EXPECT_EQ(FailuresInARow(policy, 3, absl::Seconds(3)), 1);
  EXPECT_FALSE(GiveUp(policy, 4));
  EXPECT_TRUE(GiveUp(policy, 5));
}

}  // namespace
}  // namespace tritter
