// make_model: writes a random packed model of any shape.
//   make_model --out m.tpack --preset nano --seed 1
//   make_model --out m.tpack --hidden 2048 --layers 22 --heads 32 --kv-heads 4 --ffn 5632 --vocab
//   32000 --context 4096
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "common/env.h"
#include "model/config.h"
#include "tests/testing/random_model.h"

int main(int argc, char** argv) {
  std::string out, preset, family = "tritter";
  uint64_t seed = 1;
  int64_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0,
          context = 0;
  CLI::App app("Writes a random ternary model to a .tpack file.");
  app.add_option("--out", out, "file to write")->required();
  app.add_option("--preset", preset, "start from this preset; fields given beside it win");
  app.add_option("--family", family, "tritter or bitnet (without a preset)")
      ->check(CLI::IsMember({"tritter", "bitnet"}));
  app.add_option("--seed", seed, "same seed, same weights");
  app.add_option("--hidden", hidden);
  app.add_option("--layers", layers);
  app.add_option("--heads", heads);
  app.add_option("--kv-heads", kv_heads);
  app.add_option("--head-dim", head_dim);
  app.add_option("--ffn", ffn);
  app.add_option("--vocab", vocab);
  app.add_option("--context", context);
  CLI11_PARSE(app, argc, argv);

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
