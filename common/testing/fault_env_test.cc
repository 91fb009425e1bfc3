#include "common/testing/fault_env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

TEST(FaultEnv, CountsChangesAndNotReads) {
  MemoryEnv mem;
  FaultEnv env(&mem);
  ASSERT_OK(WriteFileAtomically(&env, "/f", "x"));
  EXPECT_EQ(env.changes(), 6);
  EXPECT_EQ(env.last(), "SyncDir /");
  env.Exists("/f");
  ASSERT_OK(env.ReadFile("/f"));
  EXPECT_EQ(env.changes(), 6);
}

TEST(FaultEnv, FailsTheNthChangeAndEverythingAfterIt) {
  MemoryEnv mem;
  FaultEnv env(&mem);
  env.FailAt(3, absl::ResourceExhaustedError("full"));
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file, env.NewWritableFile("/f"));
  ASSERT_OK(file->Append("first"));
  EXPECT_FALSE(env.tripped());
  EXPECT_THAT(file->Append("second"), StatusIs(StatusCode::kResourceExhausted, "Append /f: full"));
  EXPECT_TRUE(env.tripped());
  EXPECT_THAT(file->Sync(), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(env.CreateDirs("/d"), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_FALSE(mem.Exists("/d"));
  EXPECT_EQ(env.last(), "Append /f");
  ASSERT_OK_AND_ASSIGN(const std::string text, env.ReadFile("/f"));
  EXPECT_EQ(text, "first");
  env.Heal();
  ASSERT_OK(env.CreateDirs("/d"));
}

TEST(FaultEnv, HalfAFailingAppendIsWritten) {
  MemoryEnv mem;
  FaultEnv env(&mem);
  env.FailAt(2, absl::InternalError("cut"), /*half=*/true);
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file, env.NewWritableFile("/f"));
  EXPECT_THAT(file->Append("12345678"), StatusIs(StatusCode::kInternal));
  EXPECT_THAT(file->Append("9"), StatusIs(StatusCode::kInternal));
  ASSERT_OK_AND_ASSIGN(const std::string text, mem.ReadFile("/f"));
  EXPECT_EQ(text, "1234");
}

TEST(FaultEnv, HalfARenameHappensAndTheAnswerIsLost) {
  MemoryEnv mem;
  ASSERT_OK(WriteFileAtomically(&mem, "/a", "x"));
  FaultEnv env(&mem);
  env.FailAt(1, absl::InternalError("lost"), /*half=*/true);
  EXPECT_THAT(env.Rename("/a", "/b"),
              StatusIs(StatusCode::kInternal, HasSubstr("Rename /a -> /b")));
  EXPECT_TRUE(mem.Exists("/b"));
}

}  // namespace
}  // namespace tritter
