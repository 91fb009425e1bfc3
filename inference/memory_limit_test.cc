#include "inference/memory_limit.h"

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

class MemoryLimitTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    ASSERT_OK(env_.CreateDirs(Dirname(path)));
    ASSERT_OK(WriteFileAtomically(&env_, path, text));
  }
  MemoryEnv env_;
};

TEST_F(MemoryLimitTest, TakesTheSmallerOfMachineAndControlGroup) {
  EXPECT_EQ(AvailableMemoryBytes(&env_), 0);
  Write("/proc/meminfo", "MemTotal:       2000 kB\nMemAvailable:    1000 kB\n");
  EXPECT_EQ(AvailableMemoryBytes(&env_), 1000 * 1024);
  Write("/sys/fs/cgroup/memory.max", "max\n");
  Write("/sys/fs/cgroup/memory.current", "5000\n");
  EXPECT_EQ(AvailableMemoryBytes(&env_), 1000 * 1024) << "no limit";
  Write("/sys/fs/cgroup/memory.max", "600000\n");
  EXPECT_EQ(AvailableMemoryBytes(&env_), 595000);
}

TEST_F(MemoryLimitTest, PagesOfFilesCountAsLeft) {
  Write("/sys/fs/cgroup/memory.max", "600000\n");
  Write("/sys/fs/cgroup/memory.current", "590000\n");
  Write("/sys/fs/cgroup/memory.stat", "anon 90000\ninactive_file 300000\nactive_file 200000\n");
  EXPECT_EQ(AvailableMemoryBytes(&env_), 510000);
}

}  // namespace
}  // namespace tritter
