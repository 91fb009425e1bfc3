// tritter_inference: serves packed models over gRPC and HTTP. Wiring only.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "access/rpc_credentials_service.h"
#include "access/rpc_guard_service.h"
#include "access/tls_server.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/net.h"
#include "common/random.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "inference/calls/call_limit.h"
#include "inference/calls/client_waits.h"
#include "inference/cpu_cores.h"
#include "inference/cuda/cuda_loader.h"
#include "inference/engine_loader.h"
#include "inference/http/http_api.h"
#include "inference/http/http_server.h"
#include "inference/inference_service.h"
#include "inference/memory_limit.h"
#include "inference/model_registry.h"
#include "inference/predict_v2_service.h"
#include "inference/serve_options.h"
#include "kernels/ternary_gemm.h"
#include "monitoring/exposer.h"
#include "monitoring/registry.h"

namespace tritter {
namespace {

constexpr absl::Duration kLastBytes = absl::Milliseconds(200);  // of the last answers to arrive
// For clients to hang up when told to. One that has no call at work may look only every 5 seconds.
constexpr absl::Duration kHangUp = absl::Seconds(1);
constexpr absl::Duration kIdlePoll = absl::Seconds(1);  // how often --idle-limit is looked at
// A client that is no longer there, and has not closed its connection, does not answer pings: its
// calls end after these two.
constexpr absl::Duration kPingAfter = absl::Seconds(60), kPingAnswer = absl::Seconds(20);
// Clients may ping as often, also while a long prompt keeps them waiting.
constexpr absl::Duration kLeastPingGap = absl::Seconds(10);
constexpr int kMaxRequestBytes = 16 << 20;  // a full context of token ids is far below

// The device that --device names, said in the log.
absl::StatusOr<ChosenDevice> FindDevice(const ServeOptions& o) {
  ASSIGN_OR_RETURN(const InferenceDevice asked, ParseInferenceDevice(o.device));
  const bool cpu = asked.kind == InferenceDevice::Kind::kCpu;
  absl::StatusOr<ChosenDevice> device =
      ChooseDevice(asked, cpu ? CudaInference() : FindCudaInference());
  RETURN_IF_ERROR(Annotate(device.status(), absl::StrCat("--device ", o.device)));
  if (!device->why_cpu.empty()) LogWarning("no_gpu", {{"because", device->why_cpu}});
  LogInfo("device", {{"device", device->name}});
  return device;
}

EngineLoaderOptions LoaderOptions(const ServeOptions& o, const ChosenDevice& device) {
  EngineLoaderOptions loader;
  loader.verify = o.verify;
  loader.tokenizer = o.tokenizer;
  EngineOptions& engine = loader.engine;
  engine.threads = o.threads > 0 ? o.threads : DefaultThreads(AllowedCpus(), CpuQuota(Env::Real()));
  engine.pin_threads = o.pin_threads;
  engine.max_kv_bytes = static_cast<int64_t>(o.max_kv_memory);
  engine.kv_format = *ParseKvFormat(o.kv_type);  // CheckServeOptions knows it
  engine.prefix_reuse = !o.no_prefix_reuse;
  engine.streaming = {static_cast<int64_t>(o.max_weight_memory), o.stream_layers};
  engine.forward = device.factory;
  engine.max_queue = o.max_queue;
  engine.scheduler.max_batch = o.max_batch;
  engine.scheduler.prefill_chunk = o.prefill_chunk;
  engine.scheduler.decoding_chunk = o.decoding_chunk;
  return loader;
}

ModelRegistryOptions RegistryOptions(const ServeOptions& o) {
  ModelRegistryOptions options;
  options.max_bytes =
      o.max_memory > 0 ? static_cast<int64_t>(o.max_memory) : AvailableMemoryBytes(Env::Real());
  options.root = o.model_root;
  return options;
}

HttpApiOptions ApiOptions(const ServeOptions& o, const Registry* metrics, AccessControl* access) {
  HttpApiOptions options;
  options.access = access;
  options.time_limit = absl::Seconds(o.time_limit_seconds);
  options.metrics_text = [metrics] { return metrics->Text(); };
  // Another number for each call, and for each start of the server.
  const uint64_t start = MixKey(static_cast<uint64_t>(absl::ToUnixNanos(Clock::Real()->Now())),
                                static_cast<uint64_t>(getpid()));
  options.fresh_seed = [start, calls = std::make_shared<std::atomic<uint64_t>>(0)] {
    return MixKey(start, calls->fetch_add(1, std::memory_order_relaxed));
  };
  return options;
}

absl::StatusOr<std::unique_ptr<grpc::Server>> StartServer(
    const ServeOptions& o, const std::vector<grpc::Service*>& services, std::string* address) {
  ASSIGN_OR_RETURN(HostPort at, ParseHostPort(o.listen));
  RETURN_IF_ERROR(Annotate(CheckCanListen(at), "--listen"));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(o.listen, MakeServerCredentials(o.security.files()), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT,
                             0);  // a second server on the port is an error, not a partner
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, o.max_streams);
  const auto milliseconds = [](absl::Duration d) {
    return static_cast<int>(absl::ToInt64Milliseconds(d));
  };
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(kPingAfter));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(kPingAnswer));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             milliseconds(kLeastPingGap));
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  grpc::ResourceQuota quota("inference");
  quota.SetMaxThreads(o.max_streams + 16);  // health and reflection answer when every call is taken
  builder.SetResourceQuota(quota);
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", o.listen, "; is another process using the port?"));
  }
  at.port = port;
  *address = FormatHostPort(at);
  return server;
}

