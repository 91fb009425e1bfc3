#include "tests/fuzz/formats.h"

#include <memory>
#include <utility>

#include "common/env.h"
#include "common/status_macros.h"
#include "common/testing/memory_env.h"
#include "model/export.h"
#include "model/serving/open_model.h"
#include "tests/testing/random_model.h"

namespace tritter {
namespace {

ModelConfig Tiny(Family family, int64_t hidden) {
  ModelConfig c;
  ApplyFamilyDefaults(family, &c);
  c.hidden = hidden;
  c.layers = 1;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = hidden / 2;
  c.ffn = hidden;
  c.vocab = 264;
  c.context = 64;
  return c;
}

FuzzCase Case(const ModelConfig& config, const std::string& path, const ExportOptions& options,
              const std::string& mutated = "") {
  MemoryEnv env;
  FuzzCase out;
  out.opened = WriteRandomModel(&env, path, config, 1, options)->path;
  out.mutated = mutated.empty() ? path : JoinPath(path, mutated);
  if (env.IsDirectory(path)) {
    const std::vector<std::string> names = *env.ListDir(path);
    for (const std::string& name : names)
      out.files[JoinPath(path, name)] = *env.ReadFile(JoinPath(path, name));
  } else {
    out.files[path] = *env.ReadFile(path);
  }
  return out;
}

ExportOptions Format(const char* format) {
  ExportOptions options;
  options.format = format;
  return options;
}

FuzzFormat Gguf() {
  ExportOptions options = Format("gguf");
  FuzzFormat out{"gguf", {}};
  options.gguf = {GgufArchitecture::kBitnetB158, GgufType::kF16, GgufType::kF16};
  out.cases.push_back(Case(Tiny(Family::kBitnet, 8), "/m.gguf", options));
  options.gguf = {GgufArchitecture::kBitnet, GgufType::kTQ2_0, GgufType::kQ8_0};
  out.cases.push_back(Case(Tiny(Family::kBitnet, 256), "/m.gguf", options));
  options.gguf = {GgufArchitecture::kBitnet, GgufType::kTQ1_0, GgufType::kBF16};
  out.cases.push_back(Case(Tiny(Family::kBitnet, 256), "/m.gguf", options));
  options.gguf = {GgufArchitecture::kLlama, GgufType::kF16, GgufType::kF16};
  out.cases.push_back(Case(Tiny(Family::kLlama, 8), "/m.gguf", options));
  return out;
}

FuzzFormat HuggingFace(const std::string& name, const std::string& mutated, uint64_t shard_bytes) {
  FuzzFormat out{name, {}};
  for (const Family family : {Family::kTritter, Family::kBitnet, Family::kLlama}) {
    ExportOptions options = Format("hf");
    options.max_shard_bytes = shard_bytes;
    options.masters = family == Family::kTritter && shard_bytes != kDefaultMaxShardBytes;
    out.cases.push_back(Case(Tiny(family, 8), "/hf", options, mutated));
  }
  return out;
}

}  // namespace

std::vector<FuzzFormat> FuzzFormats() {
  FuzzFormat tpack{"tpack", {}}, safetensors{"safetensors", {}};
  for (const Family family : {Family::kTritter, Family::kBitnet}) {
    tpack.cases.push_back(Case(Tiny(family, 8), "/m.tpack", Format("tpack")));
    safetensors.cases.push_back(Case(Tiny(family, 8), "/m.safetensors", Format("safetensors")));
  }
  constexpr uint64_t kShards = 3000;
  return {std::move(tpack),
          std::move(safetensors),
          Gguf(),
          HuggingFace("hf_config", "config.json", kDefaultMaxShardBytes),
          HuggingFace("hf_weights", "model.safetensors", kDefaultMaxShardBytes),
          HuggingFace("hf_index", "model.safetensors.index.json", kShards)};
}

absl::Status ReadFuzzed(const FuzzCase& input, absl::string_view bytes) {
  MemoryEnv env;
  for (const auto& [path, content] : input.files) {
    RETURN_IF_ERROR(env.CreateDirs(Dirname(path)));
    ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, env.NewWritableFile(path));
    RETURN_IF_ERROR(file->Append(path == input.mutated ? bytes : absl::string_view(content)));
    RETURN_IF_ERROR(file->Close());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<PackedModelFile> model, OpenModel(&env, input.opened));
  return model->VerifyAll();
}

}  // namespace tritter
