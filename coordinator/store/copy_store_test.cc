// Backups from and to both databases, and rows of every older version of the schema.
#include "coordinator/store/copy_store.h"

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/store/postgres/testing/postgres_server.h"
#include "coordinator/store/sql_schema.h"
#include "coordinator/store/sqlite_db.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/store/store_samples.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

bool NeverEnd(absl::Duration) { return false; }
bool EndAtOnce(absl::Duration) { return true; }

StoreChoice Sqlite(const std::string& data_dir) { return {"", "", data_dir, "test"}; }

std::unique_ptr<OpenedStore> Open(const StoreChoice& choice) {
  absl::StatusOr<std::unique_ptr<OpenedStore>> store =
      AwaitStore(Env::Real(), choice, NeverEnd, [](const std::string&) {});
  EXPECT_OK(store);
  return *std::move(store);
}

// A store of version `version` as a SQLite file.
void MakeOldStore(int64_t version, const std::string& path) {
  std::ifstream file(absl::StrCat("coordinator/store/testdata/store_v", version, ".sql"));
  std::stringstream sql;
  sql << file.rdbuf();
  ASSERT_FALSE(sql.str().empty())
      << "no fixture of schema version " << version
      << ": with the program of that version fill a store, and keep what `sqlite3 coordinator.db "
         ".dump` says of it, with its application_id and user_version, in testdata/";
  auto db = *SqliteDb::Open(path);
  ASSERT_OK(db->Execute(sql.str()));
  ASSERT_OK_AND_ASSIGN(const SqlMarker marker, db->Marker());
  ASSERT_EQ(marker.version, version);
}

// What the fixtures hold.
void ExpectRowsOfFixture(Store& store, int64_t version) {
  EXPECT_EQ(*store.StoreId(), "store-fixture");
  ASSERT_OK_AND_ASSIGN(const auto runs, store.Runs());
  ASSERT_THAT(runs, SizeIs(1));
  EXPECT_EQ(runs[0].name, "shakespeare");
  EXPECT_EQ(runs[0].best_step, 9);
  EXPECT_EQ(runs[0].reported_tokens, version >= 3 ? 14336 : 0);
  ASSERT_OK_AND_ASSIGN(const auto epochs, store.LiveEpochs());
  ASSERT_THAT(epochs, SizeIs(1));
  ASSERT_THAT(epochs[0].members, SizeIs(2));
  EXPECT_EQ(epochs[0].members[0].incarnation, 0xfedcba9876543210u);
  EXPECT_EQ((*store.Plans("r-a", 2)).at(0).end_step(), 10);
  EXPECT_EQ((*store.Shares("r-a", 2)).at(0).rank, 1);
  EXPECT_EQ((*store.Checkpoints("r-a")).at(0).step(), 5);
  EXPECT_EQ((*store.Metrics("r-a", 0, 0, 10)).at(0).loss(), 2.5);
  EXPECT_EQ(*store.SupersededSteps("r-a"), 1);
  EXPECT_EQ((*store.Evaluations("r-a", 0, 0, 10)).at(0).loss(), 2.25);
  EXPECT_EQ((*store.Artifacts("r-a")).at(0).kind(), "tpack");
  EXPECT_EQ((*store.Events("", 0, 10)).at(0).message(), "2 workers");
  EXPECT_EQ((*store.FindKey("key-1"))->run_id, "r-a");
  EXPECT_EQ((*store.FindKey("key-1"))->created_ms, 1000);  // as old as its run
  EXPECT_EQ(epochs[0].end_step, version >= 4 ? 5 : 0);
  EXPECT_EQ(*store.RequestSeen({"r-a", 2, "request-1"}), version >= 2);
  if (version >= 2) EXPECT_EQ((*store.LogLines("r-a", 0, 0)).at(0).sequence, 41);
  EXPECT_OK(store.Apply(FullBatch("r-b", 2)));
  EXPECT_EQ((*store.LogLines("r-b", 0, 0)).at(0).sequence, version >= 2 ? 42 : 1);
}

TEST(OldStores, OfEveryVersionAreMigratedWithTheirRows) {
  for (int64_t version = 1; version < LatestSchemaVersion(); ++version) {
    SCOPED_TRACE(version);
    TemporaryFolder folder;
    MakeOldStore(version, folder.path() + "/coordinator.db");
    auto store = Open(Sqlite(folder.path()));
    ExpectRowsOfFixture(*store->get(), version);
  }
}

