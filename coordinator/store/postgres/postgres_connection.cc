#include "coordinator/store/postgres/postgres_connection.h"

#include <endian.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr Oid kInt8 = 20, kBytes = 17;
constexpr const char* kSeconds = "2";  // for a connection to be made, all of it

struct ResultDeleter {
  void operator()(PGresult* r) const { PQclear(r); }
};
using Result = std::unique_ptr<PGresult, ResultDeleter>;
struct InfoDeleter {
  void operator()(PQconninfoOption* o) const { PQconninfoFree(o); }
};
using Info = std::unique_ptr<PQconninfoOption, InfoDeleter>;

std::string Option(const PQconninfoOption* options, absl::string_view keyword) {
  for (const PQconninfoOption* o = options; o != nullptr && o->keyword != nullptr; ++o) {
    if (keyword == o->keyword) return o->val != nullptr ? o->val : "";
  }
  return "";
}

// libpq's sentences end with a line break, and may have several lines.
std::string Line(const char* text) {
  return absl::StrReplaceAll(absl::StripAsciiWhitespace(text), {{"\n", " "}, {"\t", " "}});
}

class PostgresRow : public SqlRow {
 public:
  explicit PostgresRow(const PGresult* result) : result_(result) {}
  int64_t Int(int column) const override {
    const char* data = PQgetvalue(result_, 0, column);
    if (PQgetlength(result_, 0, column) == 8) {
      uint64_t wire;
      std::memcpy(&wire, data, sizeof wire);
      return static_cast<int64_t>(be64toh(wire));
    }
    if (PQgetlength(result_, 0, column) == 4) {
      uint32_t wire;
      std::memcpy(&wire, data, sizeof wire);
      return static_cast<int32_t>(be32toh(wire));
    }
    return PQgetlength(result_, 0, column) == 1 ? data[0] : 0;  // bool, NULL
  }
  std::string Bytes(int column) const override {
    return std::string(PQgetvalue(result_, 0, column), PQgetlength(result_, 0, column));
  }

 private:
  const PGresult* const result_;
};

}  // namespace

bool IsPostgresAddress(const std::string& store) {
  return absl::StartsWith(store, "postgresql://") || absl::StartsWith(store, "postgres://");
}

absl::Status CheckPostgresAddress(const std::string& address) {
  char* error = nullptr;
  const Info info(PQconninfoParse(address.c_str(), &error));
  const std::string why = error != nullptr ? Line(error) : "it is no URI";
  PQfreemem(error);
  if (!IsPostgresAddress(address) || info == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not the address of a PostgreSQL database (", info == nullptr ? why : "it is no URI",
        "); expected postgresql://user@host:5432/database"));
  }
  if (!Option(info.get(), "password").empty()) {
    return absl::InvalidArgumentError(
        "the address has a password in it, which others can read in the list of processes; take it "
        "out and give --store-password-file, or PGPASSFILE");
  }
  return absl::OkStatus();
}

