// ModelConfig from and to YAML.
#include "model/config_yaml.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config.h"
#include "model/config_problems.h"
#include "model/yaml_text.h"

namespace tritter {
namespace {

constexpr char kFromPreset[] = "the preset's";

// What a mapping may say before and beside the plain fields.
struct Head {
  std::string preset;
  std::optional<Family> family;
};

const std::vector<YamlField<Head>>& HeadFields() {
  static const auto* fields = new std::vector<YamlField<Head>>{
      {"preset", absl::StrCat("one of ", absl::StrJoin(PresetNames(), ", ")),
       "none: then every size is given", "Sizes to start from; any field given beside it wins.",
       [](YamlMap* map, Head* out) { map->Get("preset", &out->preset); }},
      {"family", "one of tritter, bitnet, llama", "the preset's, else tritter",
       "Which network: `tritter` (QK-norm, FFN after the residual), `bitnet` (compatible with "
       "b1.58-2B-4T) or `llama` (SiLU, no norms but the two of a block; served and converted, not "
       "trained).",
       [](YamlMap* map, Head* out) {
         std::string name;
         const std::vector<std::string> names = FamilyNames();
         if (map->GetChoice("family", std::vector<absl::string_view>(names.begin(), names.end()),
                            &name)) {
           out->family = *FindFamily(name);
         }
       }},
  };
  return *fields;
}

const std::vector<YamlField<ModelConfig>>& Fields() {
  using C = ModelConfig;
  // Ranges are checked once, with everything else, by FindConfigProblems; here only the type.
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  const auto size = [=](std::string key, int64_t C::* member, std::string range,
                        std::string fallback, std::string meaning) {
    YamlField<C> field = IntegerField<C>(key, member, kMin, kNoLimit, fallback, meaning);
    field.type = "integer, " + range;
    return field;
  };
  static const auto* fields = new std::vector<YamlField<C>>{
      size("hidden", &C::hidden, "1 to 1048576", kFromPreset, "Width H of the residual stream."),
      size("layers", &C::layers, "1 to 4096", kFromPreset, "Number of blocks."),
      size("heads", &C::heads, "1 to 4096", kFromPreset,
           "Query heads N; hidden = heads · head_dim unless head_dim is given."),
      size("kv_heads", &C::kv_heads, "a divisor of heads", "the preset's, else heads",
           "Key/value heads K."),
      size("head_dim", &C::head_dim, "even, 2 to 8192", "hidden / heads", "Width D of one head."),
      size("ffn", &C::ffn, "1 to 4194304", kFromPreset,
           "Inner width I of the feed-forward network."),
      size("vocab", &C::vocab, "264 to 16777216", "the preset's, else 65536",
           "Vocabulary V; at least the tokenizer's."),
      size("context", &C::context, "1 to 1073741824", kFromPreset,
           "Positions the model is made for."),
      NumberField<C>("rope_theta", &C::rope_theta, -kNoBound, kNoBound, "500000.0",
                     "Base of the rotary position angles."),
      NumberField<C>("norm_eps", &C::norm_eps, -kNoBound, kNoBound, "1.0e-5",
                     "Added to the mean square in every norm."),
      EnumField<C>("norm", &C::norm, {"rmsnorm", "layernorm"}, "rmsnorm",
                   "Kind of every norm (layernorm has weight and bias)."),
      BooleanField<C>("tied_embeddings", &C::tied_embeddings, "false; true for family bitnet",
                      "The output head is the embedding."),
      BooleanField<C>("bias", &C::bias, "false", "Biases in the projections."),
      {"lm_head", "one of full, ternary", "full", "Type of the output head.",
       [](YamlMap* map, C* out) {
         std::string name;
         if (map->GetChoice("lm_head", {"full", "ternary"}, &name))
           out->lm_head_ternary = name == "ternary";
       }},
      EnumField<C>("attention", &C::attention,
                   {"causal", "sliding_window", "sinks", "bidirectional", "prefix_lm", "document",
                    "embedding"},
                   "causal",
                   "Which positions see each other: `document` keeps packed documents apart (each "
                   "ends with its eos, which predicts nothing); `bidirectional` and `embedding` "
                   "have no training objective yet."),
      size("window", &C::window, "1 to context", "none",
           "Positions a query sees back, itself included (sliding_window, sinks)."),
      size("sinks", &C::sinks, "at least 1", "none", "First positions that stay visible (sinks)."),
      size(
          "prefix", &C::prefix, "1 to training.sequence_length", "none",
          "First positions of a sequence that see each other in both directions; only what follows "
          "them is predicted (prefix_lm)."),
      EnumField<C>("weight_rule", &C::weight_rule, {"absmean", "threshold", "none"}, "absmean",
                   "How weights become ternary; `none` trains plain matrices in full precision, "
                   "the baseline to compare with."),
      EnumField<C>("granularity", &C::granularity, {"row", "tensor"},
                   "row; tensor for families bitnet and llama",
                   "One weight scale per output row or per matrix."),
      EnumField<C>("activations", &C::activations, {"int8", "none"}, "int8",
                   "Quantisation of what enters a ternary matrix."),
  };
  return *fields;
}

// Starts from the preset (and family) of the mapping; false when the preset does not exist.
bool StartFromHead(YamlMap* map, const Head& head, ModelConfig* config) {
  if (!head.preset.empty()) {
    absl::StatusOr<ModelConfig> preset = PresetConfig(head.preset);
    if (!preset.ok()) {
      map->Error("preset", absl::string_view(preset.status().message()));
      return false;
    }
    *config = *std::move(preset);
  } else if (!map->Has("preset")) {
    for (const char* key : {"hidden", "layers", "heads", "ffn", "context"}) {
      if (!map->Has(key)) {
        map->Error("", absl::StrCat("give a preset or every size: `", key, "` is missing"));
        return false;
      }
    }
  } else {
    return false;  // the reader has said that `preset` is no text
  }
  if (head.family.has_value() && *head.family != config->family)
    ApplyFamilyDefaults(*head.family, config);
  return true;
}

// A head dimension that nobody gave follows hidden and heads where those were given.
void DeriveHeadDim(YamlMap* map, ModelConfig* config) {
  if (!map->Has("kv_heads") && config->preset.empty()) config->kv_heads = config->heads;
  if (!map->Has("head_dim") && (map->Has("hidden") || map->Has("heads")) && config->heads > 0) {
    config->head_dim = config->hidden / config->heads;
  }
  config->head_dim_given =
      map->Has("head_dim") && config->hidden != config->heads * config->head_dim;
}

}  // namespace

ModelConfig ReadModelConfig(YamlMap map) {
  ModelConfig config;
  Head head;
  ReadYamlFields(HeadFields(), &map, &head);
  const bool started = StartFromHead(&map, head, &config);
  ReadYamlFields(Fields(), &map, &config);
  if (!started) return config;
  DeriveHeadDim(&map, &config);
  for (const ConfigProblem& problem : FindConfigProblems(config)) {
    std::string key = "";
    for (const std::string& field : problem.fields) {
      if (key.empty() && map.Has(field)) key = field;
    }
    map.Error(key, problem.message);
  }
  return config;
}

std::string ModelConfigToYaml(const ModelConfig& c, int indent) {
  const std::string pad(indent, ' ');
  std::string out;
  const auto line = [&](absl::string_view key, const absl::AlphaNum& value) {
    absl::StrAppend(&out, pad, key, ": ", value, "\n");
  };
  const auto boolean = [](bool b) { return b ? "true" : "false"; };
  if (!c.preset.empty()) line("preset", YamlQuoted(c.preset));
  line("family", FamilyName(c.family));
  line("hidden", c.hidden);
  line("layers", c.layers);
  line("heads", c.heads);
  line("kv_heads", c.kv_heads);
  line("head_dim", c.head_dim);
  line("ffn", c.ffn);
  line("vocab", c.vocab);
  line("context", c.context);
  line("rope_theta", YamlNumber(c.rope_theta));
  line("norm_eps", YamlNumber(c.norm_eps));
  line("norm", NormKindName(c.norm));
  line("tied_embeddings", boolean(c.tied_embeddings));
  line("bias", boolean(c.bias));
  line("lm_head", c.lm_head_ternary ? "ternary" : "full");
  line("attention", AttentionModeName(c.attention));
  if (c.window != 0) line("window", c.window);
  if (c.sinks != 0) line("sinks", c.sinks);
  if (c.prefix != 0) line("prefix", c.prefix);
  line("weight_rule", WeightRuleName(c.weight_rule));
  line("granularity", GranularityName(c.granularity));
  line("activations", ActivationRuleName(c.activations));
  return out;
}

std::vector<YamlKeyDoc> ModelConfigKeys() {
  std::vector<YamlKeyDoc> docs;
  AppendKeyDocs(HeadFields(), "", &docs);
  AppendKeyDocs(Fields(), "", &docs);
  return docs;
}

}  // namespace tritter
