#include "worker/worker_options.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "access/server_security.h"
#include "common/address_list.h"
#include "common/flags.h"
#include "common/net.h"
#include "common/status_macros.h"
#include "kernels/ternary_gemm.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

absl::Status CheckCoordinator(const WorkerOptions& o) {
  const absl::StatusOr<std::vector<std::string>> addresses = ParseAddressList(o.coordinator);
  if (!addresses.ok()) return Annotate(addresses.status(), "--coordinator");
  const auto outside = std::find_if(addresses->begin(), addresses->end(), [](const std::string& a) {
    return !IsLoopback(ParseHostPort(a)->host);
  });
  if (outside == addresses->end() || o.security.tls() || o.security.insecure)
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--coordinator ", *outside, " is beyond this machine and the traffic is not encrypted; ",
      "give --tls-ca, the certificates that sign the coordinator's, or say --insecure on a network "
      "that you trust"));
}

absl::Status CheckMonitoring(absl::string_view flag, const std::string& address,
                             const WorkerOptions& o) {
  ServerSecurity security;
  security.public_monitoring = o.public_monitoring;
  security.insecure = o.security.insecure;
  return CheckMonitoringAddress(flag, address, security);
}

// What workers tell each other is neither encrypted nor signed: gradients, and the state of a run.
absl::Status CheckCollectiveNetwork(const WorkerOptions& o) {
  if (!o.collective_network.empty() && o.collective_network != "trusted") {
    return absl::InvalidArgumentError(
        absl::StrCat("--collective-network is \"", o.collective_network, "\", expected trusted"));
  }
  if (IsLoopback(o.advertise_host) || o.collective_network == "trusted") return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--advertise-host ", o.advertise_host,
      ": traffic between workers is neither encrypted nor signed; use a loopback address, or say "
      "--collective-network trusted when only workers can reach that network"));
}

absl::Status CheckName(const std::string& name) {
  const bool good =
      !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
        return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
      });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--name is '", name, "', expected 1 to 128 letters, digits, '-', '_' or '.'"));
}

absl::Status CheckKernel(const char* kernel_name) {
  if (kernel_name == nullptr) return absl::OkStatus();
  std::string names;
  for (const TernaryKernel* kernel : SupportedTernaryKernels()) {
    if (absl::string_view(kernel->name) == kernel_name) return absl::OkStatus();
    absl::StrAppend(&names, names.empty() ? "" : ", ", kernel->name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("TRITTER_KERNEL is \"", kernel_name, "\", this CPU runs: ", names));
}

absl::Status ResolveDevice(const std::function<CudaSummary()>& find_cuda, WorkerOptions* o) {
  const std::string wanted = o->device;
  if (wanted == "cpu") {
    o->device_reason = "--device is cpu";
    return absl::OkStatus();
  }
  int ordinal = 0;
  const bool numbered = absl::StartsWith(wanted, "cuda:") &&
                        absl::SimpleAtoi(absl::string_view(wanted).substr(5), &ordinal);
  if ((wanted != "auto" && wanted != "cuda" && !numbered) || ordinal < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device is ", wanted, ", expected auto, cpu, cuda or cuda:N"));
  }
  const CudaSummary cuda = find_cuda();
  if (cuda.count == 0 && wanted == "auto") {
    o->device = "cpu";
    o->device_reason =
        absl::StrCat("--device is auto, no GPU: ",
                     cuda.driver ? cuda.why_none : "this machine has no NVIDIA driver");
    return absl::OkStatus();
  }
  if (cuda.count == 0) {
    return absl::InvalidArgumentError(absl::StrCat("--device is ", wanted, ", but ", cuda.why_none,
                                                   "; --device=cpu trains on the CPU"));
  }
  if (ordinal >= cuda.count) {
    return absl::InvalidArgumentError(absl::StrCat("--device is ", wanted, ", the machine has ",
                                                   cuda.count, " CUDA devices, counted from 0"));
  }
  o->cuda_ordinal = ordinal;
  o->device = absl::StrCat("cuda:", ordinal);
  o->device_reason =
      absl::StrCat("--device is ", wanted, ", the machine has ", cuda.count, " × ", cuda.name);
  return absl::OkStatus();
}

}  // namespace

