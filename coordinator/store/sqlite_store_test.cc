#include "coordinator/store/sqlite_store.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/store/sql_schema.h"
#include "coordinator/store/store_samples.h"

namespace tritter {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::unique_ptr<SqliteStore> Open(const std::string& folder, SqliteStoreOptions options = {}) {
  return *SqliteStore::Open(Env::Real(), folder, std::move(options));
}

// What another process would find if this one died now.
void CopyImage(const std::string& from, const std::string& to) {
  fs::remove_all(to);
  fs::create_directories(to);
  for (const char* file : {"coordinator.db", "coordinator.db-wal"}) {
    if (fs::exists(from + "/" + file)) fs::copy_file(from + "/" + file, to + "/" + file);
  }
}

TEST(SqliteStore, KeepsEverythingAndItsIdentityOverAReopen) {
  TemporaryFolder folder;
  std::string id, before;
  {
    auto store = Open(folder.path());
    ASSERT_OK(store->Apply(FullBatch("r-a", 1)));
    id = *store->StoreId();
    before = Dump(*store, "r-a");
  }
  auto store = Open(folder.path());
  EXPECT_EQ(*store->StoreId(), id);
  EXPECT_EQ(Dump(*store, "r-a"), before);
}

TEST(SqliteStore, RefusesASecondProcessOnTheSameFolderNamingTheFirst) {
  TemporaryFolder folder;
  auto store = Open(folder.path());
  EXPECT_THAT(SqliteStore::Open(Env::Real(), folder.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(absl::StrCat(getpid()))));
  store.reset();
  EXPECT_OK(SqliteStore::Open(Env::Real(), folder.path()));
}

TEST(SqliteStore, RefusesADatabaseOfAnotherProgramAndLeavesItAlone) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/coordinator.db";
  {
    auto db = *SqliteDb::Open(path);
    ASSERT_OK(db->Execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)"));
  }
  std::ifstream before_stream(path, std::ios::binary);
  const std::string before((std::istreambuf_iterator<char>(before_stream)), {});
  EXPECT_THAT(SqliteStore::Open(Env::Real(), folder.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another program")));
  std::ifstream after_stream(path, std::ios::binary);
  const std::string after((std::istreambuf_iterator<char>(after_stream)), {});
  EXPECT_EQ(before, after);
}

TEST(SqliteStore, RefusesAFileThatIsNoDatabase) {
  TemporaryFolder folder;
  std::ofstream(folder.path() + "/coordinator.db") << std::string(5000, 'x');
  EXPECT_THAT(SqliteStore::Open(Env::Real(), folder.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not a database")));
}

TEST(SqliteStore, RefusesAStoreOfANewerVersion) {
  TemporaryFolder folder;
  {
    Open(folder.path());
  }
  {
    auto db = *SqliteDb::Open(folder.path() + "/coordinator.db");
    ASSERT_OK(db->Execute("PRAGMA user_version = 99"));
  }
  EXPECT_THAT(SqliteStore::Open(Env::Real(), folder.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("schema version 99")));
}

TEST(SqliteStore, MigratesAnOlderStoreAndKeepsItsRows) {
  TemporaryFolder folder;
  {
    auto db = *SqliteDb::Open(folder.path() + "/coordinator.db");
    ASSERT_OK(MigrateStore(db.get(), "store-old", /*target=*/1));
    ASSERT_OK(db->Execute("INSERT INTO events (id, run_id, body) VALUES (7, 'r-a', x'')"));
  }
  auto store = Open(folder.path());
  EXPECT_EQ(*store->StoreId(), "store-old");
  EXPECT_EQ(*store->LastEventId(), 7);
  EXPECT_OK(store->Apply(FullBatch("r-a", 8)));
}

TEST(SqliteStore, IsDurableByConfiguration) {
  TemporaryFolder folder;
  Open(folder.path());
  auto db = *SqliteDb::Open(folder.path() + "/coordinator.db");
  std::string mode;
  ASSERT_OK(SelectOne(db.get(), {"PRAGMA journal_mode", {}},
                      [&](const SqlRow& row) { mode = row.Bytes(0); }));
  EXPECT_EQ(mode, "wal");
}

TEST(SqliteStore, AFileSystemThatCannotKeepTheWriteAheadLogIsRefused) {
  auto db = *SqliteDb::Open(":memory:");  // keeps its own mode, without an error
  EXPECT_THAT(db->UseWal(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                     HasSubstr("the journal mode is memory, expected wal")));
}

TEST(SqliteStore, EachFailingStatementOrCommitLeavesTheOldStateWhole) {
  TemporaryFolder folder;
  int64_t fail_at = -1, seen = 0;
  SqliteStoreOptions options;
  options.hook = [&](absl::string_view point) -> absl::Status {
    if (point == "committed") return absl::OkStatus();
    return seen++ == fail_at ? absl::ResourceExhaustedError("injected") : absl::OkStatus();
  };
  auto store = Open(folder.path(), options);
  ASSERT_OK(store->Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(*store, "r-a");
  const int64_t points = seen;
  ASSERT_GT(points, 15);
  for (int64_t at = 0; at < points; ++at) {
    fail_at = at;
    seen = 0;
    EXPECT_FALSE(store->Apply(FullBatch("r-a", 2)).ok()) << at;
    EXPECT_EQ(Dump(*store, "r-a"), before) << at;
  }
  fail_at = -1;
  EXPECT_OK(store->Apply(FullBatch("r-a", 2)));
  EXPECT_NE(Dump(*store, "r-a"), before);
}

// Every image of a process that dies while it applies `batch` to a store with FullBatch("r-a", 1).
void DieAtEveryPointOf(const WriteBatch& batch) {
  TemporaryFolder folder, images;
  std::vector<std::pair<std::string, std::string>> taken;  // (point, image)
  bool taking = false;
  SqliteStoreOptions options;
  options.hook = [&](absl::string_view point) -> absl::Status {
    if (!taking) return absl::OkStatus();
    taken.emplace_back(std::string(point), absl::StrCat(images.path(), "/", taken.size()));
    CopyImage(folder.path(), taken.back().second);
    return absl::OkStatus();
  };
  auto store = Open(folder.path(), options);
  ASSERT_OK(store->Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(*store, "r-a");
  taking = true;
  ASSERT_OK(store->Apply(batch));
  taking = false;
  const std::string after = Dump(*store, "r-a");
  ASSERT_GT(taken.size(), 14u);
  for (const auto& [point, image] : taken) {
    auto reopened = Open(image);
    EXPECT_EQ(Dump(*reopened, "r-a"), point == "committed" ? after : before) << image;
  }
}

TEST(SqliteStore, DyingAtAnyPointLeavesTheOldOrTheNewStateWhole) {
  DieAtEveryPointOf(FullBatch("r-a", 2));
  WriteBatch deletion;
  deletion.deleted_runs = {"r-a"};
  deletion.events = {SampleEvent(2, "")};
  DieAtEveryPointOf(deletion);
}

TEST(SqliteStore, FullDiskIsAClearErrorAndLosesNothing) {
  TemporaryFolder folder;
  std::string before;
  int64_t id = 1;
  {
    SqliteStoreOptions options;
    options.max_pages = 60;
    auto store = Open(folder.path(), options);
    ASSERT_OK(store->Apply(FullBatch("r-a", id++)));
    absl::Status status;
    while (status.ok() && id < 2000) {
      before = Dump(*store, "r-a");
      WriteBatch batch = FullBatch("r-a", id++);
      batch.log_lines[0].line.set_line(std::string(2000, 'x'));
      status = store->Apply(batch);
    }
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")));
    EXPECT_EQ(Dump(*store, "r-a"), before);
  }
  auto store = Open(folder.path());
  EXPECT_EQ(Dump(*store, "r-a"), before);
  EXPECT_OK(store->Apply(FullBatch("r-a", id)));
}

}  // namespace
}  // namespace tritter
