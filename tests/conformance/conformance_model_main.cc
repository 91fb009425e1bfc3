// The two ends of tests/conformance/hf_{bitnet,llama}.py that are ours: random weights, and the
// numbers that docs/numerics.md defines, from a .tpack.
//   conformance_model random --out random.safetensors --hidden 96 …
//   conformance_model forward --model m.tpack --tokens ids.safetensors --out numbers.safetensors
// Tokens are the tensor `tokens` (I64); `layer_inputs.<i>` [T, H] beside it are what other layers
// computed. Written: `logits` [T, V] and, for each layer input given, `layer_outputs.<i>`.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "inference/testing/reference_model.h"
#include "model/export.h"
#include "model/safetensors.h"
#include "model/testing/random_weights.h"
#include "model/tokenizer.h"
#include "model/tpack.h"

namespace tritter {
namespace {

// Logits of a deviation of a quarter: where they are wide, what int8 leaves open is far larger than
// what perplexity is compared to, and chance decides.
constexpr float kLastNorm = 0.25f;

using Rows = std::vector<std::vector<float>>;

std::vector<float> Flat(const Rows& rows) {
  std::vector<float> out;
  for (const std::vector<float>& row : rows) out.insert(out.end(), row.begin(), row.end());
  return out;
}

absl::StatusOr<Rows> ReadRows(const TensorView& view, int64_t width) {
  if (view.dtype != DType::kF32 || view.shape.size() != 2 || view.shape[1] != width)
    return absl::InvalidArgumentError(
        absl::StrCat("layer inputs: expected F32 [tokens, ", width, "]"));
  Rows rows(view.shape[0], std::vector<float>(width));
  for (int64_t t = 0; t < view.shape[0]; ++t)
    std::memcpy(rows[t].data(), view.bytes.data() + t * width * 4, width * 4);
  return rows;
}

absl::Status Forward(const std::string& model, const std::string& input, const std::string& output,
                     bool quantise_activations) {
  Env* env = Env::Real();
  ASSIGN_OR_RETURN(const std::unique_ptr<TpackFile> file, TpackFile::Open(env, model));
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> in, SafetensorsFile::Open(env, input));
  ASSIGN_OR_RETURN(const TensorView ids, in->Get("tokens"));
  if (ids.dtype != DType::kI64 || ids.shape.size() != 1)
    return absl::InvalidArgumentError("tokens: expected I64 [tokens]");
  std::vector<int64_t> wide(ids.shape[0]);
  std::memcpy(wide.data(), ids.bytes.data(), ids.bytes.size());
  const std::vector<int32_t> tokens(wide.begin(), wide.end());
  const ModelConfig& config = file->config();
  for (const int32_t id : tokens) {
    if (id < 0 || id >= config.vocab)
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " is not below ", config.vocab));
  }
  ReferenceModel reference(file.get(), quantise_activations);
  std::vector<std::vector<float>> values;  // of the tensors below
  std::vector<TensorToWrite> tensors;
  const auto add = [&](const std::string& name, const Rows& rows) {
    tensors.push_back({name,
                       DType::kF32,
                       {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())},
                       {}});
    values.push_back(Flat(rows));
  };
  add("logits", reference.Logits(tokens));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const absl::StatusOr<TensorView> given = in->Get(absl::StrCat("layer_inputs.", layer));
    if (!given.ok()) continue;
    ASSIGN_OR_RETURN(Rows rows, ReadRows(*given, config.hidden));
    reference.Layer(layer, &rows);
    add(absl::StrCat("layer_outputs.", layer), rows);
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].bytes = {reinterpret_cast<const uint8_t*>(values[i].data()),
                        values[i].size() * sizeof(float)};
  }
  return WriteSafetensors(env, output, tensors, {}).status();
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  using namespace tritter;  // NOLINT: a test's main
  CommandLine app("Random weights and reference numbers for comparisons with other programs.");
  app.RequireCommand();
  absl::Status status;
  ModelConfig config;
  config.hidden = 96, config.layers = 4, config.heads = 6, config.kv_heads = 2;
  config.ffn = 160, config.vocab = kByteVocabulary, config.context = 512;
  std::string out, model, tokens, family = FamilyName(Family::kBitnet);
  uint64_t seed = 1;
  bool untied = false, float_activations = false;
  CommandLine* random = app.AddCommand("random", "write random weights as safetensors");
  random->AddFlag("--out", &out, "file to write").Required();
  random->AddFlag("--seed", &seed, "same seed, same weights");
  random->AddFlag("--hidden", &config.hidden, "");
  random->AddFlag("--layers", &config.layers, "");
  random->AddFlag("--heads", &config.heads, "");
  random->AddFlag("--kv-heads", &config.kv_heads, "");
  random->AddFlag("--ffn", &config.ffn, "");
  random->AddFlag("--vocab", &config.vocab, "");
  random->AddFlag("--rope-theta", &config.rope_theta, "");
  random->AddFlag("--family", &family, "").OneOf(FamilyNames());
  random->AddFlag("--untied", &untied, "with an output head of its own");
  random->OnCall([&] {
    ApplyFamilyDefaults(*FindFamily(family), &config);
    config.head_dim = config.hidden / config.heads;
    config.tied_embeddings = !untied;
    status = ValidateConfig(config);
    ExportOptions options;
    options.format = "safetensors";
    RandomWeights weights(config, seed, kLastNorm);
    if (status.ok()) status = ExportWeights(Env::Real(), &weights, out, options).status();
  });
  CommandLine* forward = app.AddCommand("forward", "write logits and layer outputs");
  forward->AddFlag("--model", &model, "a .tpack").Required();
  forward->AddFlag("--tokens", &tokens, "safetensors with what to compute").Required();
  forward->AddFlag("--out", &out, "file to write").Required();
  forward->AddFlag("--float-activations", &float_activations,
                   "leave the activation quantiser out, as no server does");
  forward->OnCall([&] { status = Forward(model, tokens, out, !float_activations); });
  if (const std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}
