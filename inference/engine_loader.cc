#include "inference/engine_loader.h"

#include "common/clock.h"
#include "common/env.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "inference/engine_metrics.h"
#include "model/tpack.h"

namespace tritter {

absl::StatusOr<ModelBytes> EngineLoader::Measure(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TpackFile> file, TpackFile::Open(Env::Real(), path));
  return ModelBytes{static_cast<int64_t>(file->file_bytes()), options_.engine.max_kv_bytes};
}

absl::StatusOr<std::unique_ptr<Engine>> EngineLoader::Load(const std::string& name,
                                                           const std::string& path) {
  const absl::Duration begin = Clock::Real()->Monotonic();
  ASSIGN_OR_RETURN(std::unique_ptr<TpackFile> file, TpackFile::Open(Env::Real(), path));
  if (options_.verify) RETURN_IF_ERROR(file->VerifyAll());
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                   Engine::Create(std::move(file), options_.engine));
  LogInfo("model_loaded", {{"model", name},
                           {"path", path},
                           {"parameters", ParameterCount(engine->model().config())},
                           {"kernel", engine->kernel().name},
                           {"cpu", CpuFeatures()},
                           {"threads", options_.engine.threads},
                           {"kv_pages", engine->limits().kv_pages},
                           {"seconds", absl::ToDoubleSeconds(Clock::Real()->Monotonic() - begin)}});
  return engine;
}

void EngineLoader::OnReady(const std::string& name, Engine* engine) {
  if (metrics_ == nullptr) return;
  engine->SetObserver(
      std::make_shared<EngineMetrics>(metrics_, name, engine->kernel().name, engine->limits()));
}

}  // namespace tritter
