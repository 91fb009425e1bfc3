// Rows that somebody damaged, of every version of the schema: the coordinator opens the store, or
// says what is wrong and where. What is damaged of one run is a matter of that run.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "coordinator/store/sql_schema.h"
#include "coordinator/store/sqlite_db.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/store/store_samples.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

int Trials() {  // of each version; more: TRIALS
  const char* asked = std::getenv("TRIALS");
  return asked == nullptr ? 80 : std::atoi(asked);
}

template <typename T>
T Value(absl::StatusOr<T> rows) {
  return *std::move(rows);
}

struct Column {
  std::string name, type;
  bool key = false;
};

std::vector<std::string> Tables(SqliteDb* db) {
  std::vector<std::string> out;
  EXPECT_OK(db->Select({"SELECT name FROM sqlite_master WHERE type = 'table' AND "
                        "name NOT LIKE 'sqlite_%' ORDER BY name",
                        {}},
                       [&](const SqlRow& row) {
                         out.push_back(row.Bytes(0));
                         return absl::OkStatus();
                       }));
  return out;
}

std::vector<Column> Columns(SqliteDb* db, const std::string& table) {
  std::vector<Column> out;
  EXPECT_OK(
      db->Select({absl::StrCat("SELECT name, type, pk FROM pragma_table_info('", table, "')"), {}},
                 [&](const SqlRow& row) {
                   out.push_back({row.Bytes(0), row.Bytes(1), row.Int(2) > 0});
                   return absl::OkStatus();
                 }));
  return out;
}

SqlValue ValueOf(const SqlRow& row, int column, const std::string& type) {
  if (type == "INTEGER") return row.Int(column);
  return type == "BLOB" ? SqlValue::Blob(row.Bytes(column)) : SqlValue(row.Bytes(column));
}

SqlValue Spoilt(SqlValue value, Philox* random) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const auto number = [&] {
    const int64_t numbers[] = {
        -1, 0, 7, 1000000, kMost, -kMost, static_cast<int64_t>(random->Next64())};
    return SqlValue(numbers[random->Below(std::size(numbers))]);
  };
  const auto bytes = [&] {
    std::string out(random->Below(40), '\0');
    for (char& c : out) c = static_cast<char>(random->Below(256));
    return out;
  };
  switch (random->Below(6)) {
    case 0:
      return number();
    case 1:
      return SqlValue(bytes());
    case 2:
      return SqlValue::Blob(bytes());
    default:
      break;
  }
  if (value.kind == SqlValue::Kind::kInt || value.bytes.empty()) return number();
  if (random->Below(2) == 0) {
    value.bytes.resize(random->Below(value.bytes.size()));
  } else {
    value.bytes[random->Below(value.bytes.size())] ^= static_cast<char>(1 << random->Below(8));
  }
  return value;
}

struct Damage {
  bool done = false;
  std::string run_id;  // whose row it is; "" for one of nobody
  std::string words;
};

// One value of one row.
Damage SpoilOne(const std::string& path, Philox* random) {
  auto db = *SqliteDb::Open(path);
  const std::vector<std::string> tables = Tables(db.get());
  const std::string& table = tables[random->Below(tables.size())];
  const std::vector<Column> columns = Columns(db.get(), table);
  const size_t spoilt = random->Below(columns.size());
  std::vector<std::string> names;
  for (const Column& c : columns) names.push_back(c.name);
  int64_t rows = 0;
  EXPECT_OK(SelectOne(db.get(), {absl::StrCat("SELECT count(*) FROM ", table), {}},
                      [&](const SqlRow& row) { rows = row.Int(0); }));
  if (rows == 0) return {};
  Damage out;
  SqlStatement update;
  EXPECT_OK(SelectOne(
      db.get(),
      {absl::StrCat("SELECT ", absl::StrJoin(names, ", "), " FROM ", table, " LIMIT 1 OFFSET ",
                    random->Below(static_cast<uint64_t>(rows))),
       {}},
      [&](const SqlRow& row) {
        update.sql = absl::StrCat("UPDATE ", table, " SET ", names[spoilt], " = $1 WHERE true");
        const int at = static_cast<int>(spoilt);
        update.values = {Spoilt(ValueOf(row, at, columns[spoilt].type), random)};
        for (size_t i = 0; i < columns.size(); ++i) {
          if (names[i] == "run_id") out.run_id = row.Bytes(static_cast<int>(i));
          if (!columns[i].key) continue;
          update.values.push_back(ValueOf(row, static_cast<int>(i), columns[i].type));
          absl::StrAppend(&update.sql, " AND ", names[i], " = $", update.values.size());
        }
      }));
  out.words = absl::StrCat(table, ".", names[spoilt]);
  // Numbers that all runs count on together.
  if (columns[spoilt].key && (names[spoilt] == "id" || names[spoilt] == "sequence"))
    out.run_id.clear();
  if (!db->Begin().ok()) return {};
  out.done = db->Run({&update, 1}).ok() && db->Commit().ok();
  if (!out.done) db->Rollback();  // NULL where there must be a value, a key that is there
  return out;
}

