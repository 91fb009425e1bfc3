#include "inference/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>
#include <string>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/cpu_cores.h"

namespace tritter {
namespace {

TEST(ThreadPool, EveryWorkerRunsEveryTaskOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> calls(threads, 0);
      pool.Run([&](int worker) { ++calls[worker]; });
      for (int c : calls) ASSERT_EQ(c, 1);
    }
  }
}

TEST(ThreadPool, BarrierMakesEarlierWritesVisible) {
  ThreadPool pool(3);
  std::vector<int64_t> values(1000, 0), sums(3, 0);
  pool.Run([&](int worker) {
    for (int round = 1; round <= 300; ++round) {
      const ThreadPool::Range mine = pool.Share(static_cast<int64_t>(values.size()), worker);
      for (int64_t i = mine.begin; i < mine.end; ++i) values[i] = round;
      pool.Barrier();
      sums[worker] += std::accumulate(values.begin(), values.end(), int64_t{0});
      pool.Barrier();
    }
  });
  for (int64_t s : sums) EXPECT_EQ(s, 1000 * 300 * 301 / 2);
}

TEST(ThreadPool, SharesCoverAllItemsWithoutOverlap) {
  ThreadPool pool(4);
  for (int64_t items : {0, 1, 3, 4, 17}) {
    int64_t next = 0;
    for (int worker = 0; worker < 4; ++worker) {
      const ThreadPool::Range r = pool.Share(items, worker);
      EXPECT_EQ(r.begin, next);
      EXPECT_LE(r.end - r.begin, items / 4 + 1);
      next = r.end;
    }
    EXPECT_EQ(next, items);
  }
}

TEST(ThreadPool, EveryItemIsClaimedOnceBetweenTwoBarriers) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int64_t items : {0, 1, 7, 352, 5000}) {
      std::vector<std::atomic<int>> claims(items);
      constexpr int kPhases = 3;
      pool.Run([&](int) {
        for (int phase = 0; phase < kPhases; ++phase) {
          for (;;) {
            const ThreadPool::Range mine = pool.Claim(items, 8, 64);
            if (mine.begin == mine.end) break;
            EXPECT_LE(mine.end - mine.begin, 64);
            EXPECT_TRUE((mine.end - mine.begin) % 8 == 0 || mine.end == items);
            for (int64_t i = mine.begin; i < mine.end; ++i) ++claims[i];
          }
          pool.Barrier();
        }
      });
      for (const auto& c : claims) ASSERT_EQ(c, kPhases);
    }
  }
}

TEST(ThreadPool, WhoIsFasterClaimsMore) {
  ThreadPool pool(2);
  std::atomic<bool> rest_claimed{false};
  int64_t claimed[2] = {0, 0};
  pool.Run([&](int worker) {
    for (;;) {
      const ThreadPool::Range mine = pool.Claim(100, 1, 4);
      if (mine.begin == mine.end) break;
      claimed[worker] += mine.end - mine.begin;
      while (worker == 0 && !rest_claimed) std::this_thread::yield();
    }
    rest_claimed = true;
  });
  EXPECT_LE(claimed[0], 4);
  EXPECT_EQ(claimed[0] + claimed[1], 100);
}

TEST(ThreadPool, PinnedThreadsKeepToACpuEach) {
  const size_t cpus = AllowedCpus().size();
  ASSERT_GT(cpus, 0u);
  std::thread caller([&] {  // which is pinned as well
    ThreadPool pool(3, true);
    for (int round = 0; round < 3; ++round) {
      std::vector<cpu_set_t> sets(3);
      pool.Run([&](int worker) { sched_getaffinity(0, sizeof(cpu_set_t), &sets[worker]); });
      std::set<int> used;
      for (const cpu_set_t& set : sets) {
        ASSERT_EQ(CPU_COUNT(&set), 1);
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
          if (CPU_ISSET(cpu, &set)) used.insert(cpu);
        }
      }
      EXPECT_EQ(used.size(), std::min<size_t>(3, cpus));
    }
  });
  caller.join();
  EXPECT_EQ(AllowedCpus().size(), cpus) << "no other thread is touched";
}

