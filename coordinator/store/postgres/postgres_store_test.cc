// The store over a real PostgreSQL server: the conformance suite, crash points, leaders that are
// killed, fall silent and wake up, a server that restarts.
#include "coordinator/store/postgres/postgres_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/store/postgres/postgres_db.h"
#include "coordinator/store/postgres/testing/postgres_server.h"
#include "coordinator/store/sql_schema.h"
#include "coordinator/store/store_conformance.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using testing::Not;

// One server for all tests; null when none is installed.
std::unique_ptr<PostgresServer>& Server() {
  static auto* const server = new std::unique_ptr<PostgresServer>();
  return *server;
}

class WithServer : public testing::Environment {
 public:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
    if (server.ok()) {
      Server() = *std::move(server);
    } else if (absl::IsNotFound(server.status())) {
      std::printf("skipped: %s\n", std::string(server.status().message()).c_str());
    } else {
      FAIL() << server.status();
    }
  }
  void TearDown() override { Server() = nullptr; }
};
const auto* const kServer = testing::AddGlobalTestEnvironment(new WithServer);

LeaderOptions Leading(const std::string& address, const std::string& holder = "a") {
  LeaderOptions options;
  options.connection.address = address;
  options.holder = holder;
  options.renew = absl::Milliseconds(50);
  options.lease = absl::Milliseconds(400);
  return options;
}

// A leader with its store.
struct Lead {
  std::unique_ptr<PostgresLeader> leader;
  std::unique_ptr<SqlStore> store;
};

Lead TakeLead(LeaderOptions options, PostgresStoreOptions store_options = {}) {
  Lead out;
  out.leader = std::make_unique<PostgresLeader>(std::move(options));
  while (true) {
    absl::StatusOr<bool> leads = out.leader->TryLead();
    EXPECT_OK(leads);
    if (!leads.ok() || *leads) break;
    Clock::Real()->Sleep(absl::Milliseconds(20));
  }
  absl::StatusOr<std::unique_ptr<SqlStore>> store =
      OpenPostgresStore(out.leader.get(), std::move(store_options));
  EXPECT_OK(store);
  out.store = *std::move(store);
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    Forms, StoreConformance,
    testing::Values(StoreForm{"Postgres",
                              [](const std::string&) -> std::shared_ptr<Store> {
                                if (Server() == nullptr) return nullptr;
                                auto lead = std::make_shared<Lead>(
                                    TakeLead(Leading(*Server()->CreateDatabase())));
                                return {lead, lead->store.get()};
                              }}),
    [](const testing::TestParamInfo<StoreForm>& info) { return info.param.name; });

class PostgresStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (Server() == nullptr) GTEST_SKIP() << "no PostgreSQL server is installed here";
    address_ = *Server()->CreateDatabase();
  }
  // Ends the connections of a leader's term, as a failure of the network would.
  void Cut(int64_t term) {
    ASSERT_OK(Server()->Ask(address_, absl::StrCat("SELECT count(pg_terminate_backend(pid)) FROM "
                                                   "pg_stat_activity WHERE datname = "
                                                   "current_database() AND application_name = "
                                                   "'tritter leader ",
                                                   term, "'")));
  }

  std::string address_;
};

TEST_F(PostgresStoreTest, KeepsEverythingAndItsIdentityForTheNextLeader) {
  std::string id, before;
  {
    Lead first = TakeLead(Leading(address_));
    ASSERT_OK(first.store->Apply(FullBatch("r-a", 1)));
    id = *first.store->StoreId();
    before = Dump(*first.store, "r-a");
  }
  Lead second = TakeLead(Leading(address_, "b"));
  EXPECT_EQ(*second.store->StoreId(), id);
  EXPECT_EQ(Dump(*second.store, "r-a"), before);
  EXPECT_EQ(second.leader->term(), 2);
  EXPECT_THAT(second.leader->Predecessor(), testing::EndsWith(" in term 1"));
}

TEST_F(PostgresStoreTest, OneLeadsAndTheOthersSeeWho) {
  Lead first = TakeLead(Leading(address_, "host-a:7070 (pid 1)"));
  EXPECT_EQ(first.leader->Predecessor(), "");
  PostgresLeader second(Leading(address_, "host-b:7070 (pid 2)"));
  ASSERT_OK_AND_ASSIGN(const bool leads, second.TryLead());
  EXPECT_FALSE(leads);
  EXPECT_EQ(second.Leader(), "host-a:7070 (pid 1) leads in term 1");
  EXPECT_THAT(second.LastHeard(), HasSubstr("last heard "));
  first.store = nullptr;
  first.leader = nullptr;  // its connection ends: the lock is free at once
  while (!*second.TryLead()) Clock::Real()->Sleep(absl::Milliseconds(10));
  EXPECT_EQ(second.term(), 2);
}

