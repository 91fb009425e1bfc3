// Which store --store and --data-dir name, and the right to write to it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env.h"
#include "coordinator/store/postgres/postgres_leader.h"
#include "coordinator/store/store.h"

namespace tritter {

struct StoreChoice {
  std::string store;          // empty: SQLite in data_dir; else postgresql://…
  std::string password_file;  // of the PostgreSQL user; empty: libpq's own way (PGPASSFILE)
  std::string data_dir;       // of the runs; shared by all coordinators of one store
  std::string holder;         // who we are, for people: "host:7070 (pid 12)"

  bool shared() const { return !store.empty(); }
};

// InvalidArgument: a --store that is no address of PostgreSQL, or has a password in it.
absl::Status CheckStoreChoice(const StoreChoice& choice);

// A store that this process may write to until it is destroyed or Standing says otherwise.
class OpenedStore {
 public:
  OpenedStore(std::unique_ptr<PostgresLeader> leader, std::unique_ptr<Store> store)
      : leader_(std::move(leader)), store_(std::move(store)) {}

  Store* get() { return store_.get(); }
  // OK, or why nothing may be written any more: another coordinator leads.
  absl::Status Standing() { return leader_ == nullptr ? absl::OkStatus() : leader_->Standing(); }
  // 0: there is one coordinator for ever, and no terms.
  int64_t term() { return leader_ == nullptr ? 0 : leader_->term(); }
  // Who led before; "" for the first.
  std::string predecessor() { return leader_ == nullptr ? "" : leader_->Predecessor(); }

 private:
  std::unique_ptr<PostgresLeader> leader_;  // null: SQLite, whose folder is locked
  std::unique_ptr<Store> store_;
};

// Opens the store once this process leads. With SQLite at once, or with an error. With PostgreSQL
// it tries again for as long as `wait` (some time, or less when the process is to end) returns
// false: meanwhile `on_standby` hears what people should see: who leads, or that the server is
// away. Null when `wait` returned true. Errors: as SqliteStore::Open and OpenPostgresStore, and
// FailedPrecondition when data_dir belongs to another store.
absl::StatusOr<std::unique_ptr<OpenedStore>> AwaitStore(
    Env* env, const StoreChoice& choice, const std::function<bool(absl::Duration)>& wait,
    const std::function<void(const std::string&)>& on_standby);

// The folder of runs says, in data_dir/store-id, which store they belong to: another store's runs
// are not there. Written when it is missing. FailedPrecondition: it names another.
absl::Status MarkDataDir(Env* env, const std::string& data_dir, const std::string& store_id);

}  // namespace tritter