// The last word. A load that was given up goes on for as long as it takes, and nothing that it uses
// may be destroyed under it: then the process ends as it stands, with exit code 0.
absl::Status Stopped(const ModelRegistry& registry) {
  const bool loading = registry.HasAbandonedLoad();
  LogInfo("stopped", {{"load_given_up", loading}});
  if (loading) std::_Exit(0);
  return absl::OkStatus();
}

absl::Status Serve(const ServeOptions& o) {
  RETURN_IF_ERROR(CheckTlsFiles(Env::Real(), o.security.files(), Clock::Real()->Now()));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<AccessControl> access,
      AccessControl::Open(Env::Real(), Clock::Real(),
                          {o.security.access_file, !o.security.tls_client_authority.empty()}));
  const RpcGuard guard(access.get(), nullptr);
  Registry metrics("inference");  // outlives the engines, which report to it
  ASSIGN_OR_RETURN(const ChosenDevice device, FindDevice(o));
  EngineLoader loader(LoaderOptions(o, device), &metrics);
  ModelRegistry registry(&loader, RegistryOptions(o));
  ReadyReport ready;
  for (const std::string& text : o.models) {
    const ModelArgument model = ParseModelArgument(text);
    const absl::Status loaded = registry.Load(model.name, model.path, &ShutdownRequested);
    if (absl::IsCancelled(loaded)) return Stopped(registry);
    RETURN_IF_ERROR(loaded);
    ready.models.push_back(model.name);
  }
  CallLimit limit(o.max_streams);
  ClientWaits waits(absl::Seconds(o.idle_limit_seconds), Clock::Real());
  InferenceRpcService service(&registry, &limit, &waits, Clock::Real(), guard);
  PredictV2Service predict(&registry, &limit, &waits, Clock::Real(), guard);
  ready.kernel = device.factory == nullptr ? BestTernaryKernel().name : device.name;
  ready.pid = getpid();
  ASSIGN_OR_RETURN(std::unique_ptr<grpc::Server> server,
                   StartServer(o, {&service, &predict}, &ready.address));
  for (const char* name : {v1::InferenceService::service_full_name(),
                           inference::GRPCInferenceService::service_full_name()})
    server->GetHealthCheckService()->SetServingStatus(name, true);
  std::atomic<bool> draining{false};
  std::unique_ptr<Exposer> exposer;
  if (!o.metrics_listen.empty()) {
    const auto health = [&draining] {
      return draining ? absl::UnavailableError("draining") : absl::OkStatus();
    };
    ASSIGN_OR_RETURN(exposer, Exposer::Start(&metrics, {o.metrics_listen, health}));
    ready.metrics_address = exposer->address();
  }
  HttpApi api(&registry, ApiOptions(o, &metrics, access.get()));
  std::unique_ptr<TlsServer> tls;
  std::unique_ptr<HttpServer> http;
  if (!o.http_listen.empty()) {
    HttpServerOptions options;
    options.address = o.http_listen;
    if (o.security.tls()) {
      ASSIGN_OR_RETURN(tls, TlsServer::Open(Env::Real(), Clock::Real(), o.security.files()));
      options.tls = tls.get();
    }
    options.max_connections = o.max_streams;
    options.max_body_bytes = kMaxRequestBytes;
    absl::StatusOr<std::unique_ptr<HttpServer>> started =
        HttpServer::Start(options, api.Routes(), &HttpApi::ErrorBody);
    RETURN_IF_ERROR(Annotate(started.status(), "--http-listen"));
    http = *std::move(started);
    ready.http_address = http->address();
  }
  if (!o.ready_file.empty())
    RETURN_IF_ERROR(WriteFileAtomically(Env::Real(), o.ready_file, ReadyJson(ready)));
  LogInfo("serving", {{"address", ready.address},
                      {"http", ready.http_address},
                      {"metrics", ready.metrics_address},
                      {"models", absl::StrJoin(ready.models, ",")},
                      {"tls", o.security.tls()},
                      {"asks_who_calls", access->asks()}});

  while (!WaitForShutdown(kIdlePoll)) waits.EndOverdue();
  LogInfo("draining", {{"signal", ShutdownSignal()},
                       {"calls", limit.at_work()},
                       {"http_requests", http == nullptr ? 0 : http->requests()},
                       {"grace_seconds", o.grace_seconds}});
  draining = true;
  predict.StartDraining();
  api.StartDraining();
  const absl::Duration deadline = Clock::Real()->Monotonic() + absl::Seconds(o.grace_seconds);
  server->GetHealthCheckService()->Shutdown();  // not ready for anybody who asks or watches
  // Connections are closed only when no answer is under way: one that is closed while its client
  // still sends is reset, and what the client has not read by then is lost.
  limit.StartDraining();
  while (limit.at_work() > 0 && Clock::Real()->Monotonic() < deadline) {
    waits.EndOverdue();
    Clock::Real()->Sleep(absl::Milliseconds(5));
  }
  if (http != nullptr && !http->Drain(deadline - Clock::Real()->Monotonic()))
    LogWarning("grace_over", {{"http_requests", http->requests()}});
  Clock::Real()->Sleep(kLastBytes);
  server->Shutdown(absl::ToChronoTime(Clock::Real()->Now() + kHangUp));
  server->Wait();
  http.reset();
  return Stopped(registry);
}

int Main(int argc, char** argv) {
  InstallShutdownHandlers();
  CommandLine app("Serves ternary models over gRPC and HTTP.");
  ServeOptions options;
  LogFlags log;
  AddServeFlags(&app, &options);
  AddCommonFlags(&app, &log);
  if (std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  InitLogging("inference", log.level, log.format);
  if (absl::Status valid = CheckServeOptions(options, std::getenv("TRITTER_KERNEL")); !valid.ok()) {
    std::fprintf(stderr, "%s\n", std::string(valid.message()).c_str());
    return kExitUsage;
  }
  if (absl::Status status = Serve(options); !status.ok()) {
    LogError("failed", {{"error", status.ToString()}});
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