class DamagedRows : public CoordinatorFixture {
 protected:
  // A run in the middle of an epoch, with rows of every kind, and one that waits.
  void Fill() {
    Start();
    victim_ = Submit(
        RunYaml("victim", 100, 2, "checkpoint: {every: 20, keep: 3}\nevaluation: {every: 5}\n"),
        "key-victim");
    AddWorker("w-0");
    FakeAgent* w1 = AddWorker("w-1");
    RoundsUntil([&] { return Get(victim_).step() >= 10; });
    Kill(w1);
    RoundsUntil([&] { return Get(victim_).epochs_lost() == 1; });
    AddWorker("w-1", 2);
    RoundsUntil([&] { return Get(victim_).step() >= 45; });
    good_ = Submit(RunYaml("good", 100, 1));
    Stop();
    live_.clear();
  }

  // What the store has of a run.
  WriteBatch RowsOf(const std::string& id) {
    WriteBatch out;
    for (const RunRecord& r : Value(memory_store_.Runs())) {
      if (r.run_id == id) out.runs.push_back(r);
    }
    out.epochs = Value(memory_store_.Epochs(id, 100));
    for (const EpochRecord& e : out.epochs) {
      for (const v1::Plan& p : Value(memory_store_.Plans(id, e.epoch)))
        out.plans.push_back({id, e.epoch, p});
    }
    for (const v1::Checkpoint& c : Value(memory_store_.Checkpoints(id)))
      out.checkpoints.push_back({id, c});
    for (const v1::StepMetrics& m : Value(memory_store_.Metrics(id, 0, 0, 1000)))
      out.metrics.push_back({id, m});
    for (const auto& e : Value(memory_store_.Evaluations(id, 0, 0, 1000)))
      out.evaluations.push_back({id, 2, e});
    out.events = Value(memory_store_.Events(id, 0, 1000));
    out.log_lines = Value(memory_store_.LogLines(id, 0, 0));
    if (out.epochs.empty()) return out;
    const uint64_t epoch = out.epochs.back().epoch;
    v1::CommitShareRequest share;
    share.set_run_id(id);
    share.set_epoch(epoch);
    share.set_step(60);
    share.set_rank(1);
    out.shares = {{id, epoch, 60, 1, share}};
    out.requests = {{id, epoch, "request"}};
    out.keys = {{"key-victim", out.runs[0].spec_hash, id, 1}};
    v1::Artifact artifact;
    artifact.set_kind("tpack");
    artifact.set_path("/a.tpack");
    out.artifacts = {{id, artifact}};
    return out;
  }

  // Everything that is answered is a whole message, which clients can read.
  template <typename Message>
  void ExpectWhole(const Message& message, const std::string& what) {
    Message again;
    EXPECT_TRUE(again.ParseFromString(message.SerializeAsString())) << what;
  }

  void UseAll(const std::string& id, const std::string& what) {
    ExpectWhole(coordinator_->List(0), what);
    ExpectWhole(coordinator_->ListWorkers(), what);
    v1::ListEventsRequest events;
    const auto told = coordinator_->ListEvents(events);
    ASSERT_OK(told) << what;
    ExpectWhole(*told, what);
    const auto said = [&](const absl::Status& status) {
      EXPECT_TRUE(status.ok() || status.message().size() > 10) << what << ": " << status;
    };
    v1::ListMetricsRequest curves;
    curves.set_run(id);
    said(coordinator_->ListMetrics(curves).status());
    const auto epochs = coordinator_->ListEpochs(id, 10);
    if (epochs.ok()) ExpectWhole(*epochs, what);
    said(epochs.status());
    said(coordinator_->ListCheckpoints(id).status());
    int64_t sequence = 0;
    bool ended = false;
    said(coordinator_->Logs(id, 0, &sequence, &ended).status());
    v1::SubmitRunRequest again;
    again.set_yaml(RunYaml("victim", 100, 2));
    again.set_idempotency_key("key-victim");
    again.set_base_dir("/");
    said(coordinator_->Submit(again).status());
    coordinator_->Stats();
  }

