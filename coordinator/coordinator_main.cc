// tritter_coordinator: admits runs and leads workers. Wiring only.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "access/access_service.h"
#include "access/rpc_credentials_service.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/file_limit.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/net.h"
#include "common/rooted_env.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/coordinator_metrics.h"
#include "coordinator/health_board.h"
#include "coordinator/model_server_client.h"
#include "coordinator/run_service.h"
#include "coordinator/server_options.h"
#include "coordinator/shard_catalog.h"
#include "coordinator/store/open_store.h"
#include "coordinator/store_commands.h"
#include "coordinator/worker_service.h"
#include "model/export.h"
#include "monitoring/exposer.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

constexpr absl::Duration kShutdownGrace = absl::Seconds(2);
constexpr int kMaxThreads = 512;
constexpr int kMaxRequestBytes = 4 << 20;  // a run has 1 MiB, a report 10 000 steps
constexpr int kMaxMetadataBytes = 8 << 10;
constexpr int kMaxStreamsOfAConnection = 1000;

absl::StatusOr<v1::Artifact> Export(Env* env, const CheckpointReader& checkpoint,
                                    const std::string& path, const ExportOptions& options) {
  ASSIGN_OR_RETURN(const ExportResult result, ExportCheckpoint(env, checkpoint, path, options));
  v1::Artifact artifact;
  artifact.set_kind(options.format);
  artifact.set_path(result.path);
  artifact.set_bytes(static_cast<int64_t>(result.bytes));
  artifact.set_sha256(result.sha256);
  artifact.set_step(result.step);
  return artifact;
}

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

// Who leads, for people: "127.0.0.1:7070 (host a, pid 12)".
std::string Holder(const std::string& address) {
  return absl::StrCat(address, " (host ", HostName(), ", pid ", getpid(), ")");
}

// That this coordinator leads from now on is an event of its own.
void AnnounceLead(const std::string& address, OpenedStore* store, Coordinator* coordinator) {
  std::string message = absl::StrCat("the coordinator ", Holder(address));
  absl::StrAppend(&message, store->term() == 0 ? " has started"
                                               : absl::StrCat(" leads in term ", store->term()));
  const std::string before = store->predecessor();
  if (!before.empty()) absl::StrAppend(&message, ", after ", before);
  const absl::Status told = coordinator->Announce(
      before.empty() ? kEventCoordinatorStarted : kEventLeaderChanged, message);
  if (!told.ok()) LogWarning("lead_not_announced", {{"error", std::string(told.message())}});
}

absl::StatusOr<std::unique_ptr<grpc::Server>> StartServer(
    const std::string& listen, const TlsFiles& tls, const std::vector<grpc::Service*>& services,
    std::string* address) {
  ASSIGN_OR_RETURN(HostPort at, ParseHostPort(listen));
  RETURN_IF_ERROR(Annotate(CheckCanListen(at), "--listen"));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, MakeServerCredentials(tls), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT,
                             0);  // a second server on the port is an error, not a partner
  // Workers ping every 10 s to notice a host that has vanished; by default that is an offence.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  // A watcher whose machine has vanished does not keep its place.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsOfAConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  grpc::ResourceQuota quota("coordinator");
  quota.SetMaxThreads(kMaxThreads);
  builder.SetResourceQuota(quota);
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen, "; is another process using the port?"));
  }
  at.port = port;
  *address = FormatHostPort(at);
  return server;
}

// What outlives a lead: of a standby nothing else is there.
struct Monitoring {
  Registry registry{"coordinator"};
  CoordinatorMetrics metrics{&registry};
  HealthBoard health;
  std::string address;
};

absl::Status WriteReadyFile(const ServerOptions& o, const std::string& address,
                            const std::string& metrics_address) {
  if (o.ready_file.empty()) return absl::OkStatus();
  return WriteFileAtomically(Env::Real(), o.ready_file,
                             ReadyJson(address, metrics_address, getpid()));
}

