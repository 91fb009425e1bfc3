#include "common/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace tritter {
namespace {

struct Counter {
  Mutex mu;
  CondVar changed;
  int value GUARDED_BY(mu) = 0;
};

TEST(Mutex, KeepsConcurrentAdditions) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        MutexLock lock(&counter.mu);
        ++counter.value;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  MutexLock lock(&counter.mu);
  EXPECT_EQ(counter.value, 8000);
}

TEST(CondVar, WaiterSeesTheChange) {
  Counter counter;
  std::thread setter([&] {
    MutexLock lock(&counter.mu);
    counter.value = 7;
    counter.changed.NotifyAll();
  });
  {
    MutexLock lock(&counter.mu);
    while (counter.value != 7) counter.changed.Wait(&counter.mu);
  }
  setter.join();
}

TEST(CondVar, WaitForSaysWhenTheTimeIsOver) {
  Counter counter;
  MutexLock lock(&counter.mu);
  while (counter.changed.WaitFor(&counter.mu, absl::Milliseconds(1))) {
  }  // a spurious wake-up is allowed, for ever is not
  EXPECT_FALSE(counter.changed.WaitFor(&counter.mu, -absl::Seconds(1)));
}

TEST(CondVar, InfiniteTimeoutWaitsForTheNotification) {
  Counter counter;
  std::thread setter([&] {
    MutexLock lock(&counter.mu);
    counter.value = 1;
    counter.changed.NotifyOne();
  });
  {
    MutexLock lock(&counter.mu);
    while (counter.value == 0) {
      EXPECT_TRUE(counter.changed.WaitFor(&counter.mu, absl::InfiniteDuration()));
    }
  }
  setter.join();
}

}  // namespace
}  // namespace tritter
