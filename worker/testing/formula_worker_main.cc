// A worker that says that it is a GPU and trains on the CPU with the plain formulas: for runs of
// CPUs and GPUs as real processes on a machine without a GPU. Flags as those of tritter_worker, of
// which it heeds what a cluster on loopback needs.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "common/address_list.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/random.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "worker/agent.h"
#include "worker/coordinator_client.h"
#include "worker/testing/device_parts.h"
#include "worker/training_parts.h"
#include "worker/worker_options.h"

namespace tritter {
namespace {

absl::Status Work(const WorkerOptions& o) {
  WorkerDescription worker;
  worker.name = o.name;
  worker.incarnation = RandomBits64();
  worker.host = o.advertise_host;
  worker.threads = 1;
  worker.device = "cuda:0 formulas";
  worker.memory_bytes = UsableMemoryBytes(Env::Real());
  worker.code_version = kVersion;
  worker.pid = getpid();

  const auto real = MakeTrainingParts({Env::Real(), o.advertise_host, 1});
  const auto parts = DeviceParts(real.get());
  CoordinatorClient::Options client_options;
  ASSIGN_OR_RETURN(const std::vector<std::string> coordinators, ParseAddressList(o.coordinator));
  client_options.coordinators = ConnectToCoordinators(coordinators, o.security);
  client_options.worker = worker;
  CoordinatorClient client(std::move(client_options));
  WorkerAgent::Options agent_options =
      AgentOptionsOf(o.name, worker.incarnation, parts.get(), &client, Env::Real());
  agent_options.on_end = [](const std::string& reason, bool) {
    LogError("ended", {{"reason", reason}});
    RequestShutdown(SIGTERM);
  };
  agent_options.on_news = [&client] { client.Nudge(); };
  WorkerAgent agent(std::move(agent_options));
  client.Start(&agent);
  WaitForShutdown();
  agent.Drain(absl::Seconds(o.leave_seconds));
  agent.Shutdown("the worker was told to leave");
  client.Stop();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  InstallShutdownHandlers();
  CommandLine app("A worker on formulas, for tests.");
  WorkerOptions options;
  LogFlags log;
  AddWorkerFlags(&app, &options);
  AddCommonFlags(&app, &log);
  if (std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  InitLogging("worker", log.level, log.format);
  const absl::Status status = Work(options);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  const int code = tritter::Main(argc, argv);
  std::fflush(nullptr);
  _exit(code);  // as tritter_worker: aborted groups may have threads inside Gloo
}
