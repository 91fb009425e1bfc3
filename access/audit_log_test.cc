#include "access/audit_log.h"

#include "absl/strings/str_cat.h"
#include "common/testing/fake_clock.h"
#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

AuditRecord Call(const std::string& call, const std::string& run) {
  AuditRecord record;
  record.caller = "alice";
  record.peer = "ipv4:127.0.0.1:9";
  record.call = call;
  record.run = run;
  return record;
}

std::vector<std::string> Calls(const std::vector<AuditRecord>& records) {
  std::vector<std::string> out;
  for (const AuditRecord& r : records)
    out.push_back(absl::StrCat(r.id, " ", r.call, " ", r.run, " ", r.result));
  return out;
}

class AuditLogTest : public testing::Test {
 protected:
  std::unique_ptr<AuditLog> Open(uint64_t file_bytes = 1 << 20, size_t files = 100) {
    auto log = AuditLog::Open(&env_, &clock_, {"/data/audit", file_bytes, files});
    EXPECT_OK(log);
    return *std::move(log);
  }
  int64_t Record(AuditLog* log, const std::string& call, const std::string& run) {
    absl::StatusOr<int64_t> id = log->Begin(Call(call, run));
    EXPECT_OK(id);
    EXPECT_OK(log->End(*id, "OK", run + "-id"));
    return *id;
  }
  std::vector<std::string> Read(AuditLog* log, const AuditQuery& query) {
    absl::StatusOr<std::vector<AuditRecord>> records = log->Read(query);
    EXPECT_OK(records);
    return Calls(*records);
  }

  MemoryEnv env_;
  FakeClock clock_;
};

TEST_F(AuditLogTest, KeepsWhoDidWhatWithItsResultOverARestart) {
  {
    const auto log = Open();
    ASSERT_OK_AND_ASSIGN(const int64_t id, log->Begin(Call("PauseRun", "nano")));
    ASSERT_OK(log->End(id, "OK", "r1"));
    ASSERT_OK(log->Begin(Call("CancelRun", "nano")));  // the process ends before its result
  }
  const auto log = Open();
  ASSERT_OK_AND_ASSIGN(const auto records, log->Read({}));
  EXPECT_THAT(Calls(records), ElementsAre("1 PauseRun r1 OK", "2 CancelRun nano "));
  EXPECT_EQ(records[0].caller, "alice");
  EXPECT_EQ(records[0].peer, "ipv4:127.0.0.1:9");
  EXPECT_EQ(records[0].time_ms, absl::ToUnixMillis(clock_.Now()));
  EXPECT_EQ(Record(log.get(), "ResumeRun", "nano"), 3);
}

TEST_F(AuditLogTest, GivesTheNewestOrWhatFollowsAnIdAndThoseOfARun) {
  const auto log = Open(/*file_bytes=*/300);  // several files
  for (int i = 1; i <= 9; ++i)
    Record(log.get(), absl::StrCat("Call", i), i % 2 == 0 ? "even" : "odd");
  EXPECT_THAT(Read(log.get(), {.limit = 2, .runs = {}}),
              ElementsAre("8 Call8 even-id OK", "9 Call9 odd-id OK"));
  EXPECT_THAT(Read(log.get(), {.after_id = 3, .limit = 2, .runs = {}}),
              ElementsAre("4 Call4 even-id OK", "5 Call5 odd-id OK"));
  EXPECT_THAT(Read(log.get(), {.limit = 2, .runs = {"even", "even-id"}}),
              ElementsAre("6 Call6 even-id OK", "8 Call8 even-id OK"));
  EXPECT_THAT(Read(log.get(), {.after_id = 9, .runs = {}}), IsEmpty());
  EXPECT_THAT(Read(log.get(), {}), SizeIs(9));
}

TEST_F(AuditLogTest, DropsTheOldestFilesBeyondItsBound) {
  const auto log = Open(/*file_bytes=*/100, /*files=*/3);
  for (int i = 1; i <= 20; ++i) Record(log.get(), "Call", "run");
  ASSERT_OK_AND_ASSIGN(const auto names, env_.ListDir("/data/audit"));
  EXPECT_THAT(names, SizeIs(3));
  ASSERT_OK_AND_ASSIGN(const auto records, log->Read({}));
  ASSERT_FALSE(records.empty());
  EXPECT_LT(records.size(), 20u);
  EXPECT_EQ(records.back().id, 20);
}

// Whatever fails and whenever the power goes: a call that was begun is on record, and ids are not
// given twice.
TEST_F(AuditLogTest, ACallThatMayBeCarriedOutIsOnRecordAtEveryCrashPoint) {
  FakeClock clock;
  std::vector<int64_t> begun;
  const int cases = ForEachCrashPoint(
      [&](MemoryEnv* env) {
        auto log = AuditLog::Open(env, &clock, {"/audit"});
        ASSERT_OK(log);
        ASSERT_OK((*log)->Begin(Call("Before", "run")));
      },
      [&](Env* env) -> absl::Status {
        begun.clear();
        ASSIGN_OR_RETURN(const auto log, AuditLog::Open(env, &clock, {"/audit", 150}));
        for (int i = 0; i < 4; ++i) {
          const absl::StatusOr<int64_t> id = log->Begin(Call("During", "run"));
          if (!id.ok()) continue;
          begun.push_back(*id);
          log->End(*id, "OK", "").IgnoreError();
        }
        return absl::OkStatus();
      },
      [&](MemoryEnv* env, const std::string& where) {
        const auto log = AuditLog::Open(env, &clock, {"/audit"});
        ASSERT_OK(log) << where;
        ASSERT_OK_AND_ASSIGN(const auto records, (*log)->Read({}));
        std::vector<int64_t> ids;
        for (const AuditRecord& r : records) ids.push_back(r.id);
        EXPECT_THAT(ids, testing::Contains(1)) << where;
        for (const int64_t id : begun) EXPECT_THAT(ids, testing::Contains(id)) << where;
        ASSERT_OK_AND_ASSIGN(const int64_t next, (*log)->Begin(Call("After", "run")));
        EXPECT_THAT(ids, testing::Not(testing::Contains(next))) << where;
        ASSERT_OK_AND_ASSIGN(const auto after, (*log)->Read({}));
        EXPECT_EQ(after.back().call, "After") << where;
      });
  EXPECT_GT(cases, 10);
}

}  // namespace
}  // namespace tritter