TEST(SpreadOverCores, TakesEveryCoreBeforeTheSecondThreadOfAny) {
  // Two packages of two cores with two threads each, numbered as Linux usually does and pairwise.
  EXPECT_EQ(
      SpreadOverCores(
          {{0, 0, 0}, {1, 0, 1}, {2, 1, 0}, {3, 1, 1}, {4, 0, 0}, {5, 0, 1}, {6, 1, 0}, {7, 1, 1}}),
      (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(SpreadOverCores({{0, 0, 0}, {1, 0, 0}, {2, 0, 1}, {3, 0, 1}}),
            (std::vector<int>{0, 2, 1, 3}));
  EXPECT_EQ(SpreadOverCores({{5, 0, 7}}), std::vector<int>{5});
  EXPECT_TRUE(SpreadOverCores({}).empty());
}

class CpuFilesTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    ASSERT_OK(env_.CreateDirs(Dirname(path)));
    ASSERT_OK(WriteFileAtomically(&env_, path, text));
  }
  void WriteCpu(int cpu, const std::string& package, const std::string& core) {
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    Write(topology + "physical_package_id", package + "\n");
    Write(topology + "core_id", core + "\n");
  }
  MemoryEnv env_;
};

TEST_F(CpuFilesTest, HyperthreadsOfACoreCountOnce) {
  for (int cpu = 0; cpu < 4; ++cpu) WriteCpu(cpu, "0", std::to_string(cpu % 2));
  WriteCpu(4, "1", "0");
  EXPECT_EQ(DefaultThreads(PlacesOf(&env_, {0, 1, 2, 3}), std::nullopt), 2);
  EXPECT_EQ(DefaultThreads(PlacesOf(&env_, {0, 1, 2, 3, 4}), std::nullopt), 3);
  EXPECT_EQ(DefaultThreads(PlacesOf(&env_, {0, 2}), std::nullopt), 1) << "the rest is not ours";
  EXPECT_EQ(DefaultThreads(PlacesOf(&env_, {7, 8, 9}), std::nullopt), 3) << "nothing is known";
}

TEST_F(CpuFilesTest, AQuotaIsALimitRoundedDown) {
  const std::vector<CpuPlace> four = PlacesOf(&env_, {0, 1, 2, 3});
  EXPECT_EQ(DefaultThreads(four, 2.9), 2);
  EXPECT_EQ(DefaultThreads(four, 0.5), 1);
  EXPECT_EQ(DefaultThreads(four, 100), 4);
  EXPECT_EQ(DefaultThreads({}, std::nullopt), 1);
}

TEST_F(CpuFilesTest, TheQuotaOfVersion2IsTheLeastOfTheGroupAndThoseAbove) {
  EXPECT_EQ(CpuQuota(&env_), std::nullopt);
  Write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(CpuQuota(&env_), std::nullopt);
  Write("/sys/fs/cgroup/cpu.max", "250000 100000\n");
  EXPECT_EQ(CpuQuota(&env_), 2.5) << "a container sees its group as the top";
  Write("/proc/self/cgroup", "0::/a.slice/b.service\n");
  EXPECT_EQ(CpuQuota(&env_), 2.5);
  Write("/sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n");
  Write("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
  EXPECT_EQ(CpuQuota(&env_), 1.5);
  Write("/sys/fs/cgroup/a.slice/b.service/cpu.max", "20000 20000\n");
  EXPECT_EQ(CpuQuota(&env_), 1.0);
}

TEST_F(CpuFilesTest, TheQuotaOfVersion1IsThatOfTheGroupOfItsCpuController) {
  Write("/proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/docker/1\n3:cpuset:/\n0::/\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CpuQuota(&env_), std::nullopt);
  Write("/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "300000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CpuQuota(&env_), 3.0);
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "garbage\n");
  EXPECT_EQ(CpuQuota(&env_), 3.0);
}

}  // namespace
}  // namespace tritter
