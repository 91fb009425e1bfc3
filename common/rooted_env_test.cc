#include "common/rooted_env.h"

#include <stdlib.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class RootedEnvTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(testing::TempDir(), "/rootedXXXXXX");
    base_ = fs::canonical(mkdtemp(pattern.data())).string();
    fs::create_directories(In("inside/data"));
    fs::create_directories(In("outside/data"));
    Write("inside/data/good");
    Write("outside/data/secret");
    absl::StatusOr<std::unique_ptr<RootedEnv>> env =
        RootedEnv::Create(Env::Real(), {In("inside"), In("later")});
    ASSERT_OK(env);
    env_ = *std::move(env);
  }
  void TearDown() override { fs::remove_all(base_); }
  std::string In(const std::string& path) const { return JoinPath(base_, path); }
  void Write(const std::string& path) {
    ASSERT_OK(WriteFileAtomically(Env::Real(), In(path), "text"));
  }

  std::string base_;
  std::unique_ptr<RootedEnv> env_;
};

constexpr auto kDenied = absl::StatusCode::kPermissionDenied;

TEST_F(RootedEnvTest, WorksBelowItsFolders) {
  EXPECT_OK(env_->ReadFile(In("inside/data/good")));
  EXPECT_OK(env_->ReadFile(In("inside/../inside/data/./good")));
  EXPECT_OK(WriteFileAtomically(env_.get(), In("inside/new"), "x"));
  EXPECT_OK(env_->CreateDirs(In("inside/a/b/c")));
  EXPECT_OK(env_->CreateDirs(In("later/a")));  // was not there when the env was made
  EXPECT_OK(WriteFileAtomically(env_.get(), In("later/a/file"), "x"));
  EXPECT_OK(env_->ListDir(In("inside")));
  EXPECT_TRUE(env_->Exists(In("inside/new")));
  EXPECT_FALSE(env_->Exists(In("inside/missing")));
  EXPECT_THAT(env_->ReadFile(In("inside/missing")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_OK(env_->RemoveTree(In("inside/a")));
}

TEST_F(RootedEnvTest, RefusesWhatLiesOutsideHoweverItIsWritten) {
  for (const char* path : {"outside/data/secret", "inside/../outside/data/secret", "inside2/x",
                           "inside/missing/../../outside/data/secret"}) {
    EXPECT_THAT(env_->ReadFile(In(path)), StatusIs(kDenied)) << path;
  }
  EXPECT_THAT(env_->ReadFile("/etc/passwd"), StatusIs(kDenied));
  EXPECT_FALSE(env_->Exists("/etc/passwd"));
  EXPECT_FALSE(env_->IsDirectory("/etc"));
}

TEST_F(RootedEnvTest, FollowsNoLinkOutOfItsFolders) {
  fs::create_directory_symlink(In("outside"), In("inside/folder"));
  fs::create_symlink(In("outside/data/secret"), In("inside/file"));
  fs::create_symlink("../../outside/data/secret", In("inside/data/relative"));
  fs::create_symlink(In("outside/nothing"), In("inside/dangling"));
  EXPECT_THAT(
      env_->ReadFile(In("inside/file")),
      StatusIs(kDenied, AllOf(HasSubstr(In("inside/file")), HasSubstr(In("outside/data/secret")))));
  EXPECT_THAT(env_->MapFile(In("inside/data/relative")), StatusIs(kDenied));
  EXPECT_THAT(env_->FileSize(In("inside/folder/data/secret")), StatusIs(kDenied));
  EXPECT_THAT(env_->ListDir(In("inside/folder")), StatusIs(kDenied));
  EXPECT_FALSE(env_->IsDirectory(In("inside/folder")));
  EXPECT_THAT(env_->NewWritableFile(In("inside/folder/new")), StatusIs(kDenied));
  EXPECT_THAT(env_->NewWritableFile(In("inside/file")), StatusIs(kDenied));
  EXPECT_FALSE(env_->NewWritableFile(In("inside/dangling")).ok());  // would be made outside
  EXPECT_THAT(env_->CreateDirs(In("inside/folder/new")), StatusIs(kDenied));
  EXPECT_THAT(env_->Rename(In("inside/data/good"), In("inside/folder/good")), StatusIs(kDenied));
  EXPECT_THAT(env_->Rename(In("inside/folder/data"), In("inside/stolen")), StatusIs(kDenied));
  EXPECT_THAT(env_->RemoveFile(In("inside/folder/data/secret")), StatusIs(kDenied));
  EXPECT_THAT(env_->RemoveTree(In("inside/folder/data")), StatusIs(kDenied));
  EXPECT_TRUE(fs::exists(In("outside/data/secret")));
  EXPECT_FALSE(fs::exists(In("outside/new")));
  EXPECT_FALSE(fs::exists(In("outside/nothing")));
}

TEST_F(RootedEnvTest, LinksThatStayInsideAndTheNameOfALinkItselfAreFine) {
  fs::create_directory_symlink(In("inside/data"), In("inside/link"));
  fs::create_directory_symlink(In("outside"), In("inside/away"));
  EXPECT_OK(env_->ReadFile(In("inside/link/good")));
  EXPECT_OK(env_->RemoveTree(In("inside/away")));  // the link, not what it leads to
  EXPECT_TRUE(fs::exists(In("outside/data/secret")));
}

TEST_F(RootedEnvTest, AFolderMayBeALinkItself) {
  fs::create_directory_symlink(In("outside"), In("root"));
  ASSERT_OK_AND_ASSIGN(const auto env, RootedEnv::Create(Env::Real(), {In("root")}));
  EXPECT_OK(env->ReadFile(In("root/data/secret")));
  EXPECT_OK(env->ReadFile(In("outside/data/secret")));
  EXPECT_THAT(env->ReadFile(In("inside/data/good")), StatusIs(kDenied));
}

}  // namespace
}  // namespace tritter
