// make_model: writes a random packed model of any shape.
//   make_model --out m.tpack --preset nano --seed 1
//   make_model --out m.tpack --hidden 2048 --layers 22 --heads 32 --kv-heads 4 --ffn 5632 --vocab
//   32000 --context 4096
#include <cstdio>
#include <iostream>
#include <string>

#include "common/env.h"
#include "common/flags.h"
#include "model/config.h"
#include "tests/testing/random_model.h"

int main(int argc, char** argv) {
  std::string out, preset, family = "tritter";
  uint64_t seed = 1;
  int64_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0,
          context = 0;
  tritter::CommandLine app("Writes a random ternary model to a .tpack file.");
  app.AddFlag("--out", &out, "file to write").Required();
  app.AddFlag("--preset", &preset, "start from this preset; fields given beside it win");
  app.AddFlag("--family", &family, "tritter or bitnet (without a preset)")
      .OneOf({"tritter", "bitnet"});
  app.AddFlag("--seed", &seed, "same seed, same weights");
  app.AddFlag("--hidden", &hidden, "");
  app.AddFlag("--layers", &layers, "");
  app.AddFlag("--heads", &heads, "");
  app.AddFlag("--kv-heads", &kv_heads, "");
  app.AddFlag("--head-dim", &head_dim, "");
  app.AddFlag("--ffn", &ffn, "");
  app.AddFlag("--vocab", &vocab, "");
  app.AddFlag("--context", &context, "");
  if (const std::optional<int> exit_code = tritter::ParseFlags(&app, argc, argv)) return *exit_code;

  tritter::ModelConfig config;
  if (!preset.empty()) {
    auto found = tritter::PresetConfig(preset);
    if (!found.ok()) {
      std::cerr << found.status().message() << "\n";
      return 2;
    }
    config = *found;
  } else if (family == "bitnet") {
    config.family = tritter::Family::kBitnet;
    config.granularity = tritter::ScaleGranularity::kTensor;
    config.tied_embeddings = true;
  }
  const auto set = [](int64_t given, int64_t* field) {
    if (given > 0) *field = given;
  };
  set(hidden, &config.hidden);
  set(layers, &config.layers);
  set(heads, &config.heads);
  set(kv_heads, &config.kv_heads);
  set(ffn, &config.ffn);
  set(vocab, &config.vocab);
  set(context, &config.context);
  config.head_dim_given = head_dim > 0;
  config.head_dim = head_dim > 0 ? head_dim : config.heads > 0 ? config.hidden / config.heads : 0;
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  const absl::Status status = tritter::WriteRandomModel(tritter::Env::Real(), out, config, seed);
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  std::cout << out << " " << tritter::ParameterCount(config) << " parameters\n";
  return 0;
}
