#include "common/env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "common/status_macros.h"
#include "common/testing/env_conformance.h"
#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

// A folder of the real file system that goes away with its owner.
struct TemporaryFolder {
  TemporaryFolder() {
    std::string pattern = JoinPath(testing::TempDir(), "env_test_XXXXXX");
    path = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { EXPECT_OK(Env::Real()->RemoveTree(path)); }
  std::string path;
};

EnvUnderTest MakeRealEnv() {
  auto folder = std::make_shared<TemporaryFolder>();
  return {folder, Env::Real(), folder->path};
}

EnvUnderTest MakeMemoryEnv() {
  auto env = std::make_shared<MemoryEnv>();
  EXPECT_OK(env->CreateDirs("/some/folder"));
  return {env, env.get(), "/some/folder"};
}

struct FaultOverMemory {
  MemoryEnv memory;
  FaultEnv fault{&memory};
};

EnvUnderTest MakeFaultEnv() {
  auto envs = std::make_shared<FaultOverMemory>();
  return {envs, &envs->fault, "/"};
}

INSTANTIATE_TEST_SUITE_P(Real, EnvConformance, testing::Values(&MakeRealEnv));
INSTANTIATE_TEST_SUITE_P(Memory, EnvConformance, testing::Values(&MakeMemoryEnv));
INSTANTIATE_TEST_SUITE_P(Fault, EnvConformance, testing::Values(&MakeFaultEnv));

TEST(RealEnv, FullDiskIsResourceExhaustedWithPathAndOffset) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file,
                       Env::Real()->NewWritableFile("/dev/full"));
  ASSERT_OK(file->Append("fits the buffer"));
  EXPECT_THAT(file->Sync(), StatusIs(StatusCode::kResourceExhausted,
                                     testing::AllOf(HasSubstr("/dev/full"), HasSubstr("byte 0"),
                                                    HasSubstr("No space left on device"),
                                                    HasSubstr("free some space and run it"))));
}

TEST(RealEnv, DelayedWriteErrorSurfacesAtClose) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<WritableFile> file,
                       Env::Real()->NewWritableFile("/dev/full"));
  ASSERT_OK(file->Append("x"));
  EXPECT_THAT(file->Close(), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_OK(file->Close());
}

TEST(RealEnv, RemoveTreeDoesNotFollowLinks) {
  TemporaryFolder folder;
  Env* env = Env::Real();
  ASSERT_OK(env->CreateDirs(JoinPath(folder.path, "keep")));
  ASSERT_OK(WriteFileAtomically(env, JoinPath(folder.path, "keep/f"), "x"));
  ASSERT_OK(env->CreateDirs(JoinPath(folder.path, "gone")));
  ASSERT_EQ(
      symlink(JoinPath(folder.path, "keep").c_str(), JoinPath(folder.path, "gone/link").c_str()),
      0);
  ASSERT_OK(env->RemoveTree(JoinPath(folder.path, "gone")));
  EXPECT_TRUE(env->Exists(JoinPath(folder.path, "keep/f")));
}

TEST(RealEnv, ReadsFilesWithoutASize) {
  ASSERT_OK_AND_ASSIGN(const std::string text, Env::Real()->ReadFile("/proc/self/status"));
  EXPECT_THAT(text, HasSubstr("Name:"));
}

TEST(Paths, JoinDirnameBasename) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("a", "/b"), "/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(JoinPath("a", ""), "a");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(Dirname("/a/b"), "/a");
  EXPECT_EQ(Dirname("/a"), "/");
  EXPECT_EQ(Dirname("/"), "/");
  EXPECT_EQ(Dirname("a"), ".");
  EXPECT_EQ(Dirname("a/b/"), "a");
  EXPECT_EQ(Basename("/a/b"), "b");
  EXPECT_EQ(Basename("a"), "a");
  EXPECT_EQ(Basename("a/b/"), "b");
  EXPECT_EQ(Basename("/"), "/");
}

TEST(WriteFileAtomically, EveryCrashPointLeavesTheOldOrTheNewFile) {
  const int cases = ForEachCrashPoint(
      [](MemoryEnv* mem) { ASSERT_OK(WriteFileAtomically(mem, "/d", "old")); },
      [](Env* env) { return WriteFileAtomically(env, "/d", "brand new"); },
      [](MemoryEnv* mem, const std::string& where) {
        ASSERT_OK_AND_ASSIGN(const std::string text, mem->ReadFile("/d"));
        EXPECT_TRUE(text == "old" || text == "brand new") << where << ": " << text;
        if (absl::StartsWith(where, "no fault")) EXPECT_EQ(text, "brand new");
      });
  EXPECT_GE(cases, 6 * 7);  // create, append, sync, close, rename, sync of the folder, no fault
}

TEST(WriteFileAtomically, FullDiskKeepsTheOldFileAndRemovesTheTemporary) {
  MemoryEnv mem;
  ASSERT_OK(WriteFileAtomically(&mem, "/f", "old"));
  mem.SetCapacity(5);
  EXPECT_THAT(WriteFileAtomically(&mem, "/f", "too long"),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("No space left")));
  ASSERT_OK_AND_ASSIGN(const std::string text, mem.ReadFile("/f"));
  EXPECT_EQ(text, "old");
  EXPECT_FALSE(mem.Exists("/f.tmp"));
}

// The harness itself: it must catch the classic mistakes.
absl::Status WriteWithout(Env* env, absl::string_view left_out) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = env->NewWritableFile("/d.tmp");
  RETURN_IF_ERROR(file.status());
  RETURN_IF_ERROR((*file)->Append("brand new"));
  if (left_out != "fsync") RETURN_IF_ERROR((*file)->Sync());
  RETURN_IF_ERROR((*file)->Close());
  RETURN_IF_ERROR(env->Rename("/d.tmp", "/d"));
  return left_out == "folder" ? absl::OkStatus() : env->SyncDir("/");
}

TEST(ForEachCrashPoint, FindsAMissingFsync) {
  for (const char* left_out : {"", "fsync", "folder"}) {
    bool torn = false, lost = false;
    ForEachCrashPoint([](MemoryEnv* mem) { ASSERT_OK(WriteFileAtomically(mem, "/d", "old")); },
                      [&](Env* env) { return WriteWithout(env, left_out); },
                      [&](MemoryEnv* mem, const std::string& where) {
                        const std::string text = mem->ReadFile("/d").value_or("gone");
                        torn |= text != "old" && text != "brand new";
                        lost |= absl::StartsWith(where, "no fault") && text != "brand new";
                      });
    EXPECT_EQ(torn, left_out == std::string("fsync")) << left_out;
    EXPECT_EQ(lost, left_out != std::string()) << left_out;
  }
}

}  // namespace
}  // namespace tritter
