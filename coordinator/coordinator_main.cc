// tritter_coordinator: admits runs and leads workers. Wiring only.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/net.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/coordinator_metrics.h"
#include "coordinator/run_service.h"
#include "coordinator/server_options.h"
#include "coordinator/shard_catalog.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/worker_service.h"
#include "model/export.h"
#include "monitoring/exposer.h"

namespace tritter {
namespace {

constexpr absl::Duration kShutdownGrace = absl::Seconds(2);
constexpr int kMaxThreads = 512;

absl::StatusOr<v1::Artifact> Export(const CheckpointReader& checkpoint, const std::string& path,
                                    const ExportOptions& options) {
  ASSIGN_OR_RETURN(const ExportResult result,
                   ExportCheckpoint(Env::Real(), checkpoint, path, options));
  v1::Artifact artifact;
  artifact.set_kind(options.format);
  artifact.set_path(result.path);
  artifact.set_bytes(static_cast<int64_t>(result.bytes));
  artifact.set_sha256(result.sha256);
  artifact.set_step(result.step);
  return artifact;
}

absl::StatusOr<std::unique_ptr<grpc::Server>> StartServer(const std::string& listen,
                                                          grpc::Service* runs,
                                                          grpc::Service* workers,
                                                          std::string* address) {
  ASSIGN_OR_RETURN(HostPort at, ParseHostPort(listen));
  RETURN_IF_ERROR(Annotate(CheckCanListen(at), "--listen"));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT,
                             0);  // a second server on the port is an error, not a partner
  // Workers ping every 10 s to notice a host that has vanished; by default that is an offence.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  grpc::ResourceQuota quota("coordinator");
  quota.SetMaxThreads(kMaxThreads);
  builder.SetResourceQuota(quota);
  builder.RegisterService(runs);
  builder.RegisterService(workers);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen, "; is another process using the port?"));
  }
  at.port = port;
  *address = FormatHostPort(at);
  return server;
}

absl::Status Serve(const ServerOptions& o) {
  CoordinatorOptions options;
  options.data_dir = std::filesystem::absolute(o.data_dir).lexically_normal().string();
  options.roots = o.roots;
  ASSIGN_OR_RETURN(const std::unique_ptr<SqliteStore> store,
                   SqliteStore::Open(Env::Real(), options.data_dir));
  ShardCatalog catalog(Env::Real());
  CoordinatorDependencies dependencies;
  dependencies.store = store.get();
  dependencies.env = Env::Real();
  dependencies.clock = Clock::Real();
  dependencies.catalog = &catalog;
  dependencies.exporter = Export;
  ASSIGN_OR_RETURN(const std::unique_ptr<Coordinator> coordinator,
                   Coordinator::Start(dependencies, options));
  Registry registry("coordinator");
  CoordinatorMetrics metrics(&registry);
  metrics.Update(coordinator->Stats());
  ExposerOptions exposing;
  exposing.address = o.metrics_listen;
  exposing.health = [&] { return coordinator->Health(); };
  absl::StatusOr<std::unique_ptr<Exposer>> exposer = Exposer::Start(&registry, exposing);
  if (!exposer.ok()) return Annotate(exposer.status(), "--metrics-listen");
  RunServiceImpl runs(coordinator.get(), Clock::Real());
  WorkerServiceImpl workers(coordinator.get());
  std::string address;
  ASSIGN_OR_RETURN(const std::unique_ptr<grpc::Server> server,
                   StartServer(o.listen, &runs, &workers, &address));
  server->GetHealthCheckService()->SetServingStatus(v1::RunService::service_full_name(), true);
  server->GetHealthCheckService()->SetServingStatus(v1::WorkerService::service_full_name(), true);
  if (!o.ready_file.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(Env::Real(), o.ready_file,
                                        ReadyJson(address, (*exposer)->address(), getpid())));
  }
  LogInfo(
      "serving",
      {{"address", address}, {"metrics", (*exposer)->address()}, {"data_dir", options.data_dir}});

  while (!WaitForShutdown(absl::Seconds(1))) metrics.Update(coordinator->Stats());
  LogInfo("stopping", {{"signal", ShutdownSignal()}});
  server->GetHealthCheckService()->Shutdown();
  coordinator->Stop();  // ends sessions and watchers; runs go on after a restart
  server->Shutdown(absl::ToChronoTime(Clock::Real()->Now() + kShutdownGrace));
  server->Wait();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  InstallShutdownHandlers();
  CommandLine app("Admits training runs and leads the workers that train them.");
  ServerOptions options;
  LogFlags log;
  app.AddFlag("--listen", &options.listen, "address of the RPC services; port 0: any free one");
  app.AddFlag("--metrics-listen", &options.metrics_listen, "address of /metrics and /healthz");
  app.AddFlag("--data-dir", &options.data_dir, "folder of the store and of the runs");
  app.AddFlag("--root", &options.roots,
              "data of runs must lie below it (repeatable; none: anywhere)");
  app.AddFlag("--ready-file", &options.ready_file,
              "JSON with the chosen addresses, written once ready");
  app.AddFlag("--insecure", &options.insecure, "listen beyond loopback without authentication");
  AddCommonFlags(&app, &log);
  if (std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  InitLogging("coordinator", log.level, log.format);
  if (absl::Status valid = CheckServerOptions(options); !valid.ok()) {
    std::fprintf(stderr, "%s\n", std::string(valid.message()).c_str());
    return kExitUsage;
  }
  if (absl::Status status = Serve(options); !status.ok()) {
    LogError("failed", {{"error", std::string(status.message())}});
    return 1;
  }
  LogInfo("stopped");
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