TEST(OldStores, BackupsOfEveryVersionAreRestored) {
  for (int64_t version = 1; version < LatestSchemaVersion(); ++version) {
    SCOPED_TRACE(version);
    TemporaryFolder folder, to;
    MakeOldStore(version, folder.path() + "/backup.db");
    ASSERT_OK_AND_ASSIGN(
        const CopiedStore copied,
        RestoreStore(Env::Real(), folder.path() + "/backup.db", Sqlite(to.path()), EndAtOnce));
    EXPECT_EQ(copied.schema_version, version);
    EXPECT_EQ(copied.store_id, "store-fixture");
    EXPECT_EQ(copied.runs, 1);
    auto store = Open(Sqlite(to.path()));
    ExpectRowsOfFixture(*store->get(), version);
  }
}

TEST(CopyStore, ABackupIsTheStoreAtOneMomentWhileItIsWrittenTo) {
  TemporaryFolder folder, to;
  const std::string backup = folder.path() + "/backup.db";
  auto store = Open(Sqlite(folder.path()));
  ASSERT_OK(store->get()->Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(*store->get(), "r-a");
  ASSERT_OK_AND_ASSIGN(const CopiedStore saved,
                       BackUpStore(Env::Real(), Sqlite(folder.path()), backup));
  EXPECT_EQ(saved.store_id, *store->get()->StoreId());
  EXPECT_EQ(saved.runs, 1);
  ASSERT_OK(store->get()->Apply(FullBatch("r-a", 2)));
  ASSERT_OK(RestoreStore(Env::Real(), backup, Sqlite(to.path()), EndAtOnce));
  auto restored = Open(Sqlite(to.path()));
  EXPECT_EQ(*restored->get()->StoreId(), saved.store_id);
  EXPECT_EQ(Dump(*restored->get(), "r-a"), before);
  EXPECT_THAT(*restored->get()->Runs(), ElementsAre(SampleRun("r-a", 1000)));
  EXPECT_OK(restored->get()->Apply(FullBatch("r-a", 2)));
}

TEST(CopyStore, WhatIsThereIsNeverReplaced) {
  TemporaryFolder folder, other;
  const std::string backup = folder.path() + "/backup.db";
  Open(Sqlite(folder.path()));
  ASSERT_OK(BackUpStore(Env::Real(), Sqlite(folder.path()), backup));
  EXPECT_THAT(BackUpStore(Env::Real(), Sqlite(folder.path()), backup),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("replaces nothing")));
  EXPECT_THAT(RestoreStore(Env::Real(), backup, Sqlite(folder.path()), EndAtOnce),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is there already")));
  auto running = Open(Sqlite(other.path()));
  EXPECT_THAT(RestoreStore(Env::Real(), backup, Sqlite(other.path()), EndAtOnce),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("process")));
}

