#include "inference/engine_loader.h"

#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "inference/cuda/device_plan.h"
#include "inference/engine_metrics.h"
#include "inference/streaming/load_model.h"
#include "model/serving/open_model.h"
#include "model/text/open_tokenizer.h"

namespace tritter {

absl::StatusOr<OpenedModel> EngineLoader::Open(const std::string& path) {
  const EngineOptions& engine = options_.engine;
  OpenedModel opened;
  opened.path = path;
  ASSIGN_OR_RETURN(opened.file, OpenModel(Env::Real(), path));
  ASSIGN_OR_RETURN(opened.plan, PlanLoad(*opened.file, engine.host_streaming()));
  const ModelConfig& config = opened.file->config();
  opened.bytes = {opened.plan.weight_bytes, engine.max_kv_bytes,
                  ActivationBytes(config, opened.plan, engine)};
  if (engine.forward != nullptr) {
    // A GPU has the KV cache in its own memory, and what is copied to it is here a second time.
    opened.bytes.weights += HostCopyBytes(config, engine.streaming);
    opened.bytes.kv_cache = 0;
  }
  return opened;
}

absl::StatusOr<LoadedModel> EngineLoader::Load(const std::string& name, OpenedModel opened) {
  const absl::Duration begin = Clock::Real()->Monotonic();
  const std::string& path = opened.path;
  // What is streamed is checked whenever it is read, and would not stay within its memory here.
  if (options_.verify && !opened.plan.streamed.has_value())
    RETURN_IF_ERROR(opened.file->VerifyAll());
  ASSIGN_OR_RETURN(
      const OpenedTokenizer tokenizer,
      OpenTokenizer(Env::Real(), path, opened.file->tokenizer_hash(), options_.tokenizer));
  EngineOptions options = options_.engine;
  options.tokenizer = tokenizer.tokenizer;
  LoadedModel loaded;
  ASSIGN_OR_RETURN(loaded.engine, Engine::Create(std::move(opened.file), opened.plan, options));
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
                           {"kernel", engine->kernel_name()},
                           {"cpu", CpuFeatures()},
                           {"threads", options_.engine.threads},
                           {"kv_pages", engine->limits().kv_pages},
                           {"seconds", absl::ToDoubleSeconds(Clock::Real()->Monotonic() - begin)}});
  const StreamStats stream = engine->stream_stats();
  if (options.forward != nullptr && stream.bytes_per_pass > 0) {
    LogInfo("layers_streamed",
            {{"path", path},
             {"max_weight_memory", options.streaming.max_weight_bytes},
             {"layers_at_a_time", options.streaming.layers},
             {"bytes_per_step", stream.bytes_per_pass},
             {"copy_mb_per_second", static_cast<int64_t>(stream.source_bytes_per_second / 1e6)},
             {"steps_per_second_at_most",
              absl::StrFormat("%.2f", stream.source_bytes_per_second /
                                          static_cast<double>(stream.bytes_per_pass))}});
  }
  return loaded;
}

void EngineLoader::OnReady(const std::string& name, Engine* engine) {
  if (metrics_ == nullptr) return;
  engine->SetObserver(
      std::make_shared<EngineMetrics>(metrics_, name, engine->kernel_name(), engine->limits()));
}

}  // namespace tritter
