// One connection to a PostgreSQL server: prepared statements, pipelines, status codes, and a
// deadline for every answer: a server that was stopped must not stop us.
#pragma once

#include <postgresql/libpq-fe.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "coordinator/store/sql_database.h"

namespace tritter {

struct PostgresOptions {
  std::string address;        // postgresql://[user@]host[:port]/database[?option=…]; no password
  std::string password_file;  // read at every connection; empty: libpq's own (PGPASSFILE)
  std::string application_name;
  absl::Duration answer_deadline = absl::Seconds(10);
};

// InvalidArgument: not such an address, or one with a password in it (which is not repeated).
absl::Status CheckPostgresAddress(const std::string& address);
// Whether a --store names a PostgreSQL server.
bool IsPostgresAddress(const std::string& store);

// All that we create lies in this schema of the database.
inline constexpr char kPostgresSchema[] = "tritter";

// Not thread-safe. Every error leaves it usable unless broken() says so.
class PostgresConnection {
 public:
  // Errors: Unavailable (no server there, or it is starting or ending), PermissionDenied,
  // InvalidArgument (the address, the password's file), FailedPrecondition (the server may lose
  // what it has confirmed: fsync is off).
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const PostgresOptions& options);
  ~PostgresConnection();

  const std::string& name() const { return name_; }  // postgresql://host:port/database
  // The connection is gone: what was under way was or was not done.
  bool broken() const { return broken_; }

  // One or more statements without parameters. `tag`: what the last one did, as "COMMIT".
  absl::Status Execute(const std::string& script, std::string* tag = nullptr);
  // All of them on their way before the first answer is read. The first error ends the work.
  absl::Status Run(absl::Span<const SqlStatement> statements);
  absl::Status Select(const SqlStatement& query,
                      const std::function<absl::Status(const SqlRow&)>& each);

  // For tests: called with the socket once COMMIT is on its way.
  std::function<void(int socket)> after_commit_sent;

 private:
  PostgresConnection(PGconn* connection, std::string name, absl::Duration answer_deadline)
      : connection_(connection), name_(std::move(name)), answer_deadline_(answer_deadline) {}

  absl::Status SetUp();
  absl::Status Broken(absl::string_view why);
  absl::Status Await(absl::Time deadline);  // until an answer can be read
  // The next answer; null when the statement has no more.
  absl::StatusOr<PGresult*> Next(absl::Time deadline);
  // Reads the answers of a single statement to their end.
  absl::Status Finish(std::string* tag);
  absl::Status StatusOf(const PGresult* result) const;
  absl::StatusOr<std::string> Prepare(const SqlStatement& statement);  // its name
  absl::Status Send(const std::string& prepared, const SqlStatement& statement);

  PGconn* const connection_;
  const std::string name_;
  const absl::Duration answer_deadline_;
  bool broken_ = false;
  std::map<std::string, std::string> prepared_;  // by SQL
};

// ResourceExhausted for a full disk or too many connections, DataLoss for damaged data,
// AlreadyExists for a broken uniqueness rule, Unavailable for a server that ends, starts or ended
// our connection, PermissionDenied, Internal for the rest.
absl::StatusCode PostgresCode(absl::string_view sqlstate);

}  // namespace tritter
