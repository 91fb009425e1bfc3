// make_model: writes a random ternary model of any shape, the same weights in every form.
//   make_model --out m.tpack --preset nano --seed 1
//   make_model --out m.gguf --format gguf --preset 1.1B --family bitnet --architecture bitnet
//   make_model --out folder --format hf --hidden 2048 --layers 22 --heads 32 --kv-heads 4 --ffn
//   5632
//   --vocab 32000 --context 4096
#include <cstdio>
#include <iostream>
#include <string>

#include "common/env.h"
#include "common/flags.h"
#include "model/config.h"
#include "tests/testing/random_model.h"

namespace tritter {
namespace {

struct Arguments {
  std::string out, preset, family, architecture, type = "tq2_0", embeddings = "f16";
  uint64_t seed = 1;
  int64_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0,
          context = 0;
  bool tied = false, untied = false;
  ExportOptions options;
};

absl::StatusOr<ModelConfig> Config(const Arguments& a) {
  ModelConfig config;
  if (!a.preset.empty()) {
    auto found = RandomModelPreset(a.preset);
    if (!found.ok()) return found.status();
    config = *found;
  }
  if (!a.family.empty()) ApplyFamilyDefaults(*FindFamily(a.family), &config);
  const auto set = [](int64_t given, int64_t* field) {
    if (given > 0) *field = given;
  };
  set(a.hidden, &config.hidden);
  set(a.layers, &config.layers);
  set(a.heads, &config.heads);
  set(a.kv_heads, &config.kv_heads);
  set(a.ffn, &config.ffn);
  set(a.vocab, &config.vocab);
  set(a.context, &config.context);
  config.head_dim_given = a.head_dim > 0;
  config.head_dim = a.head_dim > 0     ? a.head_dim
                    : config.heads > 0 ? config.hidden / config.heads
                                       : 0;
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  if (a.tied || a.untied) config.tied_embeddings = a.tied;
  return config;
}

int Main(int argc, char** argv) {
  Arguments a;
  CommandLine app("Writes a random ternary model.");
  app.AddFlag("--out", &a.out, "file to write; of format hf the new folder").Required();
  app.AddFlag("--format", &a.options.format, "tpack, hf or gguf").OneOf({"tpack", "hf", "gguf"});
  app.AddFlag("--preset", &a.preset,
              "start from this preset of the product, or 1.1B; fields given beside it win");
  app.AddFlag("--family", &a.family, "without it that of the preset").OneOf(FamilyNames());
  app.AddFlag("--tied", &a.tied, "the head is the embedding; family bitnet unless told");
  app.AddFlag("--untied", &a.untied, "with a head of its own");
  app.AddFlag("--seed", &a.seed, "same seed, same weights");
  app.AddFlag("--hidden", &a.hidden, "");
  app.AddFlag("--layers", &a.layers, "");
  app.AddFlag("--heads", &a.heads, "");
  app.AddFlag("--kv-heads", &a.kv_heads, "");
  app.AddFlag("--head-dim", &a.head_dim, "");
  app.AddFlag("--ffn", &a.ffn, "");
  app.AddFlag("--vocab", &a.vocab, "");
  app.AddFlag("--context", &a.context, "");
  app.AddFlag("--architecture", &a.architecture,
              "format gguf, family bitnet: see docs/formats/gguf.md; bitnet-b1.58 unless given")
      .OneOf({"bitnet-b1.58", "bitnet"});
  const std::vector<std::string> types = {"f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0"};
  app.AddFlag("--type", &a.type, "format gguf: type of the ternary matrices").OneOf(types);
  app.AddFlag("--embeddings", &a.embeddings, "format gguf: type of embedding and head")
      .OneOf({"f32", "f16", "bf16", "q8_0"});
  if (const std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
  const absl::StatusOr<ModelConfig> config = Config(a);
  if (!config.ok()) {
    std::cerr << config.status().message() << "\n";
    return 2;
  }
  a.options.gguf = {{}, FindGgufType(a.type)->type, FindGgufType(a.embeddings)->type};
  if (a.architecture == "bitnet") a.options.gguf.architecture = GgufArchitecture::kBitnet;
  const absl::StatusOr<ExportResult> result =
      WriteRandomModel(Env::Real(), a.out, *config, a.seed, a.options);
  if (!result.ok()) {
    std::cerr << result.status().message() << "\n";
    return 1;
  }
  std::cout << a.out << " " << ParameterCount(*config) << " parameters, " << result->bytes
            << " bytes\n";
  for (const std::string& loss : result->losses) std::cout << loss << "\n";
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
