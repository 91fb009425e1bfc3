// tritter_worker: trains what the coordinator assigns. Wiring only.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/address_list.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/net.h"
#include "common/random.h"
#include "common/rooted_env.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "kernels/ternary_gemm.h"
#include "model/memory.h"
#include "monitoring/exposer.h"
#include "monitoring/registry.h"
#include "worker/agent.h"
#include "worker/coordinator_client.h"
#include "worker/cuda_loader.h"
#include "worker/training_parts.h"
#include "worker/worker_metrics.h"
#include "worker/worker_options.h"

namespace tritter {
namespace {

std::string HostName() {
  char name[256] = "worker";
  gethostname(name, sizeof(name) - 1);
  return name;
}

absl::StatusOr<std::unique_ptr<grpc::Server>> StartHealthServer(const std::string& listen,
                                                                std::string* address) {
  ASSIGN_OR_RETURN(HostPort at, ParseHostPort(listen));
  RETURN_IF_ERROR(Annotate(CheckCanListen(at), "--listen"));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &at.port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || at.port == 0)
    return absl::UnavailableError(absl::StrCat("cannot listen on ", listen));
  *address = FormatHostPort(at);
  return server;
}

WorkerDescription Describe(const WorkerOptions& o) {
  WorkerDescription worker;
  worker.name = o.name;
  worker.incarnation = RandomBits64();
  worker.host = o.advertise_host;
  worker.threads = o.threads;
  if (o.cuda_ordinal < 0) {
    worker.device = absl::StrCat(o.device, " ", CpuFeatures(), " x", o.threads);
    worker.memory_bytes = UsableMemoryBytes(Env::Real());
  } else {
    const CudaBackend& cuda = *FindCudaDevices().backend;
    worker.device = absl::StrCat(o.device, " ", cuda.device_name(o.cuda_ordinal));
    worker.memory_bytes =
        SafeGpuBudget(cuda.memory_bytes(o.cuda_ordinal), DisplaySystem::kHeadless);
  }
  worker.code_version = kVersion;
  worker.pid = getpid();
  return worker;
}

// Why the process ends, if nobody told it to.
struct Ended {
  Mutex mu;
  std::string reason GUARDED_BY(mu);
  bool name_in_use GUARDED_BY(mu) = false;  // when it started; else it has lost its name since
};

// The exit code.
absl::StatusOr<int> Work(const WorkerOptions& o) {
  RETURN_IF_ERROR(CheckClientSecurity(Env::Real(), o.security, Clock::Real()->Now()));
  const WorkerDescription worker = Describe(o);
  LogInfo("starting", {{"worker", o.name},
                       {"coordinator", o.coordinator},
                       {"device", o.device},
                       {"device_reason", o.device_reason},
                       {"kernel", BestTernaryKernel().name},
                       {"cpu", CpuFeatures()},
                       {"threads", o.threads},
                       {"memory_bytes", worker.memory_bytes}});

  std::unique_ptr<RootedEnv> rooted;
  if (!o.roots.empty()) {
    ASSIGN_OR_RETURN(rooted, RootedEnv::Create(Env::Real(), o.roots));
  }
  Env* const files = rooted == nullptr ? Env::Real() : rooted.get();
  Registry registry("worker");
  WorkerMetrics metrics(&registry);
  const std::unique_ptr<EpochParts> parts =
      MakeTrainingParts({files, o.advertise_host, o.threads, o.cuda_ordinal,
                         o.cuda_ordinal < 0 ? nullptr : FindCudaDevices().backend});
  CoordinatorClient::Options client_options;
  ASSIGN_OR_RETURN(const std::vector<std::string> coordinators, ParseAddressList(o.coordinator));
  client_options.coordinators = ConnectToCoordinators(coordinators, o.security);
  client_options.worker = worker;
  CoordinatorClient client(std::move(client_options));

  WorkerAgent::Options agent_options =
      AgentOptionsOf(o.name, worker.incarnation, parts.get(), &client, files);
  agent_options.epoch.observer = &metrics;
  Ended ended;
  agent_options.on_end = [&ended](const std::string& reason, bool name_in_use) {
    {
      MutexLock lock(&ended.mu);
      ended.reason = reason;
      ended.name_in_use = name_in_use;
    }
    RequestShutdown(SIGTERM);
  };
  agent_options.on_news = [&client] { client.Nudge(); };
  WorkerAgent agent(std::move(agent_options));

  WorkerReady ready;
  ready.name = o.name;
  ready.device = worker.device;
  ready.incarnation = worker.incarnation;
  ready.pid = worker.pid;
  ASSIGN_OR_RETURN(const std::unique_ptr<grpc::Server> server,
                   StartHealthServer(o.listen, &ready.health_address));
  std::unique_ptr<Exposer> exposer;
  if (!o.metrics_listen.empty()) {
    const auto health = [&client] { return client.Health(); };
    ASSIGN_OR_RETURN(exposer, Exposer::Start(&registry, {o.metrics_listen, health}));
    ready.metrics_address = exposer->address();
  }
  client.Start(&agent);
  if (!o.ready_file.empty())
    RETURN_IF_ERROR(WriteFileAtomically(Env::Real(), o.ready_file, WorkerReadyJson(ready)));
  LogInfo("ready", {{"health", ready.health_address}, {"metrics", ready.metrics_address}});

  WaitForShutdown();
  {
    MutexLock lock(&ended.mu);
    if (ended.name_in_use) {
      LogError("name_in_use", {{"reason", ended.reason}});
    } else if (!ended.reason.empty()) {
      LogError("superseded", {{"reason", ended.reason}});
    } else {
      LogInfo("draining", {{"signal", ShutdownSignal()}, {"step", agent.Heartbeat().step}});
    }
  }
  agent.Drain(absl::ZeroDuration());  // says so from now on
  client.Nudge();
  agent.Drain(absl::Seconds(o.leave_seconds));
  agent.Shutdown("the worker was told to leave");
  client.Stop();
  server->Shutdown(absl::ToChronoTime(Clock::Real()->Now()));
  LogInfo("stopped");
  MutexLock lock(&ended.mu);
  // In both cases another process has its name, and somebody should hear of that.
  return ended.reason.empty() ? 0 : kExitUsage;
}

int Main(int argc, char** argv) {
  InstallShutdownHandlers();
  CommandLine app("Trains what the coordinator assigns.");
  WorkerOptions options;
  LogFlags log;
  AddWorkerFlags(&app, &options);
  AddCommonFlags(&app, &log);
  if (std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  InitLogging("worker", log.level, log.format);
  absl::StatusOr<WorkerOptions> resolved = ResolveWorkerOptions(
      options, HostName(), static_cast<int>(std::thread::hardware_concurrency()),
      std::getenv("TRITTER_KERNEL"), [] {
        const CudaDevices& found = FindCudaDevices();
        return CudaSummary{found.count, found.name, found.why_none, HasNvidiaDriver()};
      });
  if (!resolved.ok()) {
    std::fprintf(stderr, "%s\n", std::string(resolved.status().message()).c_str());
    return kExitUsage;
  }
  const absl::StatusOr<int> code = Work(*resolved);
  if (code.ok()) return *code;
  LogError("failed", {{"error", code.status().ToString()}});
  return 1;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  const int code = tritter::Main(argc, argv);
  std::fflush(nullptr);
  // Groups that were aborted may still have threads inside Gloo; static destructors must not run
  // under them.
  _exit(code);
}
