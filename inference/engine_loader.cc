#include "inference/engine_loader.h"

#include "common/clock.h"
#include "common/env.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "inference/engine_metrics.h"
#include "kernels/packing.h"
#include "model/serving/open_model.h"
#include "model/text/open_tokenizer.h"
#include "model/tpack.h"

namespace tritter {

namespace {

// Of a model that is packed in memory: codes and scales of ternary matrices, the rest in F32.
int64_t PackedBytes(const ModelConfig& config) {
  int64_t bytes = 0;
  for (const ParameterSpec& p : ParameterTable(config)) {
    const int64_t rows = p.shape[0], cols = p.shape.size() == 2 ? p.shape[1] : 1;
    bytes +=
        p.kind == ParameterKind::kTernary ? TiledBytes(rows, cols) + 4 * rows : 4 * rows * cols;
  }
  return bytes;
}

}  // namespace

absl::StatusOr<ModelBytes> EngineLoader::Measure(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<PackedModelFile> file, OpenModel(Env::Real(), path));
  int64_t bytes = static_cast<int64_t>(file->file_bytes());
  // Other containers are mapped too while they are packed.
  if (dynamic_cast<const TpackFile*>(file.get()) == nullptr) bytes += PackedBytes(file->config());
  return ModelBytes{bytes, options_.engine.max_kv_bytes};
}

absl::StatusOr<LoadedModel> EngineLoader::Load(const std::string& name, const std::string& path) {
  const absl::Duration begin = Clock::Real()->Monotonic();
  ASSIGN_OR_RETURN(std::unique_ptr<PackedModelFile> file, OpenModel(Env::Real(), path));
  if (options_.verify) RETURN_IF_ERROR(file->VerifyAll());
  ASSIGN_OR_RETURN(const OpenedTokenizer tokenizer,
                   OpenTokenizer(Env::Real(), path, file->tokenizer_hash(), options_.tokenizer));
  EngineOptions options = options_.engine;
  options.tokenizer = tokenizer.tokenizer;
  LoadedModel loaded;
  ASSIGN_OR_RETURN(loaded.engine, Engine::Create(std::move(file), options));
  loaded.chat = ChatPrompts(tokenizer.chat_template, tokenizer.bos_token, tokenizer.eos_token);
  // A model without a template is one to complete with; one whose template is not understood is
  // worth a word.
  if (!tokenizer.chat_template.empty() && !loaded.chat.status().ok())
    LogWarning("no_chat", {{"model", name}, {"error", loaded.chat.status().ToString()}});
  const Engine* const engine = loaded.engine.get();
  LogInfo("model_loaded", {{"model", name},
                           {"path", path},
                           {"tokenizer", tokenizer.path.empty() ? "byte" : tokenizer.path},
                           {"chat", loaded.chat.status().ok()},
                           {"parameters", ParameterCount(engine->model().config())},
                           {"kernel", engine->kernel().name},
                           {"cpu", CpuFeatures()},
                           {"threads", options_.engine.threads},
                           {"kv_pages", engine->limits().kv_pages},
                           {"seconds", absl::ToDoubleSeconds(Clock::Real()->Monotonic() - begin)}});
  return loaded;
}

void EngineLoader::OnReady(const std::string& name, Engine* engine) {
  if (metrics_ == nullptr) return;
  engine->SetObserver(
      std::make_shared<EngineMetrics>(metrics_, name, engine->kernel().name, engine->limits()));
}

}  // namespace tritter
