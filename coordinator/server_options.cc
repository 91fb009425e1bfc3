#include "coordinator/server_options.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/net.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

absl::Status CheckAddress(const std::string& flag, const std::string& address, bool insecure) {
  absl::StatusOr<HostPort> at = ParseHostPort(address);
  if (!at.ok()) return Annotate(at.status(), flag);
  if (IsLoopback(at->host) || insecure) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      flag, ": ", address,
      " is reachable from other machines and nobody is asked who he is; listen on 127.0.0.1 "
      "or say --insecure on a network you trust"));
}

}  // namespace

absl::Status CheckServerOptions(const ServerOptions& o) {
  if (o.data_dir.empty())
    return absl::InvalidArgumentError(
        "--data-dir: must name the folder of the store and of the runs");
  RETURN_IF_ERROR(CheckAddress("--listen", o.listen, o.insecure));
  RETURN_IF_ERROR(CheckAddress("--metrics-listen", o.metrics_listen, o.insecure));
  for (const std::string& root : o.roots) {
    if (root.empty() || root[0] != '/') {
      return absl::InvalidArgumentError(
          absl::StrCat("--root: \"", root, "\" is not an absolute folder"));
    }
  }
  return absl::OkStatus();
}

std::string ReadyJson(const std::string& address, const std::string& metrics_address, int64_t pid) {
  nlohmann::json j;
  j["address"] = address;
  j["metrics_address"] = metrics_address;
  j["pid"] = pid;
  return j.dump() + "\n";
}

}  // namespace tritter