absl::StatusCode PostgresCode(absl::string_view state) {
  if (state.empty() || absl::StartsWith(state, "08") || absl::StartsWith(state, "57P") ||
      absl::StartsWith(state, "40") || state == "55P03" || state == "57014" || state == "25P03") {
    return absl::StatusCode::kUnavailable;
  }
  if (absl::StartsWith(state, "23")) return absl::StatusCode::kAlreadyExists;
  if (absl::StartsWith(state, "53")) return absl::StatusCode::kResourceExhausted;
  if (absl::StartsWith(state, "XX00") && state != "XX000") return absl::StatusCode::kDataLoss;
  if (absl::StartsWith(state, "28") || state == "42501") return absl::StatusCode::kPermissionDenied;
  if (state == "3D000") return absl::StatusCode::kFailedPrecondition;  // no such database
  return absl::StatusCode::kInternal;
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Open(
    const PostgresOptions& o) {
  RETURN_IF_ERROR(CheckPostgresAddress(o.address));
  std::string password;
  if (!o.password_file.empty()) {
    ASSIGN_OR_RETURN(password, Env::Real()->ReadFile(o.password_file));
    password = std::string(absl::StripAsciiWhitespace(password));
  }
  std::vector<const char*> keys = {"dbname",          "application_name",    "connect_timeout",
                                   "keepalives_idle", "keepalives_interval", "keepalives_count",
                                   "tcp_user_timeout"};
  std::vector<const char*> values = {
      o.address.c_str(), o.application_name.c_str(), kSeconds, "2", "1", "3", "5000"};
  if (!password.empty()) {
    keys.push_back("password");
    values.push_back(password.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  PGconn* const connection = PQconnectdbParams(keys.data(), values.data(), /*expand_dbname=*/1);
  if (connection == nullptr) return absl::ResourceExhaustedError("no memory for a connection");
  const Info info(PQconninfo(connection));
  const std::string port = Option(info.get(), "port"), host = Option(info.get(), "host");
  std::unique_ptr<PostgresConnection> out(new PostgresConnection(
      connection,
      absl::StrCat("postgresql://", host.empty() ? "local" : host, port.empty() ? "" : ":", port,
                   "/", Option(info.get(), "dbname")),
      o.answer_deadline));
  if (PQstatus(connection) != CONNECTION_OK) {
    const std::string why = Line(PQerrorMessage(connection));
    // libpq gives no SQLSTATE here; its sentence is the server's.
    const bool refused = absl::StrContains(why, "authentication failed") ||
                         absl::StrContains(why, "no password supplied") ||
                         absl::StrContains(why, "no pg_hba.conf entry") ||
                         absl::StrContains(why, "is not permitted to log in") ||
                         absl::StrContains(why, "permission denied for database");
    const bool no_role = absl::StrContains(why, "role \"");
    const bool missing = absl::StrContains(why, "does not exist");
    const bool no_tls = absl::StrContains(why, "does not support SSL, but SSL was required");
    const std::string message = absl::StrCat("store ", out->name_, ": ", why);
    if (refused) {
      return absl::PermissionDeniedError(
          absl::StrCat(message, "; give the password by --store-password-file or PGPASSFILE"));
    }
    if (missing) {
      return absl::FailedPreconditionError(absl::StrCat(message, "; create it (",
                                                        no_role ? "createuser" : "createdb",
                                                        "), or name another one in --store"));
    }
    if (no_tls) {
      return absl::FailedPreconditionError(
          absl::StrCat(message,
                       "; set ssl = on in its postgresql.conf, or take sslmode out of "
                       "--store where nobody else can listen"));
    }
    return absl::UnavailableError(message);
  }
  RETURN_IF_ERROR(out->SetUp());
  return out;
}

PostgresConnection::~PostgresConnection() { PQfinish(connection_); }

absl::Status PostgresConnection::SetUp() {
  PQsetnonblocking(connection_, 1);
  PQsetNoticeProcessor(connection_, [](void*, const char*) {}, nullptr);
  // A process that was stopped in a transaction must not hold its locks for ever.
  RETURN_IF_ERROR(Execute(absl::StrCat(
      "SET search_path TO ", kPostgresSchema, "; SET lock_timeout = '5s'; ",
      "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '30s'; ",
      "SELECT set_config('synchronous_commit', 'on', false) WHERE "
      "current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')")));
  std::string fsync;
  RETURN_IF_ERROR(Select({"SELECT current_setting('fsync')", {}}, [&](const SqlRow& row) {
    fsync = row.Bytes(0);
    return absl::OkStatus();
  }));
  if (fsync == "on") return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "store ", name_, ": the server runs with fsync = ", fsync,
      ": a failure of its power would lose what it confirmed; set fsync = on in postgresql.conf"));
}

absl::Status PostgresConnection::Broken(absl::string_view why) {
  broken_ = true;
  return absl::UnavailableError(absl::StrCat("store ", name_, ": ", why));
}

absl::Status PostgresConnection::Await(absl::Time deadline) {
  while (true) {
    const int unsent = PQflush(connection_);
    if (unsent < 0) return Broken(Line(PQerrorMessage(connection_)));
    if (unsent == 0 && PQisBusy(connection_) == 0) return absl::OkStatus();
    pollfd at = {PQsocket(connection_), static_cast<short>(POLLIN | (unsent != 0 ? POLLOUT : 0)),
                 0};
    const int64_t left = absl::ToInt64Milliseconds(deadline - Clock::Real()->Now());
    const int ready = left <= 0 ? 0 : poll(&at, 1, static_cast<int>(std::min<int64_t>(left, 1000)));
    if (ready == 0 && left <= 0) {
      return Broken(absl::StrCat("no answer for ", absl::FormatDuration(answer_deadline_),
                                 "; the connection is given up"));
    }
    if (ready > 0 && PQconsumeInput(connection_) == 0)
      return Broken(Line(PQerrorMessage(connection_)));
  }
}

absl::StatusOr<PGresult*> PostgresConnection::Next(absl::Time deadline) {
  RETURN_IF_ERROR(Await(deadline));
  return PQgetResult(connection_);
}

absl::Status PostgresConnection::StatusOf(const PGresult* result) const {
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_SINGLE_TUPLE ||
      status == PGRES_PIPELINE_SYNC || status == PGRES_EMPTY_QUERY) {
    return absl::OkStatus();
  }
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const absl::StatusCode code = PostgresCode(state != nullptr ? state : "");
  std::string message = absl::StrCat("store ", name_, ": ",
                                     Line(text != nullptr ? text : PQresultErrorMessage(result)));
  if (state != nullptr) absl::StrAppend(&message, " (SQLSTATE ", state, ")");
  if (code == absl::StatusCode::kResourceExhausted)
    absl::StrAppend(&message, "; nothing was changed, free some space and retry");
  if (code == absl::StatusCode::kDataLoss) absl::StrAppend(&message, "; restore a backup");
  return absl::Status(code, message);
}

