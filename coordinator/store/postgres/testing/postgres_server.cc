#include "coordinator/store/postgres/testing/postgres_server.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

namespace fs = std::filesystem;
constexpr char kNobody[] = "65534";

// PostgreSQL refuses to run as root.
std::vector<std::string> AsUser(std::vector<std::string> command) {
  if (geteuid() != 0) return command;
  std::vector<std::string> out = {"setpriv", absl::StrCat("--reuid=", kNobody),
                                  absl::StrCat("--regid=", kNobody), "--clear-groups",
                                  "--pdeathsig=QUIT"};
  out.insert(out.end(), command.begin(), command.end());
  return out;
}

absl::StatusOr<std::string> Output(std::vector<std::string> command) {
  ASSIGN_OR_RETURN(const RunResult result, RunCommand(std::move(command)));
  if (result.exit.ok()) return std::string(absl::StripAsciiWhitespace(result.output));
  return absl::InternalError(absl::StrCat(result.exit.ToString(), ": ", result.output));
}

std::string FindPrograms() {
  std::string newest;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", none)) {
    const std::string bin = entry.path() / "bin";
    if (fs::exists(bin + "/initdb") && bin > newest) newest = bin;
  }
  return newest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::Start() {
  const std::string bin = FindPrograms();
  if (bin.empty()) {
    return absl::NotFoundError(
        "no PostgreSQL server below /usr/lib/postgresql; install Debian's package postgresql-15");
  }
  std::string folder = "/tmp/tritter-pg-XXXXXX";  // short: the path of a socket has 107 bytes
  if (mkdtemp(folder.data()) == nullptr) return absl::InternalError("mkdtemp below /tmp failed");
  if (geteuid() == 0 && chown(folder.c_str(), 65534, 65534) != 0)
    return absl::InternalError(absl::StrCat("cannot give ", folder, " to nobody"));
  std::unique_ptr<PostgresServer> out(new PostgresServer(bin, folder));
  RETURN_IF_ERROR(
      Output(AsUser({bin + "/initdb", "--pgdata", folder + "/data", "--username", "tritter",
                     "--auth", "trust", "--no-sync", "--locale", "C", "--encoding", "UTF8"}))
          .status());
  RETURN_IF_ERROR(out->Run());
  return out;
}

PostgresServer::~PostgresServer() {
  Crash();
  fs::remove_all(folder_);
}

absl::Status PostgresServer::Run() {
  SubprocessOptions options;
  options.argv = AsUser({bin_ + "/postgres", "-D", folder_ + "/data", "-k", folder_, "-c",
                         "listen_addresses=", "-c", "max_connections=40", "-c",
                         "shared_buffers=16MB", "-c", "max_wal_size=64MB"});
  options.output = SubprocessOptions::Output::kFile;
  options.output_path = folder_ + "/log";
  ASSIGN_OR_RETURN(process_, Subprocess::Start(options));
  const absl::Duration until = Clock::Real()->Monotonic() + absl::Seconds(60);
  while (!Output({bin_ + "/pg_isready", "-h", folder_, "-U", "tritter"}).ok()) {
    if (process_->Poll().has_value() || Clock::Real()->Monotonic() > until)
      return absl::InternalError(absl::StrCat("the server did not start, see ", folder_, "/log"));
    Clock::Real()->Sleep(absl::Milliseconds(50));
  }
  return absl::OkStatus();
}

void PostgresServer::Crash() {
  if (process_ == nullptr) return;
  process_->Signal(SIGQUIT);  // at once, without a checkpoint; its children end with it
  process_->Wait(absl::Seconds(10));
  process_ = nullptr;
}

absl::StatusOr<std::string> PostgresServer::CreateDatabase() {
  const std::string name = absl::StrCat("db", ++databases_);
  RETURN_IF_ERROR(Ask(absl::StrCat("postgresql://tritter@/postgres?host=", folder_),
                      absl::StrCat("CREATE DATABASE ", name))
                      .status());
  return absl::StrCat("postgresql://tritter@/", name, "?host=", folder_);
}

absl::StatusOr<std::string> PostgresServer::Ask(const std::string& address,
                                                const std::string& sql) {
  return Output({bin_ + "/psql", "--no-psqlrc", "--tuples-only", "--no-align", "-v",
                 "ON_ERROR_STOP=1", "--dbname", address, "--command", sql});
}

}  // namespace tritter
