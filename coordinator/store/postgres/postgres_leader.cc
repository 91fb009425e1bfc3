#include "coordinator/store/postgres/postgres_leader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/store/postgres/postgres_db.h"

namespace tritter {
namespace {

// "TRIT", of the lock that says who leads. (…, 2) is held while the tables are made.
constexpr char kLock[] = "1414678868, 1";
// How long a holder of the lock is left alone after it was first seen: it may have just taken it,
// and the row is still that of the one before.
constexpr absl::Duration kSeenFor = absl::Seconds(1);
// A server that was away took everybody's connection: the one that led goes first.
constexpr absl::Duration kHeadStart = absl::Seconds(3);

}  // namespace

PostgresLeader::PostgresLeader(LeaderOptions options) : options_(std::move(options)) {}

PostgresLeader::~PostgresLeader() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (renewals_.joinable()) renewals_.join();
}

absl::Status PostgresLeader::Connect() {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  connection_ = nullptr;
  PostgresOptions options = options_.connection;
  options.application_name = term_ > 0 ? OwnName() : "tritter standby";
  ASSIGN_OR_RETURN(connection_, PostgresConnection::Open(options));
  return term_ > 0 ? absl::OkStatus() : MakeLeaderTables(connection_.get());
}

absl::StatusOr<bool> PostgresLeader::TryLock() {
  bool locked = false;
  RETURN_IF_ERROR(connection_->Select(
      {absl::StrCat("SELECT pg_try_advisory_lock(", kLock, ")"), {}}, [&](const SqlRow& row) {
        locked = row.Int(0) != 0;
        return absl::OkStatus();
      }));
  return locked;
}

absl::StatusOr<bool> PostgresLeader::TryLead() {
  MutexLock lock(&mu_);
  if (term_ > 0) return Standing().ok();
  if (connection_ != nullptr && connection_->broken()) away_ = true;
  RETURN_IF_ERROR(Connect());
  const absl::Duration now = Clock::Real()->Monotonic();
  if (std::exchange(away_, false)) not_before_ = now + kHeadStart;
  if (now < not_before_) return false;
  ASSIGN_OR_RETURN(const bool locked, TryLock());
  if (!locked) {
    RETURN_IF_ERROR(ReplaceSilent());
    return false;
  }
  if (absl::Status status = Take(); !status.ok()) {
    connection_ = nullptr;  // lets the lock go
    return status;
  }
  renewals_ = std::thread([this] { RenewLoop(); });
  return true;
}

absl::Status PostgresLeader::EndConnections(const std::string& where) {
  // As rows, so that each is ended; nothing is read of them.
  return connection_->Select(
      {absl::StrCat("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
                    "current_database() AND pid <> pg_backend_pid() AND (",
                    where, ")"),
       {}},
      [](const SqlRow&) { return absl::OkStatus(); });
}

