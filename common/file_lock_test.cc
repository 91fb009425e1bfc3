#include "common/file_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::HasSubstr;

TEST(FileLock, SecondHolderIsRefusedWithThePidOfTheFirst) {
  const std::string path = JoinPath(testing::TempDir(), "second.lock");
  ASSERT_OK_AND_ASSIGN(auto first, FileLock::Acquire(path));
  EXPECT_THAT(
      FileLock::Acquire(path),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr(absl::StrCat("is held by process ", getpid(), " (file_lock_test"))));
  first.reset();
  EXPECT_OK(FileLock::Acquire(path));
}

TEST(FileLock, IsFreeAgainWhenTheHolderWasKilled) {
  const std::string path = JoinPath(testing::TempDir(), "killed.lock");
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto lock = FileLock::Acquire(path);
    const char ok = lock.ok();
    if (write(ready[1], &ok, 1) != 1) _exit(1);
    for (;;) pause();
  }
  char ok = 0;
  ASSERT_EQ(read(ready[0], &ok, 1), 1);
  ASSERT_TRUE(ok);
  EXPECT_THAT(FileLock::Acquire(path), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                HasSubstr(absl::StrCat("process ", child))));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_OK(FileLock::Acquire(path));
}

TEST(FileLock, MissingFolderIsNotFound) {
  EXPECT_THAT(FileLock::Acquire(JoinPath(testing::TempDir(), "no/such/lock")),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace tritter
