#include "tests/load/process_use.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "common/testing/status_matchers.h"

namespace tritter::load {
namespace {

TEST(ProcessUse, SeesTimeAndMemoryOfAProcess) {
  ASSERT_OK_AND_ASSIGN(const ProcessUse before, ReadProcessUse(getpid()));
  EXPECT_GT(before.resident_bytes, 0);
  EXPECT_GE(before.threads, 1);
  std::vector<char> memory(64 << 20);
  volatile char* bytes = memory.data();
  ProcessUse after = before;
  while (after.processor < before.processor + absl::Milliseconds(100)) {
    for (size_t i = 0; i < memory.size(); i += 64) bytes[i] = 1;
    ASSERT_OK_AND_ASSIGN(after, ReadProcessUse(getpid()));
  }
  EXPECT_GE(after.resident_bytes, before.resident_bytes + (60 << 20));
  EXPECT_GE(after.peak_resident_bytes, after.resident_bytes);
}

TEST(ProcessUse, AProcessThatIsNotThereIsAnError) {
  EXPECT_THAT(ReadProcessUse(1 << 30).status(), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace tritter::load