// Until the process is to end, or another coordinator leads.
absl::Status Lead(const ServerOptions& o, AccessControl* access, const std::string& data_dir,
                  OpenedStore* store, Monitoring* monitoring) {
  CoordinatorOptions options;
  options.data_dir = data_dir;
  options.roots = o.roots;
  options.inference_servers = o.inference_servers;
  options.model_root = o.model_root;
  options.keep_events = o.keep_events;
  if (o.keep_request_ids_days > 0) options.keep_keys = absl::Hours(24) * o.keep_request_ids_days;
  ASSIGN_OR_RETURN(options.project_weights, ParseProjectWeights(o.project_weights));
  // What lies there may have been put there by others: no link leads out of the run folders and of
  // the data.
  std::vector<std::string> folders = o.roots;
  folders.push_back(options.data_dir);
  if (!o.model_root.empty()) folders.push_back(o.model_root);
  ASSIGN_OR_RETURN(const std::unique_ptr<RootedEnv> files, RootedEnv::Create(Env::Real(), folders));
  std::unique_ptr<RootedEnv> data;
  if (!o.roots.empty()) {
    ASSIGN_OR_RETURN(data, RootedEnv::Create(Env::Real(), o.roots));
  }
  ShardCatalog catalog(data == nullptr ? Env::Real() : data.get());
  CoordinatorDependencies dependencies;
  dependencies.store = store->get();
  dependencies.env = files.get();
  dependencies.clock = Clock::Real();
  dependencies.catalog = &catalog;
  dependencies.exporter = [&files](const CheckpointReader& checkpoint, const std::string& path,
                                   const ExportOptions& how) {
    return Export(files.get(), checkpoint, path, how);
  };
  dependencies.load_model = [&o](const std::string& server, const std::string& model) {
    return LoadModelOnServer(o.inference_security, server, model);
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<Coordinator> coordinator,
                   Coordinator::Start(dependencies, options));
  CoordinatorMetrics& metrics = monitoring->metrics;
  metrics.Update(coordinator->Stats());
  ASSIGN_OR_RETURN(
      const std::unique_ptr<AuditLog> audit,
      AuditLog::Open(Env::Real(), Clock::Real(), {.folder = JoinPath(options.data_dir, "audit")}));
  const RpcGuard guard(access, audit.get());
  RunServiceImpl runs(coordinator.get(), Clock::Real(), guard);
  WorkerServiceImpl workers(coordinator.get(), WorkerServiceImpl::Limits(), guard);
  AccessServiceImpl who(guard, audit.get(), [&](const std::string& run) {
    const absl::StatusOr<v1::Run> found = coordinator->Get(run);
    return found.ok() ? found->run_id() : run;
  });
  std::string address;
  ASSIGN_OR_RETURN(const std::unique_ptr<grpc::Server> server,
                   StartServer(o.listen, o.security.files(), {&runs, &workers, &who}, &address));
  server->GetHealthCheckService()->SetServingStatus(v1::RunService::service_full_name(), true);
  server->GetHealthCheckService()->SetServingStatus(v1::WorkerService::service_full_name(), true);
  server->GetHealthCheckService()->SetServingStatus(v1::AccessService::service_full_name(), true);
  metrics.SetLeads(true);
  AnnounceLead(address, store, coordinator.get());
  monitoring->health.Set([&] { return coordinator->Health(); }, "ok");
  const absl::Cleanup take_down = [&] { monitoring->health.Set(nullptr, "starting"); };
  RETURN_IF_ERROR(WriteReadyFile(o, address, monitoring->address));
  LogInfo("serving", {{"address", address},
                      {"metrics", monitoring->address},
                      {"data_dir", options.data_dir},
                      {"tls", o.security.tls()},
                      {"asks_who_calls", access->asks()}});

  while (store->Standing().ok() && !WaitForShutdown(absl::Seconds(1)))
    metrics.Update(coordinator->Stats());
  LogInfo("stopping", {{"signal", ShutdownSignal()}});
  server->GetHealthCheckService()->Shutdown();
  coordinator->Stop();  // ends sessions and watchers; runs go on after a restart
  server->Shutdown(absl::ToChronoTime(Clock::Real()->Now() + kShutdownGrace));
  server->Wait();
  return absl::OkStatus();
}

StoreChoice ChosenStore(const ServerOptions& o) {
  StoreChoice choice;
  choice.store = o.store;
  choice.password_file = o.store_password_file;
  if (!o.data_dir.empty())
    choice.data_dir = std::filesystem::absolute(o.data_dir).lexically_normal().string();
  choice.holder = Holder(o.listen);
  return choice;
}