TEST(CopyStore, RefusesWhatIsNoStore) {
  TemporaryFolder folder, to;
  const std::string path = folder.path() + "/x.db";
  EXPECT_THAT(BackUpStore(Env::Real(), Sqlite(folder.path()), path),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--data-dir")));
  {
    auto db = *SqliteDb::Open(path);
    ASSERT_OK(db->Execute("CREATE TABLE theirs (x)"));
  }
  EXPECT_THAT(RestoreStore(Env::Real(), path, Sqlite(to.path()), EndAtOnce),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another program")));
  {
    auto db = *SqliteDb::Open(folder.path() + "/coordinator.db");
    ASSERT_OK(MigrateStore(db.get(), "old", 1));
  }
  EXPECT_THAT(BackUpStore(Env::Real(), Sqlite(folder.path()), folder.path() + "/y.db"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("schema version 1")));
  EXPECT_FALSE(Env::Real()->Exists(folder.path() + "/y.db"));
}

TEST(CopyStore, ADamagedBackupIsRefused) {
  TemporaryFolder folder, to;
  const std::string backup = folder.path() + "/backup.db";
  {
    auto store = Open(Sqlite(folder.path()));
    for (int64_t id = 1; id < 200; ++id) ASSERT_OK(store->get()->Apply(FullBatch("r-a", id)));
  }
  ASSERT_OK(BackUpStore(Env::Real(), Sqlite(folder.path()), backup));
  ASSERT_OK_AND_ASSIGN(std::string bytes, Env::Real()->ReadFile(backup));
  for (size_t i = bytes.size() / 2; i < bytes.size() / 2 + 9000; ++i) bytes[i] = 'x';
  ASSERT_OK(WriteFileAtomically(Env::Real(), backup, bytes));
  EXPECT_THAT(RestoreStore(Env::Real(), backup, Sqlite(to.path()), EndAtOnce),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_FALSE(Env::Real()->Exists(to.path() + "/coordinator.db"));
}

class WithPostgres : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
    if (absl::IsNotFound(server.status())) GTEST_SKIP() << server.status().message();
    ASSERT_OK(server);
    server_ = *std::move(server);
  }
  StoreChoice Database(const std::string& data_dir) {
    return {*server_->CreateDatabase(), "", data_dir, "test"};
  }
  std::unique_ptr<PostgresServer> server_;
};

TEST_F(WithPostgres, BackupsGoFromEachDatabaseToTheOther) {
  TemporaryFolder from, shared, back;
  const std::string first = from.path() + "/first.db", second = from.path() + "/second.db";
  std::string before, id;
  {
    auto store = Open(Sqlite(from.path()));
    ASSERT_OK(store->get()->Apply(FullBatch("r-a", 1)));
    ASSERT_OK(store->get()->Apply(FullBatch("r-a", 2)));
    before = Dump(*store->get(), "r-a");
    id = *store->get()->StoreId();
  }
  ASSERT_OK(BackUpStore(Env::Real(), Sqlite(from.path()), first));
  const StoreChoice database = Database(shared.path());
  ASSERT_OK(RestoreStore(Env::Real(), first, database, EndAtOnce));
  {
    auto store = Open(database);
    EXPECT_EQ(Dump(*store->get(), "r-a"), before);
    EXPECT_EQ(*store->get()->StoreId(), id);
    // While a coordinator leads: a backup is taken, a restore is refused.
    ASSERT_OK(BackUpStore(Env::Real(), database, second));
    EXPECT_THAT(RestoreStore(Env::Real(), first, database, EndAtOnce),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("test leads in term 2")));
    ASSERT_OK(store->get()->Apply(FullBatch("r-a", 3)));
  }
  EXPECT_THAT(RestoreStore(Env::Real(), first, database, NeverEnd),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is not empty")));
  ASSERT_OK(RestoreStore(Env::Real(), second, Sqlite(back.path()), EndAtOnce));
  auto store = Open(Sqlite(back.path()));
  EXPECT_EQ(Dump(*store->get(), "r-a"), before);
  EXPECT_EQ(*store->get()->StoreId(), id);
}

TEST_F(WithPostgres, BackupsOfEveryVersionAreRestored) {
  for (int64_t version = 1; version < LatestSchemaVersion(); ++version) {
    SCOPED_TRACE(version);
    TemporaryFolder folder, to;
    MakeOldStore(version, folder.path() + "/backup.db");
    const StoreChoice database = Database(to.path());
    ASSERT_OK(RestoreStore(Env::Real(), folder.path() + "/backup.db", database, EndAtOnce));
    auto store = Open(database);
    ExpectRowsOfFixture(*store->get(), version);
  }
}

TEST_F(WithPostgres, TheFolderOfRunsOfAnotherStoreIsRefused) {
  TemporaryFolder folder;
  Open(Database(folder.path()));
  EXPECT_THAT(AwaitStore(Env::Real(), Database(folder.path()), NeverEnd, [](const std::string&) {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("store-id names")));
}

TEST_F(WithPostgres, AStandbySaysWhoLeadsAndTakesOver) {
  TemporaryFolder folder;
  const StoreChoice database = Database(folder.path());
  auto first = Open(database);
  std::vector<std::string> said;
  auto second = AwaitStore(
      Env::Real(), database,
      [&](absl::Duration) {
        first = nullptr;
        return false;
      },
      [&](const std::string& text) { said.push_back(text); });
  ASSERT_OK(second);
  ASSERT_NE(*second, nullptr);
  ASSERT_FALSE(said.empty());
  EXPECT_THAT(said[0], HasSubstr("test leads in term 1, last heard"));
  EXPECT_OK((*second)->Standing());
  // One that is told to end waits for nothing.
  ASSERT_OK_AND_ASSIGN(auto none,
                       AwaitStore(Env::Real(), database, EndAtOnce, [](const std::string&) {}));
  EXPECT_EQ(none, nullptr);
}

}  // namespace
}  // namespace tritter
