// What the coordinator's process is told, and what it tells when it is ready.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace tritter {

struct ServerOptions {
  std::string listen = "127.0.0.1:7070";
  std::string metrics_listen = "127.0.0.1:0";
  std::string data_dir;
  std::vector<std::string> roots;  // empty: data of runs may lie anywhere
  std::string ready_file;
  bool insecure = false;
};

// InvalidArgument: an address that cannot be read, one beyond loopback without --insecure, no data
// folder.
absl::Status CheckServerOptions(const ServerOptions& options);
// {"address": …, "metrics_address": …, "pid": …}
std::string ReadyJson(const std::string& address, const std::string& metrics_address, int64_t pid);

}  // namespace tritter