absl::Status Serve(const ServerOptions& o) {
  RETURN_IF_ERROR(CheckTlsFiles(Env::Real(), o.security.files(), Clock::Real()->Now()));
  RETURN_IF_ERROR(CheckClientSecurity(Env::Real(), o.inference_security, Clock::Real()->Now()));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<AccessControl> access,
      AccessControl::Open(Env::Real(), Clock::Real(),
                          {o.security.access_file, !o.security.tls_client_authority.empty()}));
  const StoreChoice choice = ChosenStore(o);
  Monitoring monitoring;
  ExposerOptions exposing;
  exposing.address = o.metrics_listen;
  exposing.health = [&] { return monitoring.health.Health(); };
  exposing.text = [&] { return monitoring.health.Text(); };
  absl::StatusOr<std::unique_ptr<Exposer>> exposer = Exposer::Start(&monitoring.registry, exposing);
  if (!exposer.ok()) return Annotate(exposer.status(), "--metrics-listen");
  monitoring.address = (*exposer)->address();
  ASSIGN_OR_RETURN(const HostPort at, ParseHostPort(o.listen));
  RETURN_IF_ERROR(Annotate(CheckCanListen(at), "--listen"));
  while (!ShutdownRequested()) {
    monitoring.metrics.SetLeads(false);
    bool told = false;
    const auto stand_by = [&](const std::string& why) {
      monitoring.health.Set(nullptr, absl::StrCat("standby: ", why));
      if (!std::exchange(told, true))
        WriteReadyFile(o, "", monitoring.address).IgnoreError();  // written again with the lead
    };
    ASSIGN_OR_RETURN(const std::unique_ptr<OpenedStore> store,
                     AwaitStore(Env::Real(), choice, WaitForShutdown, stand_by));
    if (store == nullptr) break;
    absl::Status led = Lead(o, access.get(), choice.data_dir, store.get(), &monitoring);
    // A database that went away while we began is waited for, as by a standby.
    if (!led.ok() && !(choice.shared() && absl::IsUnavailable(led))) return led;
    if (led.ok()) led = store->Standing();
    if (!led.ok()) LogWarning("lead_lost", {{"why", std::string(led.message())}});
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  InstallShutdownHandlers();
  RaiseFileLimit();  // a connection a worker
  CommandLine app("Admits training runs and leads the workers that train them.");
  ServerOptions options;
  LogFlags log;
  app.AddFlag("--listen", &options.listen, "address of the RPC services; port 0: any free one");
  app.AddFlag("--metrics-listen", &options.metrics_listen, "address of /metrics and /healthz");
  app.AddFlag("--data-dir", &options.data_dir, "folder of the store and of the runs");
  app.AddFlag("--store", &options.store,
              "postgresql://user@host/database: a store that several coordinators share, of which "
              "one leads; default: SQLite in --data-dir")
      .HideDefault();
  app.AddFlag("--store-password-file", &options.store_password_file,
              "file with the PostgreSQL user's password; default: PGPASSFILE")
      .HideDefault();
  app.AddFlag("--root", &options.roots,
              "data of runs must lie below it, also where symbolic links lead (repeatable; none: "
              "anywhere)");
  app.AddFlag("--inference-server", &options.inference_servers,
              "host:port of a server that jobs `serve` have load models (repeatable)");
  app.AddFlag("--model-root", &options.model_root,
              "folder for these models: the servers' --model-root as this process sees it");
  ClientSecurity& inference = options.inference_security;
  inference.flag_prefix = "--inference-";
  app.AddFlag(
      "--inference-tls-ca", &inference.tls_authority,
      "speak TLS with the inference servers; certificates (PEM) that sign theirs, or system");
  app.AddFlag("--inference-tls-cert", &inference.tls_certificate,
              "certificate shown to the inference servers, of mutual TLS (PEM)");
  app.AddFlag("--inference-tls-key", &inference.tls_key,
              "private key of --inference-tls-cert (PEM)");
  app.AddFlag("--inference-tls-server-name", &inference.tls_server_name,
              "name expected in their certificates; empty: the host of each address");
  app.AddFlag("--inference-token-file", &inference.token_file,
              "file whose first line is the token shown to the inference servers (role operate); "
              "read again when it changes");
  app.AddFlag("--inference-insecure", &inference.insecure,
              "the token may travel unencrypted to an inference server beyond loopback");
  app.AddFlag("--project-weight", &options.project_weights,
              "NAME=WEIGHT: how much of the workers a project's share is, relative to the others', "
              "which have weight 1 (repeatable)");
  app.AddFlag("--keep-events", &options.keep_events,
              "so many of the newest events are kept, and those of runs that have not ended; 0: "
              "all");
  app.AddFlag("--keep-request-ids", &options.keep_request_ids_days,
              "days for which a repeated submit or change is known to be one; 0: for ever");
  app.AddFlag("--ready-file", &options.ready_file,
              "JSON with the chosen addresses, written once ready");
  AddServerSecurityFlags(&app, &options.security);
  StoreCommands commands;
  AddStoreCommands(&app, &commands);
  AddCommonFlags(&app, &log);
  if (std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  InitLogging("coordinator", log.level, log.format);
  if (!commands.name.empty()) {
    const absl::StatusOr<std::string> done =
        RunStoreCommand(Env::Real(), commands, ChosenStore(options));
    std::fprintf(done.ok() ? stdout : stderr, "%s\n",
                 done.ok() ? done->c_str() : std::string(done.status().message()).c_str());
    return done.ok() ? 0 : absl::IsInvalidArgument(done.status()) ? kExitUsage : 1;
  }
  absl::Status valid = CheckServerOptions(options);
  if (valid.ok()) valid = CheckStoreChoice(ChosenStore(options));
  if (!valid.ok()) {
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