// We hold the lock. Whoever led before may be asleep inside a transaction, whose rows are locked.
absl::Status PostgresLeader::Take() {
  RETURN_IF_ERROR(EndConnections("application_name LIKE 'tritter leader %'"));
  RETURN_IF_ERROR(connection_->Execute("BEGIN"));
  int64_t term = 0;
  std::string predecessor;
  RETURN_IF_ERROR(connection_->Select(
      {"SELECT term, holder FROM leader WHERE id = 1", {}}, [&](const SqlRow& row) {
        if (row.Int(0) > 0) predecessor = absl::StrCat(row.Bytes(1), " in term ", row.Int(0));
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(connection_->Select(
      {"UPDATE leader SET term = term + 1, holder = $1, renewed = clock_timestamp() WHERE id = 1 "
       "RETURNING term",
       {options_.holder}},
      [&](const SqlRow& row) {
        term = row.Int(0);
        return absl::OkStatus();
      }));
  const SqlStatement fence = {"UPDATE fence SET term = $1 WHERE id = 1", {term}};
  RETURN_IF_ERROR(connection_->Run(absl::MakeConstSpan(&fence, 1)));
  RETURN_IF_ERROR(connection_->Execute("COMMIT"));
  RETURN_IF_ERROR(
      connection_->Execute(absl::StrCat("SET application_name = 'tritter leader ", term, "'")));
  term_ = term;
  locked_ = true;
  predecessor_ = std::move(predecessor);
  leader_ = absl::StrCat("this one leads in term ", term);
  return absl::OkStatus();
}

// Somebody else holds the lock: looks whether it still renews its row.
absl::Status PostgresLeader::ReplaceSilent() {
  int64_t term = 0, silent_ms = 0, pid = 0;
  std::string holder;
  RETURN_IF_ERROR(connection_->Select(
      {"SELECT term, holder, (extract(epoch FROM clock_timestamp() - renewed) * 1000)::bigint FROM "
       "leader WHERE id = 1",
       {}},
      [&](const SqlRow& row) {
        term = row.Int(0);
        holder = row.Bytes(1);
        silent_ms = row.Int(2);
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(connection_->Select(
      {"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1414678868 AND objid = "
       "1 AND objsubid = 2 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = "
       "current_database())",
       {}},
      [&](const SqlRow& row) {
        pid = row.Int(0);
        return absl::OkStatus();
      }));
  const absl::Duration now = Clock::Real()->Monotonic();
  if (pid != locked_by_) {
    locked_by_ = pid;
    locked_since_ = now;
  }
  leader_ = absl::StrCat(holder, " leads in term ", term);
  last_heard_ = absl::StrFormat("last heard %.1f s ago", static_cast<double>(silent_ms) / 1000);
  if (pid == 0 || absl::Milliseconds(silent_ms) < options_.lease || now - locked_since_ < kSeenFor)
    return absl::OkStatus();
  LogWarning("silent_leader", {{"leader", holder},
                               {"term", term},
                               {"silent_seconds", static_cast<double>(silent_ms) / 1000}});
  return EndConnections(
      absl::StrCat("pid = ", pid, " OR application_name = 'tritter leader ", term, "'"));
}

void PostgresLeader::RenewLoop() {
  MutexLock lock(&mu_);
  std::string last_problem;
  while (!stopping_) {
    changed_.WaitFor(&mu_, options_.renew);
    if (stopping_ || !Standing().ok()) return;
    const absl::Status status = Renew();
    if (!status.ok() && status.message() != last_problem)
      LogWarning("lead_not_renewed", {{"error", std::string(status.message())}});
    last_problem = std::string(status.message());
  }
}

absl::Status PostgresLeader::Renew() {
  if (connection_ == nullptr || connection_->broken()) {
    // The server was away. While nobody else has taken the lead, it is still ours.
    RETURN_IF_ERROR(Connect());
    locked_ = false;
  }
  if (!locked_) {
    ASSIGN_OR_RETURN(locked_, TryLock());
    // To the server, the connection that broke may still be there.
    if (!locked_)
      RETURN_IF_ERROR(EndConnections(absl::StrCat("application_name = '", OwnName(), "'")));
  }
  bool renewed = false;
  RETURN_IF_ERROR(connection_->Select(
      {"UPDATE leader SET renewed = clock_timestamp() WHERE id = 1 AND term = $1 RETURNING term",
       {term_}},
      [&](const SqlRow&) {
        renewed = true;
        return absl::OkStatus();
      }));
  if (renewed) return absl::OkStatus();
  int64_t term = 0;
  std::string holder;
  RETURN_IF_ERROR(connection_->Select({"SELECT term, holder FROM leader WHERE id = 1", {}},
                                      [&](const SqlRow& row) {
                                        term = row.Int(0);
                                        holder = row.Bytes(1);
                                        return absl::OkStatus();
                                      }));
  Lose(NotLeaderError(connection_->name(), term_, term, holder));
  connection_ = nullptr;  // whoever takes the lock next need not wait for us
  return absl::OkStatus();
}

std::string PostgresLeader::OwnName() { return absl::StrCat("tritter leader ", term_); }

absl::Status PostgresLeader::Standing() {
  MutexLock lock(&standing_mu_);
  return standing_;
}

void PostgresLeader::Lose(const absl::Status& why) {
  MutexLock lock(&standing_mu_);
  if (standing_.ok()) standing_ = why;
}

int64_t PostgresLeader::term() {
  MutexLock lock(&mu_);
  return term_;
}

std::string PostgresLeader::Leader() {
  MutexLock lock(&mu_);
  return leader_;
}

std::string PostgresLeader::Predecessor() {
  MutexLock lock(&mu_);
  return predecessor_;
}

std::string PostgresLeader::LastHeard() {
  MutexLock lock(&mu_);
  return last_heard_;
}

PostgresOptions PostgresLeader::WriterConnection() {
  MutexLock lock(&mu_);
  PostgresOptions out = options_.connection;
  out.application_name = OwnName();
  return out;
}

}  // namespace tritter
