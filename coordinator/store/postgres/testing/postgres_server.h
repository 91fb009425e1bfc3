// A PostgreSQL server of its own for a test: Debian's programs, a folder below /tmp, a unix socket
// and no port.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/subprocess.h"

namespace tritter {

// Ends with the object, or with the thread that made it.
class PostgresServer {
 public:
  // Makes and starts one; seconds. NotFound: no server is installed on this machine (tests that
  // need one skip then).
  static absl::StatusOr<std::unique_ptr<PostgresServer>> Start();
  ~PostgresServer();

  // A new, empty database; its address.
  absl::StatusOr<std::string> CreateDatabase();
  // Ends it at once, as a crash of the server would; Run starts it again.
  void Crash();
  absl::Status Run();
  // One statement in `address`'s database by psql; what it prints.
  absl::StatusOr<std::string> Ask(const std::string& address, const std::string& sql);

 private:
  PostgresServer(std::string bin, std::string folder)
      : bin_(std::move(bin)), folder_(std::move(folder)) {}

  const std::string bin_, folder_;
  std::unique_ptr<Subprocess> process_;
  int databases_ = 0;
};

}  // namespace tritter