  int64_t GoodStep() {
    const absl::StatusOr<v1::Run> good = coordinator_->Get(good_);  // its own row may be damaged
    return good.ok() ? good->step() : 0;
  }

  // Opens what is in the folder and works with it.
  void Try(const std::string& folder, const Damage& damage, const std::string& what) {
    auto store = SqliteStore::Open(Env::Real(), folder);
    if (!store.ok()) {
      ++refused_;
      EXPECT_THAT(std::string(store.status().message()), HasSubstr(folder)) << what;
      return;
    }
    CoordinatorDependencies d;
    d.store = store->get();
    d.env = &env_;
    d.clock = &clock_;
    d.catalog = &catalog_;
    d.exporter = [](auto&...) { return absl::UnavailableError("not here"); };
    absl::StatusOr<std::unique_ptr<Coordinator>> opened = Coordinator::Start(d, options_);
    if (!opened.ok()) {
      ++refused_;
      EXPECT_EQ(damage.run_id, "") << what << ": " << opened.status();
      EXPECT_THAT(std::string(opened.status().message()), HasSubstr("restore a backup")) << what;
      return;
    }
    coordinator_ = *std::move(opened);
    for (int i = 0; i < 3; ++i) AddWorker(absl::StrCat("n-", i), ++incarnation_);
    const bool others = damage.run_id != good_ && !damage.run_id.empty();
    for (int i = 0; i < 40 && (i < 3 || GoodStep() == 0); ++i) Rounds(1);
    if (others) {
      EXPECT_GT(GoodStep(), 0) << what;
    }
    const auto victim = coordinator_->Get(victim_);
    if (victim.ok() && victim->waiting_cause() == "record_unreadable") {
      ++unreadable_;
      EXPECT_THAT(victim->reason(), AllOf(HasSubstr(victim_), HasSubstr("restore a backup")))
          << what;
    }
    if (victim.ok() && victim->epochs_lost() > 1) ++ended_;
    UseAll(victim_, what);
    if (victim.ok()) coordinator_->Cancel(victim_, /*now=*/true).status().IgnoreError();
    Rounds(1);
    Stop();
    live_.clear();
    agents_.clear();
    apis_.clear();
    EXPECT_OK(Coordinator::Start(d, options_)) << what << ", once more";
  }

  std::string victim_, good_;
  uint64_t incarnation_ = 1000;
  int refused_ = 0, unreadable_ = 0, ended_ = 0;
};

void Copy(const std::string& from, const std::string& to) {
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
}

TEST_F(DamagedRows, OfARunLeaveTheOthersAlone) {
  Fill();
  TemporaryFolder base;
  {
    auto store = *SqliteStore::Open(Env::Real(), base.path());
    ASSERT_OK(store->Apply(RowsOf(victim_)));
    ASSERT_OK(store->Apply(RowsOf(good_)));
  }
  Philox random(1);
  int done = 0;
  for (int trial = 0; trial < 3 * Trials() && !HasFailure(); ++trial) {
    TemporaryFolder folder;
    Copy(base.path() + "/coordinator.db", folder.path() + "/coordinator.db");
    const Damage damage = SpoilOne(folder.path() + "/coordinator.db", &random);
    if (!damage.done) continue;
    ++done;
    Try(folder.path(), damage, absl::StrCat("trial ", trial, ", ", damage.words));
  }
  // It was no exercise.
  EXPECT_GT(done, 2 * Trials());
  EXPECT_GT(unreadable_, Trials() / 20);
  EXPECT_GT(ended_, Trials() / 40);
  EXPECT_LT(refused_, done / 10);
}

TEST_F(DamagedRows, OfOlderVersionsToo) {
  Fill();
  Philox random(2);
  for (int64_t version = 1; version < LatestSchemaVersion(); ++version) {
    TemporaryFolder base;
    {
      std::ifstream file(absl::StrCat("coordinator/store/testdata/store_v", version, ".sql"));
      std::stringstream sql;
      sql << file.rdbuf();
      auto db = *SqliteDb::Open(base.path() + "/coordinator.db");
      ASSERT_OK(db->Execute(sql.str()));
    }
    for (int trial = 0; trial < Trials() && !HasFailure(); ++trial) {
      TemporaryFolder folder;
      Copy(base.path() + "/coordinator.db", folder.path() + "/coordinator.db");
      const Damage damage = SpoilOne(folder.path() + "/coordinator.db", &random);
      if (!damage.done) continue;
      victim_ = "r-a";
      {
        auto store = SqliteStore::Open(Env::Real(), folder.path());
        if (!store.ok() || !(*store)->Apply(RowsOf(good_)).ok()) continue;
      }
      Try(folder.path(), damage,
          absl::StrCat("version ", version, ", trial ", trial, ", ", damage.words));
    }
  }
}

