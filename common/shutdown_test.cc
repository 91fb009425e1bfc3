#include "common/shutdown.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

namespace tritter {
namespace {

// Each in a process of its own: a request cannot be taken back.
void ExpectAskedBy(int signal) {
  EXPECT_EXIT(
      {
        InstallShutdownHandlers();
        if (ShutdownRequested() || ShutdownSignal() != 0) _exit(1);
        raise(signal);
        if (!WaitForShutdown() || !WaitForShutdown(absl::ZeroDuration())) _exit(2);
        _exit(ShutdownSignal() == signal ? 0 : 3);
      },
      testing::ExitedWithCode(0), "");
}

TEST(Shutdown, SigintAsks) { ExpectAskedBy(SIGINT); }
TEST(Shutdown, SigtermAsks) { ExpectAskedBy(SIGTERM); }

TEST(Shutdown, SecondSignalEndsTheProcessAtOnce) {
  auto twice = [](int signal) {
    InstallShutdownHandlers();
    raise(signal);
    raise(signal);
    _exit(0);
  };
  EXPECT_EXIT(twice(SIGINT), testing::ExitedWithCode(130), "");
  EXPECT_EXIT(twice(SIGTERM), testing::ExitedWithCode(143), "");
}

TEST(Shutdown, WakesEveryWaiter) {
  EXPECT_EXIT(
      {
        InstallShutdownHandlers();
        bool first = false;
        bool second = false;
        std::thread a([&] { first = WaitForShutdown(); });
        std::thread b([&] { second = WaitForShutdown(absl::Hours(1)); });
        RequestShutdown(SIGTERM);
        a.join();
        b.join();
        _exit(first && second && ShutdownSignal() == SIGTERM ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(Shutdown, TimeoutWithoutRequestIsFalse) {
  EXPECT_FALSE(WaitForShutdown(absl::ZeroDuration()));
  EXPECT_FALSE(WaitForShutdown(absl::Milliseconds(1)));
}

TEST(Shutdown, SigpipeIsIgnored) {
  EXPECT_EXIT(
      {
        InstallShutdownHandlers();
        raise(SIGPIPE);
        _exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace tritter
