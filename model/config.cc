#include "model/config.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config_problems.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

// Bounds keep the count of parameters inside 64 bits, and its own bound keeps every number of bytes
// there.
struct Bound {
  const char* field;
  int64_t ModelConfig::* member;
  int64_t max;
};
constexpr Bound kBounds[] = {
    {"hidden", &ModelConfig::hidden, 1 << 20},   {"layers", &ModelConfig::layers, 4096},
    {"heads", &ModelConfig::heads, 4096},        {"kv_heads", &ModelConfig::kv_heads, 4096},
    {"head_dim", &ModelConfig::head_dim, 8192},  {"ffn", &ModelConfig::ffn, 1 << 22},
    {"context", &ModelConfig::context, 1 << 30},
};

constexpr int64_t kMaxParameters = int64_t{1} << 48;

class Problems {
 public:
  template <typename... Part>
  void Add(std::vector<std::string> fields, const Part&... parts) {
    found_.push_back({std::move(fields), absl::StrCat(parts...)});
  }
  bool empty() const { return found_.empty(); }
  std::vector<ConfigProblem> Take() { return std::move(found_); }

 private:
  std::vector<ConfigProblem> found_;
};

void CheckHeads(const ModelConfig& c, Problems* out) {
  if (c.heads % c.kv_heads != 0) {
    out->Add({"kv_heads", "heads"}, "kv_heads is ", c.kv_heads,
             ", expected a divisor of heads, which is ", c.heads);
  }
  if (!c.head_dim_given && c.hidden != c.heads * c.head_dim) {
    out->Add({"heads", "hidden", "head_dim"}, "heads ", c.heads, " times head_dim ", c.head_dim,
             " is ", c.heads * c.head_dim, ", expected hidden, which is ", c.hidden,
             " (give head_dim to have another inner width)");
  }
  if (c.head_dim % 2 != 0) {
    out->Add({"head_dim", "heads", "hidden"}, "head_dim is ", c.head_dim,
             ", expected an even number (rotary positions turn pairs)");
  }
}

void CheckAttention(const ModelConfig& c, Problems* out) {
  const bool windowed =
      c.attention == AttentionMode::kSlidingWindow || c.attention == AttentionMode::kSinks;
  if (windowed && c.window < 1) {
    out->Add({"window", "attention"}, "window is ", c.window,
             ", expected at least 1 with attention ", AttentionModeName(c.attention));
  }
  if (!windowed && c.window != 0) {
    out->Add({"window", "attention"}, "window is ", c.window, ", expected none with attention ",
             AttentionModeName(c.attention), " (sliding_window and sinks have one)");
  }
  if (c.attention == AttentionMode::kSinks && c.sinks < 1) {
    out->Add({"sinks", "attention"}, "sinks is ", c.sinks,
             ", expected at least 1 with attention sinks");
  }
  if (c.sinks > c.context) {
    out->Add({"sinks", "context"}, "sinks is ", c.sinks, ", expected at most context, which is ",
             c.context);
  }
  if (c.attention != AttentionMode::kSinks && c.sinks != 0) {
    out->Add({"sinks", "attention"}, "sinks is ", c.sinks, ", expected none with attention ",
             AttentionModeName(c.attention), " (attention: sinks has them)");
  }
  if (c.attention == AttentionMode::kPrefixLm && (c.prefix < 1 || c.prefix > c.context)) {
    out->Add({"prefix", "attention"}, "prefix is ", c.prefix, ", expected 1 to context, which is ",
             c.context, ", with attention prefix_lm");
  }
  if (c.attention != AttentionMode::kPrefixLm && c.prefix != 0) {
    out->Add({"prefix", "attention"}, "prefix is ", c.prefix, ", expected none with attention ",
             AttentionModeName(c.attention), " (attention: prefix_lm has one)");
  }
  if (windowed && c.window > c.context) {
    out->Add({"window", "context"}, "window is ", c.window, ", expected at most context, which is ",
             c.context);
  }
}

}  // namespace

std::vector<std::string> FamilyNames() { return {"tritter", "bitnet", "llama"}; }
const char* FamilyName(Family family) {
  switch (family) {
    case Family::kTritter:
      return "tritter";
    case Family::kBitnet:
      return "bitnet";
    case Family::kLlama:
      return "llama";
  }
  return "?";
}
absl::StatusOr<Family> FindFamily(absl::string_view name) {
  for (const Family family : {Family::kTritter, Family::kBitnet, Family::kLlama}) {
    if (name == FamilyName(family)) return family;
  }
  return absl::NotFoundError(
      absl::StrCat("family `", name, "`, expected ", absl::StrJoin(FamilyNames(), ", ")));
}
const char* NormKindName(NormKind norm) {
  return norm == NormKind::kRmsNorm ? "rmsnorm" : "layernorm";
}
const char* GranularityName(ScaleGranularity g) {
  return g == ScaleGranularity::kRow ? "row" : "tensor";
}
const char* WeightRuleName(WeightRule rule) {
  switch (rule) {
    case WeightRule::kAbsMean:
      return "absmean";
    case WeightRule::kThreshold:
      return "threshold";
    case WeightRule::kNone:
      return "none";
  }
  return "?";
}
const char* ActivationRuleName(ActivationRule rule) {
  return rule == ActivationRule::kInt8 ? "int8" : "none";
}
bool IsWindowOrCausal(AttentionMode mode) {
  return mode == AttentionMode::kCausal || mode == AttentionMode::kSlidingWindow ||
         mode == AttentionMode::kSinks;
}
const char* AttentionModeName(AttentionMode mode) {
  switch (mode) {
    case AttentionMode::kCausal:
      return "causal";
    case AttentionMode::kSlidingWindow:
      return "sliding_window";
    case AttentionMode::kSinks:
      return "sinks";
    case AttentionMode::kBidirectional:
      return "bidirectional";
    case AttentionMode::kPrefixLm:
      return "prefix_lm";
    case AttentionMode::kDocument:
      return "document";
    case AttentionMode::kEmbedding:
      return "embedding";
  }
  return "?";
}

