#include "common/testing/memory_env.h"

#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

std::unique_ptr<WritableFile> Open(MemoryEnv* env, const std::string& path) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = env->NewWritableFile(path);
  EXPECT_OK(file);
  return *std::move(file);
}

std::string Read(MemoryEnv* env, const std::string& path) {
  return env->ReadFile(path).value_or("(none)");
}

TEST(MemoryEnvCrash, UnsyncedBytesAreLost) {
  MemoryEnv env;
  auto file = Open(&env, "/f");
  ASSERT_OK(env.SyncDir("/"));
  ASSERT_OK(file->Append("synced"));
  ASSERT_OK(file->Sync());
  ASSERT_OK(file->Append(" not"));
  EXPECT_EQ(Read(&env, "/f"), "synced not");
  env.Crash(CrashMode::kLoseUnsynced);
  EXPECT_EQ(Read(&env, "/f"), "synced");
}

TEST(MemoryEnvCrash, NewNameWithoutFolderSyncIsLost) {
  MemoryEnv env;
  auto file = Open(&env, "/f");
  ASSERT_OK(file->Append("x"));
  ASSERT_OK(file->Sync());
  env.Crash(CrashMode::kLoseUnsynced);
  EXPECT_FALSE(env.Exists("/f"));
}

TEST(MemoryEnvCrash, UnsyncedRenameAndRemovalAreUndone) {
  MemoryEnv env;
  ASSERT_OK(WriteFileAtomically(&env, "/a", "a"));
  ASSERT_OK(WriteFileAtomically(&env, "/b", "b"));
  ASSERT_OK(WriteFileAtomically(&env, "/c", "c"));
  ASSERT_OK(env.Rename("/a", "/b"));
  ASSERT_OK(env.RemoveFile("/c"));
  env.Crash(CrashMode::kLoseUnsynced);
  EXPECT_EQ(Read(&env, "/a") + Read(&env, "/b") + Read(&env, "/c"), "abc");
}

TEST(MemoryEnvCrash, TruncationIsUndoneWithoutSync) {
  MemoryEnv env;
  ASSERT_OK(WriteFileAtomically(&env, "/f", "old"));
  ASSERT_OK(env.NewWritableFile("/f"));
  EXPECT_EQ(Read(&env, "/f"), "");
  env.Crash(CrashMode::kLoseUnsynced);
  EXPECT_EQ(Read(&env, "/f"), "old");
}

TEST(MemoryEnvCrash, NamesOnlyKeepsTheRenameOfAnUnsyncedFile) {
  MemoryEnv env;
  ASSERT_OK(WriteFileAtomically(&env, "/f", "old"));
  ASSERT_OK(Open(&env, "/f.tmp")->Append("new"));
  ASSERT_OK(env.Rename("/f.tmp", "/f"));
  env.Crash(CrashMode::kKeepNamesOnly);
  EXPECT_EQ(Read(&env, "/f"), "");
}

TEST(MemoryEnvCrash, FoldersAreDurableWhenMade) {
  MemoryEnv env;
  ASSERT_OK(env.CreateDirs("/a/b"));
  env.Crash(CrashMode::kLoseUnsynced);
  EXPECT_TRUE(env.IsDirectory("/a/b"));
}

TEST(MemoryEnvCrash, FilesOpenBeforeItAreDead) {
  MemoryEnv env;
  auto file = Open(&env, "/f");
  env.Crash(CrashMode::kKeepUnsynced);
  EXPECT_THAT(file->Append("x"), StatusIs(absl::StatusCode::kInternal));
  EXPECT_EQ(Read(&env, "/f"), "");
}

TEST(MemoryEnv, CapacityIsAFullDisk) {
  MemoryEnv env;
  env.SetCapacity(4);
  auto file = Open(&env, "/f");
  EXPECT_THAT(file->Append("123456"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(Read(&env, "/f"), "1234");
  ASSERT_OK_AND_ASSIGN(const uint64_t free, env.FreeBytes("/"));
  EXPECT_EQ(free, 0u);
}

}  // namespace
}  // namespace tritter
