#include "tritterctl/local/binaries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void Put(Env* env, const std::string& path) {
  ASSERT_OK(env->CreateDirs(Dirname(path)));
  ASSERT_OK(WriteFileAtomically(env, path, "x"));
}

TEST(FindBinary, LooksAsBazelLaysThemOutThenBesideItself) {
  MemoryEnv env;
  Put(&env, "/inst/bin/tritter_worker");
  EXPECT_EQ(*FindBinary(&env, "/inst/bin", "worker", ""), "/inst/bin/tritter_worker");
  Put(&env, "/out/bin/worker/tritter_worker");
  EXPECT_EQ(*FindBinary(&env, "/out/bin/tritterctl", "worker", ""),
            "/out/bin/worker/tritter_worker");
}

TEST(FindBinary, AGivenPathIsTakenOrRefused) {
  MemoryEnv env;
  Put(&env, "/my/worker");
  EXPECT_EQ(*FindBinary(&env, "/x", "worker", "/my/worker"), "/my/worker");
  EXPECT_THAT(FindBinary(&env, "/x", "worker", "/my/none"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--worker-binary")));
}

TEST(FindBinary, SaysWhereItLookedAndHowToBuildIt) {
  MemoryEnv env;
  EXPECT_THAT(FindBinary(&env, "/a/b", "coordinator", ""),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("/a/coordinator/tritter_coordinator"),
                             HasSubstr("/a/b/tritter_coordinator"),
                             HasSubstr("bazel build //coordinator:tritter_coordinator"))));
}

}  // namespace
}  // namespace tritter
