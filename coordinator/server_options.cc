#include "coordinator/server_options.h"

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/net.h"
#include "common/status_macros.h"

namespace tritter {
absl::Status CheckServerOptions(const ServerOptions& o) {
  if (o.data_dir.empty())
    return absl::InvalidArgumentError(
        "--data-dir: must name the folder of the store and of the runs");
  RETURN_IF_ERROR(CheckServerSecurity(o.security));
  RETURN_IF_ERROR(CheckServiceAddress("--listen", o.listen, o.security));
  RETURN_IF_ERROR(CheckMonitoringAddress("--metrics-listen", o.metrics_listen, o.security));
  ASSIGN_OR_RETURN(const HostPort at, ParseHostPort(o.listen));
  if (!IsLoopback(at.host) && o.roots.empty() && !o.security.insecure) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--root: runs of other machines (--listen ", o.listen,
        ") could name any folder of this one; name those that hold data, e.g. --root /data"));
  }
  for (const std::string& root : o.roots) {
    if (root.empty() || root[0] != '/') {
      return absl::InvalidArgumentError(
          absl::StrCat("--root: \"", root, "\" is not an absolute folder"));
    }
  }
  for (const std::string& server : o.inference_servers) {
    RETURN_IF_ERROR(CheckServerAddress("--inference-server", server, o.inference_security));
  }
  if (o.inference_servers.empty() != o.model_root.empty()) {
    return absl::InvalidArgumentError(
        o.model_root.empty()
            ? "--inference-server: needs --model-root too, the folder from which these servers "
              "load models"
            : "--model-root: needs --inference-server too, who loads models from there");
  }
  if (o.keep_events != 0 && o.keep_events < 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("--keep-events: ", o.keep_events,
                     " are too few to see what has happened; give 1000 or more, or 0 to keep all"));
  }
  // Who lost an answer may ask again after some hours.
  if (!(o.keep_request_ids_days == 0 || o.keep_request_ids_days >= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--keep-request-ids: ", o.keep_request_ids_days,
                     " is not a number of days from 1 on, nor 0, which keeps them for ever"));
  }
  return ParseProjectWeights(o.project_weights).status();
}

absl::StatusOr<std::map<std::string, double>> ParseProjectWeights(
    const std::vector<std::string>& given) {
  std::map<std::string, double> out;
  for (const std::string& text : given) {
    const size_t at = text.find('=');
    double weight = 0;
    if (at == std::string::npos || at == 0 ||
        !absl::SimpleAtod(absl::string_view(text).substr(at + 1), &weight) || !(weight >= 1e-3) ||
        !(weight <= 1e3)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--project-weight: \"", text,
                       "\" is not NAME=WEIGHT with a weight from 0.001 to 1000, e.g. speech=2"));
    }
    if (!out.emplace(text.substr(0, at), weight).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--project-weight: project ", text.substr(0, at), " has two weights; give one"));
    }
  }
  return out;
}

std::string ReadyJson(const std::string& address, const std::string& metrics_address, int64_t pid) {
  nlohmann::json j;
  j["address"] = address;
  j["metrics_address"] = metrics_address;
  j["pid"] = pid;
  j["leads"] = !address.empty();
  return j.dump() + "\n";
}

}  // namespace tritter