void ApplyFamilyDefaults(Family family, ModelConfig* config) {
  config->family = family;
  config->tied_embeddings = family == Family::kBitnet;
  config->granularity =
      family == Family::kTritter ? ScaleGranularity::kRow : ScaleGranularity::kTensor;
}

std::vector<ConfigProblem> FindConfigProblems(const ModelConfig& c) {
  Problems out;
  for (const Bound& bound : kBounds) {
    const int64_t value = c.*bound.member;
    if (value < 1 || value > bound.max) {
      out.Add({bound.field}, bound.field, " is ", value, ", expected 1 to ", bound.max);
    }
  }
  if (c.vocab < kByteVocabulary || c.vocab > (1 << 24)) {
    out.Add({"vocab"}, "vocab is ", c.vocab, ", expected ", kByteVocabulary, " to ", 1 << 24,
            " (8 special ids and 256 bytes are the least)");
  }
  if (!(c.rope_theta > 1.0))
    out.Add({"rope_theta"}, "rope_theta is ", c.rope_theta, ", expected more than 1");
  if (!(c.norm_eps > 0.0 && c.norm_eps < 1.0)) {
    out.Add({"norm_eps"}, "norm_eps is ", c.norm_eps, ", expected more than 0 and less than 1");
  }
  if (!out.empty()) return out.Take();  // what follows divides by these
  if (const int64_t parameters = ParameterCount(c); parameters > kMaxParameters) {
    out.Add({"hidden", "layers", "heads", "head_dim", "ffn"}, "the model has ", parameters,
            " parameters, expected at most ", kMaxParameters,
            "; make hidden, layers, heads, head_dim or ffn smaller");
    return out.Take();
  }

  CheckHeads(c, &out);
  CheckAttention(c, &out);
  if (c.family != Family::kTritter && c.norm == NormKind::kLayerNorm) {
    out.Add({"norm", "family"}, "norm is layernorm, expected rmsnorm with family ",
            FamilyName(c.family));
  }
  if (c.lm_head_ternary && c.tied_embeddings) {
    out.Add({"lm_head", "tied_embeddings", "family"},
            "lm_head is ternary, expected full with tied embeddings (the head is the embedding, "
            "which stays in full precision)");
  }
  return out.Take();
}

absl::Status ValidateConfig(const ModelConfig& config) {
  const std::vector<ConfigProblem> problems = FindConfigProblems(config);
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "model: ", absl::StrJoin(problems, "; ", [](std::string* out, const ConfigProblem& p) {
        out->append(p.message);
      })));
}

absl::Status CheckTrainable(const ModelConfig& c) {
  if (c.family == Family::kLlama) {
    return absl::UnimplementedError(
        "family llama cannot be trained: it is served and converted; use family bitnet, whose "
        "blocks are the same but for squared ReLU and two norms more");
  }
  if (c.attention == AttentionMode::kBidirectional || c.attention == AttentionMode::kEmbedding) {
    return absl::UnimplementedError(
        absl::StrCat("attention ", AttentionModeName(c.attention),
                     " has no training objective yet; use attention causal"));
  }
  return absl::OkStatus();
}

absl::Status CheckPackable(const ModelConfig& c) {
  if (c.family != Family::kTritter && c.granularity == ScaleGranularity::kRow) {
    return absl::InvalidArgumentError(
        absl::StrCat("granularity row of family ", FamilyName(c.family),
                     " cannot be packed, expected tensor: other programs of this family compute "
                     "one scale a matrix"));
  }
  struct Limit {
    bool met;
    const char *key, *actual, *expected;
  };
  const Limit limits[] = {
      {IsWindowOrCausal(c.attention), "attention", AttentionModeName(c.attention),
       "causal, sliding_window or sinks"},
      {c.norm == NormKind::kRmsNorm, "norm", NormKindName(c.norm), "rmsnorm"},
      {c.weight_rule == WeightRule::kAbsMean, "weight_rule", WeightRuleName(c.weight_rule),
       "absmean"},
      {c.activations == ActivationRule::kInt8, "activations", ActivationRuleName(c.activations),
       "int8"},
      {!c.bias, "bias", "true", "false"},
      {!c.lm_head_ternary, "lm_head", "ternary", "full"},
  };
  for (const Limit& limit : limits) {
    if (limit.met) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(limit.key, " ", limit.actual, " cannot be packed, expected ", limit.expected));
  }
  return absl::OkStatus();
}

}  // namespace tritter