absl::Status PostgresConnection::Finish(std::string* tag) {
  const absl::Time deadline = Clock::Real()->Now() + answer_deadline_;
  absl::Status status;
  while (true) {
    absl::StatusOr<PGresult*> next = Next(deadline);
    if (!next.ok()) return next.status();
    const Result result(*next);
    if (result == nullptr) break;
    if (status.ok()) status = StatusOf(result.get());
    if (tag != nullptr) *tag = PQcmdStatus(result.get());
  }
  if (PQstatus(connection_) != CONNECTION_OK) broken_ = true;
  return status;
}

absl::Status PostgresConnection::Execute(const std::string& script, std::string* tag) {
  if (PQsendQuery(connection_, script.c_str()) == 0)
    return Broken(Line(PQerrorMessage(connection_)));
  if (after_commit_sent && script == "COMMIT") {
    PQflush(connection_);
    after_commit_sent(PQsocket(connection_));
  }
  return Finish(tag);
}

absl::StatusOr<std::string> PostgresConnection::Prepare(const SqlStatement& s) {
  if (const auto it = prepared_.find(s.sql); it != prepared_.end()) return it->second;
  std::vector<Oid> types;
  for (const SqlValue& v : s.values)
    types.push_back(v.kind == SqlValue::Kind::kInt ? kInt8 : kBytes);
  const std::string name = absl::StrCat("s", prepared_.size());
  if (PQsendPrepare(connection_, name.c_str(), s.sql.c_str(), static_cast<int>(types.size()),
                    types.data()) == 0) {
    return Broken(Line(PQerrorMessage(connection_)));
  }
  RETURN_IF_ERROR(Finish(nullptr));
  prepared_[s.sql] = name;
  return name;
}

absl::Status PostgresConnection::Send(const std::string& prepared, const SqlStatement& s) {
  const size_t n = s.values.size();
  std::vector<uint64_t> wire(n);
  std::vector<const char*> values(n);
  std::vector<int> lengths(n), formats(n, 1);
  for (size_t i = 0; i < n; ++i) {
    const SqlValue& v = s.values[i];
    const bool number = v.kind == SqlValue::Kind::kInt;
    wire[i] = htobe64(static_cast<uint64_t>(v.number));
    values[i] = number ? reinterpret_cast<const char*>(&wire[i]) : v.bytes.data();
    lengths[i] = number ? 8 : static_cast<int>(v.bytes.size());
  }
  if (PQsendQueryPrepared(connection_, prepared.c_str(), static_cast<int>(n), values.data(),
                          lengths.data(), formats.data(), /*resultFormat=*/1) == 0) {
    return Broken(Line(PQerrorMessage(connection_)));
  }
  return absl::OkStatus();
}

absl::Status PostgresConnection::Run(absl::Span<const SqlStatement> statements) {
  std::vector<std::string> prepared;
  for (const SqlStatement& s : statements) {
    ASSIGN_OR_RETURN(prepared.emplace_back(), Prepare(s));
  }
  if (PQenterPipelineMode(connection_) == 0) return Broken(Line(PQerrorMessage(connection_)));
  for (size_t i = 0; i < statements.size(); ++i) RETURN_IF_ERROR(Send(prepared[i], statements[i]));
  if (PQpipelineSync(connection_) == 0) return Broken(Line(PQerrorMessage(connection_)));
  absl::Status status;
  bool synced = false;
  while (!synced) {
    // Every statement's answers end with a null; the last answer is that of the sync.
    absl::StatusOr<PGresult*> next = Next(Clock::Real()->Now() + answer_deadline_);
    if (!next.ok()) return next.status();
    const Result result(*next);
    if (result == nullptr) {
      if (PQstatus(connection_) != CONNECTION_OK) return Broken("the connection was closed");
      continue;
    }
    synced = PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC;
    if (status.ok()) status = StatusOf(result.get());
  }
  PQexitPipelineMode(connection_);
  if (PQstatus(connection_) != CONNECTION_OK) broken_ = true;
  return status;
}

absl::Status PostgresConnection::Select(const SqlStatement& query,
                                        const std::function<absl::Status(const SqlRow&)>& each) {
  ASSIGN_OR_RETURN(const std::string prepared, Prepare(query));
  RETURN_IF_ERROR(Send(prepared, query));
  PQsetSingleRowMode(connection_);
  absl::Status status;
  while (true) {
    absl::StatusOr<PGresult*> next = Next(Clock::Real()->Now() + answer_deadline_);
    if (!next.ok()) return next.status();
    const Result result(*next);
    if (result == nullptr) break;
    if (status.ok()) status = StatusOf(result.get());
    if (status.ok() && PQntuples(result.get()) > 0) status = each(PostgresRow(result.get()));
  }
  if (PQstatus(connection_) != CONNECTION_OK) broken_ = true;
  return status;
}

}  // namespace tritter