void AddWorkerFlags(CommandLine* app, WorkerOptions* o) {
  app->AddFlag("--coordinator", &o->coordinator,
               "address of the coordinator; of several that share a store: a:7070,b:7070");
  app->AddFlag("--name", &o->name,
               "name of this worker, unique in the cluster: refused while another process that has "
               "it is connected; default: the host's");
  app->AddFlag("--threads", &o->threads, "threads that compute; 0: one per core");
  app->AddFlag("--device", &o->device,
               "where to train: auto (a GPU where one can be used), cpu, cuda, or cuda:N");
  app->AddFlag("--advertise-host", &o->advertise_host,
               "address under which the other workers reach this one");
  app->AddFlag("--listen", &o->listen,
               "address of gRPC health and reflection; port 0 takes a free one");
  app->AddFlag("--metrics-listen", &o->metrics_listen,
               "address of /metrics; port 0 takes a free one; empty: none");
  app->AddFlag("--ready-file", &o->ready_file,
               "JSON with the addresses, written once the worker is up");
  app->AddFlag("--leave-seconds", &o->leave_seconds,
               "longest time after SIGTERM to end the step under way and, where it is needed, to "
               "write a checkpoint");
  app->AddFlag("--tls-ca", &o->security.tls_authority,
               "speak TLS with the coordinator; certificates (PEM) that sign its own, or system");
  app->AddFlag("--tls-cert", &o->security.tls_certificate,
               "certificate of this worker, of mutual TLS (PEM); read again when it changes");
  app->AddFlag("--tls-key", &o->security.tls_key, "private key of --tls-cert (PEM)");
  app->AddFlag("--tls-server-name", &o->security.tls_server_name,
               "name expected in the coordinator's certificate; empty: the host of its address");
  app->AddFlag("--token-file", &o->security.token_file,
               "file whose first line is the token shown to the coordinator; read again when it "
               "changes");
  app->AddFlag("--root", &o->roots,
               "data and folders of runs must lie below it, also where symbolic links lead "
               "(repeatable; none: anywhere)");
  app->AddFlag("--collective-network", &o->collective_network,
               "trusted: only workers can reach the network between them, where nothing is "
               "encrypted; needed for an --advertise-host beyond loopback");
  app->AddFlag("--insecure", &o->security.insecure,
               "a coordinator beyond loopback without TLS; then the token travels unencrypted");
  app->AddFlag("--public-monitoring", &o->public_monitoring,
               "health and metrics may be reachable from other machines; they ask nobody");
}

absl::StatusOr<WorkerOptions> ResolveWorkerOptions(WorkerOptions o, const std::string& host_name,
                                                   int cores, const char* kernel_name,
                                                   const std::function<CudaSummary()>& find_cuda) {
  if (o.name.empty()) o.name = host_name;
  if (o.threads == 0) o.threads = std::max(1, cores);
  RETURN_IF_ERROR(CheckName(o.name));
  RETURN_IF_ERROR(ResolveDevice(find_cuda, &o));
  RETURN_IF_ERROR(CheckCoordinator(o));
  RETURN_IF_ERROR(CheckMonitoring("--listen", o.listen, o));
  if (!o.metrics_listen.empty())
    RETURN_IF_ERROR(CheckMonitoring("--metrics-listen", o.metrics_listen, o));
  RETURN_IF_ERROR(CheckCollectiveNetwork(o));
  for (const std::string& root : o.roots) {
    if (!absl::StartsWith(root, "/")) {
      return absl::InvalidArgumentError(
          absl::StrCat("--root is \"", root, "\", expected an absolute folder"));
    }
  }
  if (o.threads < 1 || o.threads > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads is ", o.threads, ", allowed are 0 to 1024"));
  }
  if (!(o.leave_seconds >= 0 && o.leave_seconds <= 3600)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--leave-seconds is ", o.leave_seconds, ", allowed are 0 to 3600"));
  }
  RETURN_IF_ERROR(CheckKernel(kernel_name));
  return o;
}

int64_t UsableMemoryBytes(Env* env) {
  int64_t limit = 0;
  if (const auto info = env->ReadFile("/proc/meminfo"); info.ok()) {
    for (absl::string_view line : absl::StrSplit(*info, '\n')) {
      const std::vector<absl::string_view> words =
          absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
      int64_t kib = 0;
      if (words.size() >= 2 && words[0] == "MemTotal:" && absl::SimpleAtoi(words[1], &kib))
        limit = kib * 1024;
    }
  }
  int64_t group = 0;
  if (const auto max = env->ReadFile("/sys/fs/cgroup/memory.max");
      max.ok() && absl::SimpleAtoi(*max, &group) && group > 0) {
    limit = limit == 0 ? group : std::min(limit, group);
  }
  return limit / 5 * 4;
}

std::string WorkerReadyJson(const WorkerReady& ready) {
  nlohmann::ordered_json json;
  json["name"] = ready.name;
  json["incarnation"] = absl::StrCat(ready.incarnation);  // as text: JSON numbers end at 2^53
  json["device"] = ready.device;
  json["address"] = ready.health_address;
  if (!ready.metrics_address.empty()) json["metrics_address"] = ready.metrics_address;
  json["pid"] = ready.pid;
  return json.dump() + "\n";
}

}  // namespace tritter
