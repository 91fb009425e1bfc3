// What the coordinator's process is told, and what it tells when it is ready.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "access/client_security.h"
#include "access/server_security.h"

namespace tritter {

struct ServerOptions {
  std::string listen = "127.0.0.1:7070";
  std::string metrics_listen = "127.0.0.1:0";
  std::string data_dir;
  std::string store;                           // empty: SQLite in data_dir; else postgresql://…
  std::string store_password_file;             // empty: PGPASSFILE and the like
  std::vector<std::string> roots;              // empty: data of runs may lie anywhere
  std::vector<std::string> inference_servers;  // host:port
  std::string model_root;                      // with them
  ClientSecurity inference_security;           // of the connections to them
  std::vector<std::string> project_weights;    // NAME=WEIGHT
  int64_t keep_events = 100'000;               // 0: all
  double keep_request_ids_days = 30;           // 0: for ever
  std::string ready_file;
  ServerSecurity security;
};

// InvalidArgument: an address that cannot be read, one beyond loopback without what
// server_security.h asks for or without a root (then whoever may submit could have any folder
// read), no data folder, bounds of history that make no sense, a token that would travel
// unencrypted to an inference server. Files are not looked at.
absl::Status CheckServerOptions(const ServerOptions& options);
// By project. InvalidArgument: one that is not NAME=WEIGHT with a weight from 0.001 to 1000, or
// twice.
absl::StatusOr<std::map<std::string, double>> ParseProjectWeights(
    const std::vector<std::string>& given);
// {"address": …, "metrics_address": …, "pid": …, "leads": …}; the address is empty on standby.
std::string ReadyJson(const std::string& address, const std::string& metrics_address, int64_t pid);

}  // namespace tritter
