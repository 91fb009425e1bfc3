// Configuration of a network: one type for all families (docs: specification of the model).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/yaml.h"

namespace tritter {

// kLlama is served, converted and exchanged, never trained here.
enum class Family { kTritter, kBitnet, kLlama };
// Of the gate in the FFN: relu(g)², or g / (1 + exp(-g)).
enum class FfnActivation { kSquaredRelu, kSilu };
enum class NormKind { kRmsNorm, kLayerNorm };
enum class AttentionMode {
  kCausal,
  kSlidingWindow,
  kSinks,
  kBidirectional,
  kPrefixLm,
  kDocument,
  kEmbedding
};
enum class ScaleGranularity { kRow, kTensor };
// kNone: plain full-precision matrices, the baseline that quantised training is compared with.
enum class WeightRule { kAbsMean, kThreshold, kNone };
enum class ActivationRule { kInt8, kNone };

// H hidden, N query heads, K key/value heads, D head dimension, I FFN inner width, V vocabulary.
struct ModelConfig {
  std::string preset;  // "" when every field was given
  Family family = Family::kTritter;
  int64_t hidden = 0;  // H
  int64_t layers = 0;
  int64_t heads = 0;     // N
  int64_t kv_heads = 0;  // K
  int64_t head_dim = 0;  // D
  // Then H = N·D is not asked for. After reading YAML it is true only where H differs from N·D.
  bool head_dim_given = false;
  int64_t ffn = 0;        // I
  int64_t vocab = 65536;  // V
  int64_t context = 0;    // positions
  double rope_theta = 500000.0;
  double norm_eps = 1e-5;
  NormKind norm = NormKind::kRmsNorm;
  bool tied_embeddings = false;
  bool bias = false;
  bool lm_head_ternary = false;
  AttentionMode attention = AttentionMode::kCausal;
  int64_t window = 0;  // sliding_window, sinks
  int64_t sinks = 0;
  int64_t prefix = 0;  // prefix_lm: positions that see each other both ways
  WeightRule weight_rule = WeightRule::kAbsMean;
  ScaleGranularity granularity = ScaleGranularity::kRow;
  ActivationRule activations = ActivationRule::kInt8;

  bool qk_norm() const { return family == Family::kTritter; }
  bool sub_norms() const { return family == Family::kBitnet; }
  bool ffn_pre_norm() const { return family != Family::kTritter; }
  FfnActivation ffn_activation() const {
    return family == Family::kLlama ? FfnActivation::kSilu : FfnActivation::kSquaredRelu;
  }
};

// What a family sets beside its structure: tied embeddings and the granularity of the weight
// scales. Keeps everything else.
void ApplyFamilyDefaults(Family family, ModelConfig* config);

std::vector<std::string> FamilyNames();
const char* FamilyName(Family family);  // "tritter", "bitnet", "llama"
// Errors: NotFound naming the families.
absl::StatusOr<Family> FindFamily(absl::string_view name);
const char* NormKindName(NormKind norm);            // "rmsnorm", "layernorm"
const char* AttentionModeName(AttentionMode mode);  // "causal", "sliding_window", …
// Causal, sliding_window and sinks: a rule of distance alone, for a text of any length.
bool IsWindowOrCausal(AttentionMode mode);
const char* GranularityName(ScaleGranularity g);      // "row", "tensor"
const char* WeightRuleName(WeightRule rule);          // "absmean", "threshold", "none"
const char* ActivationRuleName(ActivationRule rule);  // "int8", "none"

// Names of the built-in presets, in order of size; the table is data (model/presets.cc).
std::vector<std::string> PresetNames();
// Errors: NotFound with the nearest name.
absl::StatusOr<ModelConfig> PresetConfig(absl::string_view name);
// InvalidArgument naming the field, actual and expected value: N divisible by K, H = N·D unless
// head_dim is given, D even, V >= 264, sinks need a window, …
absl::Status ValidateConfig(const ModelConfig& config);
// Whether the packed form (.tpack) that the inference engine serves holds such a network. Errors:
// InvalidArgument naming the switch, its value and the expected one.
absl::Status CheckPackable(const ModelConfig& config);
// Whether the trainers have such a network. Errors: Unimplemented naming the key, its value and
// what to use instead.
absl::Status CheckTrainable(const ModelConfig& config);
// Reads a `model:` mapping (preset, family and any field; an explicit field always wins). Problems
// are added to the document at their key; the result is then meaningless.
ModelConfig ReadModelConfig(YamlMap map);
// Canonical YAML of every field, resolved; ReadModelConfig of it gives the same config back.
std::string ModelConfigToYaml(const ModelConfig& config, int indent);

// Number of parameters (embedding, blocks, norms, head), by the formula of the specification.
int64_t ParameterCount(const ModelConfig& config);

// Parameters that enter a matrix product for every token: ternary matrices and the head (the
// embedding, when tied).
int64_t MatrixParameterCount(const ModelConfig& config);

// One parameter of the network. Names are stable: checkpoints, optimiser groups and exports use
// them.
//   embed.weight [V, H]; layers.<i>.norm_in.weight [H]; layers.<i>.attn.{q,k,v,o}.weight;
//   layers.<i>.attn.{q_norm,k_norm}.weight [D]; layers.<i>.attn.sub_norm.weight;
//   layers.<i>.norm_post.weight [H]; layers.<i>.ffn.{gate,up,down}.weight;
//   layers.<i>.ffn.sub_norm.weight; norm.weight [H]; head.weight [V, H] (absent when tied)
// Biases of norms (norm: layernorm) are "<…>.bias" after their weight. Matrices that share one
// input (q, k, v; gate, up) stand together: their weights, then with weight_rule threshold their
// "<…>.scale" [out], then with bias: true their "<…>.bias" [out].
enum class ParameterKind { kEmbedding, kNorm, kBias, kTernary, kHead, kScale };
struct ParameterSpec {
  std::string name;
  std::vector<int64_t> shape;  // matrices are [out, in]
  ParameterKind kind;
};
// Every parameter in canonical order.
std::vector<ParameterSpec> ParameterTable(const ModelConfig& config);

}  // namespace tritter
