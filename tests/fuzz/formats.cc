#include "tests/fuzz/formats.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "common/env.h"
#include "common/status_macros.h"
#include "common/testing/memory_env.h"
#include "model/export.h"
#include "model/gguf/gguf_tokenizer.h"
#include "model/serving/open_model.h"
#include "model/text/bpe_tokenizer.h"
#include "model/text/testing/bpe_test_tokenizer.h"
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

absl::Status ReadModel(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<PackedModelFile> model, OpenModel(env, path));
  return model->VerifyAll();
}

FuzzCase Case(const ModelConfig& config, const std::string& path, const ExportOptions& options,
              const std::string& mutated = "") {
  MemoryEnv env;
  FuzzCase out;
  out.opened = WriteRandomModel(&env, path, config, 1, options)->path;
  out.mutated = mutated.empty() ? path : JoinPath(path, mutated);
  out.read = ReadModel;
  out.named = path;
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

absl::Status UseTokenizer(Env* env, const std::string& path) {
  TokenizerFiles files;
  if (absl::EndsWith(path, ".gguf")) {
    ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(env, path));
    ASSIGN_OR_RETURN(files, TokenizerOfGguf(*file));
  } else {
    ASSIGN_OR_RETURN(files, ReadTokenizerFiles(env, path));
  }
  ASSIGN_OR_RETURN(const TokenizerDefinition definition,
                   ParseTokenizerJson(files.definition, path));
  ASSIGN_OR_RETURN(TokenizerNames names, NamesOf(files, definition, path));
  const auto tokenizer = NewBpeTokenizer(definition, std::move(names.end_ids));
  RETURN_IF_ERROR(Annotate(tokenizer.status(), path));
  for (const char* text : {"", "hello world's 1234 <|end|>\r\n", "a\xff\xc3\xa9\xf0\x9f"}) {
    const absl::StatusOr<std::vector<int32_t>> ids = (*tokenizer)->EncodePrompt(text);
    RETURN_IF_ERROR(Annotate(ids.status(), path));
    (void)(*tokenizer)->Decode(*ids);
  }
  return absl::OkStatus();
}

FuzzCase TokenizerCase(const std::string& path, const std::string& bytes) {
  return {{{path, bytes}}, path, path, UseTokenizer, path};
}

FuzzFormat Tokenizers() {
  FuzzFormat out{"tokenizer", {}};
  const nlohmann::json plain = BpeTestTokenizer();
  out.cases.push_back(TokenizerCase("/tokenizer.json", plain.dump(1)));
  nlohmann::json split = plain;
  split["normalizer"] = {{"type", "NFC"}};
  split["pre_tokenizer"] = nlohmann::json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
       "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"}},
      {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": true, "use_regex": false}]})");
  split["post_processor"] = nlohmann::json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [266], "tokens": ["<|end|>"]}}})");
  out.cases.push_back(TokenizerCase("/tokenizer.json", split.dump()));
  return out;
}

FuzzFormat GgufTokenizers() {
  const TokenizerFiles files = {BpeTestTokenizer().dump(), R"({"bos_token": "<|end|>"})", "",
                                "{{ x }}"};
  FuzzFormat out{"gguf_tokenizer", {}};
  GgufMetadata metadata;
  (void)*AddTokenizer(files, 270, &metadata);
  MemoryEnv env;
  (void)*WriteGguf(&env, "/t.gguf", metadata, {});
  std::string bytes = *env.ReadFile("/t.gguf");
  // As others write it: without the whole tokenizer.json, so that it is made of the other keys.
  const std::string key = "tokenizer.huggingface.json";
  bytes.replace(bytes.find(key), key.size(), std::string(key.size(), 'x'));
  out.cases.push_back(TokenizerCase("/t.gguf", bytes));
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
  std::vector<FuzzFormat> formats = {
      std::move(tpack),
      std::move(safetensors),
      Gguf(),
      Tokenizers(),
      GgufTokenizers(),
      HuggingFace("hf_config", "config.json", kDefaultMaxShardBytes),
      HuggingFace("hf_weights", "model.safetensors", kDefaultMaxShardBytes),
      HuggingFace("hf_index", "model.safetensors.index.json", kShards)};
  for (FuzzFormat& format : TextFuzzFormats()) formats.push_back(std::move(format));
  return formats;
}

absl::Status ReadFuzzed(const FuzzCase& input, absl::string_view bytes) {
  MemoryEnv env;
  for (const auto& [path, content] : input.files) {
    RETURN_IF_ERROR(env.CreateDirs(Dirname(path)));
    ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, env.NewWritableFile(path));
    RETURN_IF_ERROR(file->Append(path == input.mutated ? bytes : absl::string_view(content)));
    RETURN_IF_ERROR(file->Close());
  }
  return input.read(&env, input.opened);
}

}  // namespace tritter
