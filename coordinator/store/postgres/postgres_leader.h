// Which of several coordinators on one PostgreSQL database leads. The leader holds an advisory lock
// (let go by the server the moment its connection ends: a killed leader is replaced within a
// second) and renews a row by the server's clock (a stopped or silent one is replaced once the row
// is older than the lease: its connections are ended). Neither protects a write: every lead has a
// new term, and every write is fenced by it (postgres_db.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "coordinator/store/postgres/postgres_connection.h"

namespace tritter {

struct LeaderOptions {
  PostgresOptions connection;  // application_name is ours
  std::string holder;          // who we are, for people: "host:port (pid 12)"
  absl::Duration renew = absl::Seconds(1);
  absl::Duration lease = absl::Seconds(5);
};

// Thread-safe. One thread of its own while it leads. Once lost, it stays lost: make another.
class PostgresLeader {
 public:
  explicit PostgresLeader(LeaderOptions options);
  // Ends the connection, and with it the lead.
  ~PostgresLeader();

  // One attempt, to be repeated every half a second; true: we lead. Blocks as long as the server
  // may take to answer. Errors: as PostgresConnection::Open; a server that is away is Unavailable:
  // try again.
  absl::StatusOr<bool> TryLead();
  // OK while we lead, or nobody knows better; then who does (NOT_LEADER), or why we must begin
  // again.
  absl::Status Standing();
  // From PostgresDb: the lead is lost.
  void Lose(const absl::Status& why);
  int64_t term();
  // For people: "host:7070 (pid 12) leads in term 3".
  std::string Leader();
  // Who led before us: "host:7070 (pid 12) in term 2"; "" while we do not lead, and for the first.
  std::string Predecessor();
  // How long ago that one was heard, when it was last looked at; "" where nobody leads.
  std::string LastHeard();
  // The connection's options for what is written in this term.
  PostgresOptions WriterConnection();

 private:
  absl::Status Connect() REQUIRES(mu_);
  absl::StatusOr<bool> TryLock() REQUIRES(mu_);
  absl::Status Take() REQUIRES(mu_);
  absl::Status ReplaceSilent() REQUIRES(mu_);
  absl::Status EndConnections(const std::string& where) REQUIRES(mu_);
  void RenewLoop();
  absl::Status Renew() REQUIRES(mu_);
  std::string OwnName() REQUIRES(mu_);  // of our connections, while we lead

  const LeaderOptions options_;
  Mutex mu_;
  CondVar changed_;
  std::unique_ptr<PostgresConnection> connection_ GUARDED_BY(mu_);
  bool locked_ GUARDED_BY(mu_) = false;
  int64_t term_ GUARDED_BY(mu_) = 0;  // 0: we do not lead yet
  std::string leader_ GUARDED_BY(mu_) = "nobody leads yet";
  std::string last_heard_ GUARDED_BY(mu_);
  std::string predecessor_ GUARDED_BY(mu_);
  bool away_ GUARDED_BY(mu_) = false;            // the server was, since we last tried
  absl::Duration not_before_ GUARDED_BY(mu_);    // Clock::Monotonic: then we try for the lock
  int64_t locked_by_ GUARDED_BY(mu_) = 0;        // the server's process with the lock, as seen
  absl::Duration locked_since_ GUARDED_BY(mu_);  // Clock::Monotonic
  bool stopping_ GUARDED_BY(mu_) = false;
  Mutex standing_mu_;  // taken after mu_: answers never wait for the server
  absl::Status standing_ GUARDED_BY(standing_mu_);
  std::thread renewals_;
};

}  // namespace tritter
