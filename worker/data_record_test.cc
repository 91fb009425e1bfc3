#include "worker/data_record.h"

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(DataRecord, TheSameDataPassesAndOtherDataIsRefusedBySource) {
  MemoryEnv env;
  ASSERT_OK(env.CreateDirs("/run"));
  const DataHashes first = {{"code", "aa"}, {"text", "bb"}},
                   other = {{"code", "aa"}, {"text", "c"}};
  EXPECT_OK(CheckData(&env, "/run", first));  // nothing is recorded
  ASSERT_OK(RecordData(&env, "/run", first));
  ASSERT_OK(RecordData(&env, "/run", first));
  EXPECT_OK(CheckData(&env, "/run", first));
  EXPECT_THAT(CheckData(&env, "/run", other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("source text"), HasSubstr("expected bb (/run/data.json)"),
                             HasSubstr("actual c"), HasSubstr("in a new run"))));
  ASSERT_OK(RecordData(&env, "/run", other));  // the run began anew
  EXPECT_OK(CheckData(&env, "/run", other));
}

TEST(DataRecord, IsNotMadeForARunThatWasDeleted) {
  MemoryEnv env;
  EXPECT_THAT(RecordData(&env, "/runs/r-1", {{"text", "bb"}}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_FALSE(env.Exists("/runs/r-1"));
}

TEST(DataRecord, ARecordThatIsNoneIsAnError) {
  for (const char* text : {"", "[]", "null", "{}", "{\"tokens_sha256\": 3}", "{"}) {
    MemoryEnv env;
    ASSERT_OK(env.CreateDirs("/run"));
    ASSERT_OK(WriteFileAtomically(&env, "/run/data.json", text));
    EXPECT_THAT(CheckData(&env, "/run", {{"text", "bb"}}),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("/run/data.json")))
        << text;
  }
}

}  // namespace
}  // namespace tritter