// The damage that was found to keep a coordinator from starting, each by itself.
TEST_F(DamagedRows, SayWhichRowItIsAndWhatToDo) {
  Fill();
  TemporaryFolder base;
  {
    auto store = *SqliteStore::Open(Env::Real(), base.path());
    ASSERT_OK(store->Apply(RowsOf(victim_)));
    ASSERT_OK(store->Apply(RowsOf(good_)));
  }
  struct Case {
    std::string sql, cause, words, event;
  };
  for (const Case& c : {
           Case{"UPDATE checkpoints SET body = X'FF'", "record_unreadable",
                absl::StrCat("a row of checkpoints of run ", victim_, " cannot be read"), ""},
           Case{"UPDATE runs SET step = -5 WHERE name = 'victim'", "record_unreadable",
                "its step is -5", ""},
           Case{"UPDATE runs SET state = 77 WHERE name = 'victim'", "record_unreadable",
                "its state is 77", ""},
           Case{"UPDATE plans SET body = X'FF'", "", "", "a row of plans of run"},
           Case{"UPDATE shares SET body = X'FF'", "", "", "a row of shares of run"},
           Case{"DELETE FROM members", "", "", "there is none"},
       }) {
    TemporaryFolder folder;
    Copy(base.path() + "/coordinator.db", folder.path() + "/coordinator.db");
    ASSERT_OK((*SqliteDb::Open(folder.path() + "/coordinator.db"))->Execute(c.sql));
    auto store = *SqliteStore::Open(Env::Real(), folder.path());
    CoordinatorDependencies d;
    d.store = store.get();
    d.env = &env_;
    d.clock = &clock_;
    d.catalog = &catalog_;
    SCOPED_TRACE(c.sql);
    ASSERT_OK_AND_ASSIGN(coordinator_, Coordinator::Start(d, options_));
    Rounds(2);
    const v1::Run run = Get(victim_);
    if (!c.cause.empty()) {
      EXPECT_EQ(run.waiting_cause(), c.cause) << c.sql;
      EXPECT_THAT(run.reason(),
                  AllOf(HasSubstr(c.words), HasSubstr("restore a backup of the store, "
                                                      "or cancel the run")));
      EXPECT_EQ(coordinator_->Resume(victim_).status().ok(), run.state() != v1::RUN_STATE_FAILED);
    } else {
      // It goes on from its newest checkpoint.
      EXPECT_EQ(run.waiting_cause(), "no_workers") << c.sql << run.reason();
      EXPECT_EQ(run.committed_step(), 40);
      ASSERT_OK_AND_ASSIGN(const auto epochs, coordinator_->ListEpochs(victim_, 10));
      EXPECT_THAT(epochs.epochs(epochs.epochs_size() - 1).end_reason(), HasSubstr(c.event));
    }
    ASSERT_OK(coordinator_->Cancel(victim_, /*now=*/true));
    EXPECT_EQ(Get(victim_).state(), v1::RUN_STATE_CANCELLED);
    Stop();
  }
}

TEST_F(DamagedRows, OfAnEventAreToldAsSuch) {
  Fill();
  TemporaryFolder base;
  {
    auto store = *SqliteStore::Open(Env::Real(), base.path());
    ASSERT_OK(store->Apply(RowsOf(victim_)));
    auto* sqlite = store.get();
    ASSERT_OK(sqlite->Events("", 0, 10));
  }
  ASSERT_OK((*SqliteDb::Open(base.path() + "/coordinator.db"))
                ->Execute("UPDATE events SET body = X'FF' WHERE id = 3"));
  auto store = *SqliteStore::Open(Env::Real(), base.path());
  ASSERT_OK_AND_ASSIGN(const auto events, store->Events("", 0, 10));
  ASSERT_GT(events.size(), 3u);
  EXPECT_EQ(events[2].id(), 3);
  EXPECT_EQ(events[2].kind(), kEventUnreadable);
  EXPECT_THAT(events[2].message(), HasSubstr("event 3 cannot be read"));
  EXPECT_EQ(events[3].id(), 4);
}

}  // namespace
}  // namespace tritter