TEST_F(PostgresStoreTest, ALeaderThatFallsSilentIsReplacedAndCanWriteNothingMore) {
  LeaderOptions asleep = Leading(address_, "host-a");
  asleep.renew = absl::Hours(1);  // as if it were stopped
  Lead first = TakeLead(asleep);
  ASSERT_OK(first.store->Apply(FullBatch("r-a", 1)));
  Lead second = TakeLead(Leading(address_, "host-b"));
  const std::string before = Dump(*second.store, "r-a");
  absl::Status refused = first.store->Apply(FullBatch("r-a", 2));
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnavailable,
                                HasSubstr("host-b leads in term 2, this coordinator led in term "
                                          "1 and can write nothing more")));
  ASSERT_TRUE(DetailOf(refused).has_value());
  EXPECT_EQ(DetailOf(refused)->reason(), v1::ErrorDetail::NOT_LEADER);
  EXPECT_THAT(first.leader->Standing(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(Dump(*second.store, "r-a"), before);
  EXPECT_OK(second.leader->Standing());
}

TEST_F(PostgresStoreTest, ALeaderStoppedInsideATransactionHoldsNobodyUp) {
  std::string before;
  Lead second;
  PostgresStoreOptions options;
  // In the middle of its write the first is replaced.
  options.hook = [&](absl::string_view point) {
    if (point != "commit" || second.leader != nullptr || before.empty()) return absl::OkStatus();
    second = TakeLead(Leading(address_, "host-b"));
    return absl::OkStatus();
  };
  LeaderOptions asleep = Leading(address_, "host-a");
  asleep.renew = absl::Hours(1);
  Lead first = TakeLead(asleep, options);
  ASSERT_OK(first.store->Apply(FullBatch("r-a", 1)));
  before = Dump(*first.store, "r-a");
  EXPECT_THAT(first.store->Apply(FullBatch("r-a", 2)), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_NE(second.leader, nullptr);
  EXPECT_EQ(Dump(*second.store, "r-a"), before);
  EXPECT_OK(second.store->Apply(FullBatch("r-a", 3)));
}

TEST_F(PostgresStoreTest, EachFailingStatementOrCommitLeavesTheOldStateWhole) {
  int64_t fail_at = -1, seen = 0;
  PostgresStoreOptions options;
  options.hook = [&](absl::string_view point) -> absl::Status {
    if (point == "committed") return absl::OkStatus();
    return seen++ == fail_at ? absl::ResourceExhaustedError("injected") : absl::OkStatus();
  };
  Lead lead = TakeLead(Leading(address_), options);
  ASSERT_OK(lead.store->Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(*lead.store, "r-a");
  const int64_t points = seen;
  ASSERT_GT(points, 15);
  for (int64_t at = 0; at < points; ++at) {
    fail_at = at;
    seen = 0;
    EXPECT_FALSE(lead.store->Apply(FullBatch("r-a", 2)).ok()) << at;
    EXPECT_EQ(Dump(*lead.store, "r-a"), before) << at;
  }
  fail_at = -1;
  EXPECT_OK(lead.store->Apply(FullBatch("r-a", 2)));
  EXPECT_NE(Dump(*lead.store, "r-a"), before);
}

TEST_F(PostgresStoreTest, AConnectionThatBreaksAtAnyPointLeavesTheOldOrTheNewStateWhole) {
  int64_t cut_at = -1, seen = 0;
  Lead lead;
  PostgresStoreOptions options;
  options.hook = [&](absl::string_view) -> absl::Status {
    if (seen++ == cut_at) Cut(lead.leader->term());
    return absl::OkStatus();
  };
  lead = TakeLead(Leading(address_), options);
  ASSERT_OK(lead.store->Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(*lead.store, "r-a");
  const int64_t points = seen;  // the last: after the commit
  for (int64_t at = 0; at + 1 < points; ++at) {
    cut_at = at;
    seen = 0;
    EXPECT_THAT(lead.store->Apply(FullBatch("r-a", 2)), StatusIs(absl::StatusCode::kUnavailable))
        << at;
    EXPECT_EQ(Dump(*lead.store, "r-a"), before) << at;
    EXPECT_OK(lead.leader->Standing()) << "nobody else took the lead";
  }
  cut_at = points - 1;
  seen = 0;
  EXPECT_OK(lead.store->Apply(FullBatch("r-a", 2)));
  EXPECT_NE(Dump(*lead.store, "r-a"), before);
}

// The answer to a commit is lost: it is looked up, so that the caller hears what is true.
TEST_F(PostgresStoreTest, ACommitWhoseAnswerIsLostIsFoundToBeThere) {
  bool lose = false;
  PostgresStoreOptions options;
  options.after_commit_sent = [&](int socket) {
    if (!std::exchange(lose, false)) return;
    while (*Server()->Ask(address_, "SELECT count(*) FROM tritter.events") != "2")
      Clock::Real()->Sleep(absl::Milliseconds(10));
    const int nowhere = open("/dev/null", O_RDWR);
    dup2(nowhere, socket);  // what the server answers goes by
    close(nowhere);
  };
  Lead lead = TakeLead(Leading(address_), options);
  ASSERT_OK(lead.store->Apply(FullBatch("r-a", 1)));
  lose = true;
  EXPECT_OK(lead.store->Apply(FullBatch("r-a", 2)));
  EXPECT_FALSE(lose);
  EXPECT_EQ(*lead.store->LastEventId(), 2);
  EXPECT_OK(lead.store->Apply(FullBatch("r-a", 3)));
}

TEST_F(PostgresStoreTest, TheLeadOutlivesARestartOfTheServer) {
  Lead lead = TakeLead(Leading(address_));
  ASSERT_OK(lead.store->Apply(FullBatch("r-a", 1)));
  PostgresLeader standby(Leading(address_, "b"));
  EXPECT_FALSE(*standby.TryLead());
  Server()->Crash();
  EXPECT_THAT(standby.TryLead(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(lead.store->Apply(FullBatch("r-a", 2)), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(lead.store->Runs(), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_OK(Server()->Run());
  EXPECT_FALSE(*standby.TryLead()) << "the one that led goes first";
  absl::Status status = lead.store->Apply(FullBatch("r-a", 2));
  while (!status.ok()) {  // a connection is tried once a second
    ASSERT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_EQ(DetailOf(status), std::nullopt);
    Clock::Real()->Sleep(absl::Milliseconds(50));
    status = lead.store->Apply(FullBatch("r-a", 2));
  }
  EXPECT_OK(lead.leader->Standing());
  EXPECT_EQ(lead.leader->term(), 1);
  EXPECT_EQ(*lead.store->LastEventId(), 2);
}

TEST_F(PostgresStoreTest, RefusesTablesOfAnotherProgramAndANewerVersion) {
  ASSERT_OK(Server()->Ask(address_, "CREATE SCHEMA tritter; CREATE TABLE tritter.theirs (x int)"));
  PostgresLeader stranger(Leading(address_));
  EXPECT_THAT(stranger.TryLead(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                           HasSubstr("1 tables of another program")));
  address_ = *Server()->CreateDatabase();
  {
    TakeLead(Leading(address_));
  }
  ASSERT_OK(Server()->Ask(address_, "UPDATE tritter.schema_version SET version = 99"));
  PostgresLeader newer(Leading(address_));
  while (!*newer.TryLead()) Clock::Real()->Sleep(absl::Milliseconds(10));
  EXPECT_THAT(OpenPostgresStore(&newer),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("schema version 99")));
}

TEST_F(PostgresStoreTest, RefusesAServerThatMayLoseWhatItConfirmed) {
  ASSERT_OK(Server()->Ask(address_, "ALTER SYSTEM SET fsync = off"));
  ASSERT_OK(Server()->Ask(address_, "SELECT pg_reload_conf()"));
  while (*Server()->Ask(address_, "SHOW fsync") != "off")
    Clock::Real()->Sleep(absl::Milliseconds(10));
  PostgresLeader leader(Leading(address_));
  EXPECT_THAT(leader.TryLead(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("fsync = off")));
  ASSERT_OK(Server()->Ask(address_, "ALTER SYSTEM RESET fsync"));
  ASSERT_OK(Server()->Ask(address_, "SELECT pg_reload_conf()"));
  while (*Server()->Ask(address_, "SHOW fsync") != "on")
    Clock::Real()->Sleep(absl::Milliseconds(10));
}

TEST_F(PostgresStoreTest, SaysWhatIsWrongWithADatabaseThatIsNotThere) {
  std::string missing = address_;
  missing.replace(missing.find("/db"), 3, "/no");
  PostgresLeader nowhere(Leading(missing));
  EXPECT_THAT(nowhere.TryLead(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("does not exist")));
  PostgresLeader away(Leading("postgresql://tritter@127.0.0.1:1/tritter"));
  EXPECT_THAT(away.TryLead(), StatusIs(absl::StatusCode::kUnavailable,
                                       HasSubstr("postgresql://127.0.0.1:1/tritter")));
}

TEST(PostgresAddress, HasNoPasswordInIt) {
  EXPECT_OK(CheckPostgresAddress("postgresql://tritter@db.example:5432/tritter"));
  EXPECT_THAT(
      CheckPostgresAddress("postgresql://tritter:geheim@db.example/tritter"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               testing::AllOf(HasSubstr("--store-password-file"), Not(HasSubstr("geheim")))));
  EXPECT_THAT(CheckPostgresAddress("postgresql://db.example/x?password=geheim"),
              StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("geheim"))));
  EXPECT_THAT(CheckPostgresAddress("postgresql://host/x?nonsense=1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected postgresql://")));
}

}  // namespace
}  // namespace tritter
