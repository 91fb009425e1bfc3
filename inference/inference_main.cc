// tritter_inference: serves one packed model over gRPC. Wiring only.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/net.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "inference/engine.h"
#include "inference/engine_metrics.h"
#include "inference/inference_service.h"
#include "inference/serve_options.h"
#include "model/serving/open_model.h"
#include "model/text/open_tokenizer.h"
#include "monitoring/exposer.h"
#include "monitoring/registry.h"

namespace tritter {
namespace {

constexpr int kMaxRequestBytes = 16 << 20;  // a full context of token ids is far below

absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const ServeOptions& o, const std::string& path) {
  const absl::Duration begin = Clock::Real()->Monotonic();
  ASSIGN_OR_RETURN(std::unique_ptr<PackedModelFile> file, OpenModel(Env::Real(), path));
  if (o.verify) RETURN_IF_ERROR(file->VerifyAll());
  ASSIGN_OR_RETURN(const OpenedTokenizer tokenizer,
                   OpenTokenizer(Env::Real(), path, file->tokenizer_hash(), o.tokenizer));
  EngineOptions options;
  options.tokenizer = tokenizer.tokenizer;
  options.threads = o.threads > 0
                        ? o.threads
                        : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  options.max_kv_bytes = static_cast<int64_t>(o.max_kv_memory);
  options.max_queue = o.max_queue;
  options.scheduler.max_batch = o.max_batch;
  options.scheduler.prefill_chunk = o.prefill_chunk;
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(std::move(file), options));
  LogInfo("model_loaded", {{"path", path},
                           {"tokenizer", tokenizer.path.empty() ? "byte" : tokenizer.path},
                           {"parameters", ParameterCount(engine->model().config())},
                           {"kernel", engine->kernel().name},
                           {"cpu", CpuFeatures()},
                           {"threads", options.threads},
                           {"kv_pages", engine->limits().kv_pages},
                           {"seconds", absl::ToDoubleSeconds(Clock::Real()->Monotonic() - begin)}});
  return engine;
}

absl::StatusOr<std::unique_ptr<grpc::Server>> StartServer(const ServeOptions& o,
                                                          InferenceRpcService* service,
                                                          std::string* address) {
  ASSIGN_OR_RETURN(HostPort at, ParseHostPort(o.listen));
  RETURN_IF_ERROR(Annotate(CheckCanListen(at), "--listen"));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(o.listen, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT,
                             0);  // a second server on the port is an error, not a partner
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, o.max_streams);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  grpc::ResourceQuota quota("inference");
  quota.SetMaxThreads(o.max_streams + 16);  // health and reflection answer when every call is taken
  builder.SetResourceQuota(quota);
  builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", o.listen, "; is another process using the port?"));
  }
  at.port = port;
  *address = FormatHostPort(at);
  return server;
}

absl::Status Serve(const ServeOptions& o) {
  const ModelArgument model = ParseModelArgument(o.model);
  Registry registry("inference");  // outlives the engine, which reports to it
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, LoadEngine(o, model.path));
  engine->SetObserver(std::make_shared<EngineMetrics>(&registry, model.name, engine->kernel().name,
                                                      engine->limits()));
  InferenceRpcService service(engine.get(), {model.name, model.path}, o.max_streams, Clock::Real());
  ReadyReport ready;
  ready.model = model.name;
  ready.kernel = engine->kernel().name;
  ready.pid = getpid();
  ASSIGN_OR_RETURN(std::unique_ptr<grpc::Server> server, StartServer(o, &service, &ready.address));
  server->GetHealthCheckService()->SetServingStatus(v1::InferenceService::service_full_name(),
                                                    true);
  std::atomic<bool> draining{false};
  std::unique_ptr<Exposer> exposer;
  if (!o.metrics_listen.empty()) {
    const auto health = [&draining] {
      return draining ? absl::UnavailableError("draining") : absl::OkStatus();
    };
    ASSIGN_OR_RETURN(exposer, Exposer::Start(&registry, {o.metrics_listen, health}));
    ready.metrics_address = exposer->address();
  }
  if (!o.ready_file.empty())
    RETURN_IF_ERROR(WriteFileAtomically(Env::Real(), o.ready_file, ReadyJson(ready)));
  LogInfo("serving",
          {{"address", ready.address}, {"metrics", ready.metrics_address}, {"model", model.name}});

  WaitForShutdown();
  LogInfo("draining", {{"signal", ShutdownSignal()},
                       {"calls", service.calls()},
                       {"grace_seconds", o.grace_seconds}});
  draining = true;
  server->GetHealthCheckService()->Shutdown();  // not ready for anybody who asks or watches
  server->Shutdown(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(o.grace_seconds)));
  server->Wait();
  LogInfo("stopped", {{"generated_tokens", engine->stats().generated_tokens}});
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  InstallShutdownHandlers();
  CommandLine app("Serves a ternary model over gRPC.");
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
