#include "model/hf_format.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/short_text.h"
#include "common/status_macros.h"
#include "model/strict_json.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr std::pair<absl::string_view, absl::string_view> kLayerNames[] = {
    {"norm_in.", "input_layernorm."},      {"attn.q.", "self_attn.q_proj."},
    {"attn.k.", "self_attn.k_proj."},      {"attn.v.", "self_attn.v_proj."},
    {"attn.o.", "self_attn.o_proj."},      {"attn.q_norm.", "self_attn.q_norm."},
    {"attn.k_norm.", "self_attn.k_norm."}, {"attn.sub_norm.", "self_attn.attn_sub_norm."},
    {"ffn.gate.", "mlp.gate_proj."},       {"ffn.up.", "mlp.up_proj."},
    {"ffn.down.", "mlp.down_proj."},       {"ffn.sub_norm.", "mlp.ffn_sub_norm."},
};
constexpr std::pair<absl::string_view, absl::string_view> kOuterNames[] = {
    {"embed.", "model.embed_tokens."},
    {"norm.", "model.norm."},
    {"head.", "lm_head."},
};

// Fields of one JSON object; the first problem is kept.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  // A positive whole number.
  void Size(const char* key, bool required, int64_t* out) {
    const json* value = Find(key);
    if (value == nullptr) {
      if (required) Fail(absl::StatusCode::kDataLoss, key, "is missing");
    } else if (!value->is_number_unsigned() || value->get<uint64_t>() == 0 ||
               value->get<uint64_t>() > (uint64_t{1} << 40)) {
      Fail(absl::StatusCode::kDataLoss, key,
           absl::StrCat("is ", value->dump(), ", expected a whole number from 1"));
    } else {
      *out = static_cast<int64_t>(value->get<uint64_t>());
    }
  }
  void Number(const char* key, double* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_number()) {
      Fail(absl::StatusCode::kDataLoss, key,
           absl::StrCat("is ", value->dump(), ", expected a number"));
    } else {
      *out = value->get<double>();
    }
  }
  void Boolean(const char* key, bool* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) {
      Fail(absl::StatusCode::kDataLoss, key,
           absl::StrCat("is ", value->dump(), ", expected true or false"));
    } else {
      *out = value->get<bool>();
    }
  }
  // Must be `only` where it is given.
  void Only(const char* key, const json& only) {
    const json* value = Find(key);
    if (value == nullptr || *value == only) return;
    Fail(absl::StatusCode::kUnimplemented, key,
         absl::StrCat("is ", value->dump(), ", expected ", only.dump()));
  }
  void Fail(absl::StatusCode code, absl::string_view key, absl::string_view message) {
    if (status_.ok())
      status_ = absl::Status(code, absl::StrCat(where_, ": `", key, "` ", ShortText(message, 500)));
  }
  const absl::Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  const json& object_;
  const std::string where_;
  absl::Status status_;
};

// What `rope_scaling` says that is not plain RoPE, under the name it has there; "" where it does
// not.
std::string RopeScaling(const json& scaling) {
  for (const char* key : {"rope_type", "type"}) {
    const auto found = scaling.is_object() ? scaling.find(key) : scaling.end();
    if (scaling.is_object() && found != scaling.end() && found->is_string())
      return *found == "default" ? "" : found->get<std::string>();
  }
  return scaling.dump();
}

// rope_theta stands in the object itself (4.x), in rope_parameters (5.x), or in both.
absl::Status ReadRope(const json& root, Fields* fields, double* theta) {
  fields->Number("rope_theta", theta);
  if (const json* scaling = fields->Find("rope_scaling")) {
    if (const std::string type = RopeScaling(*scaling); !type.empty()) {
      fields->Fail(
          absl::StatusCode::kUnimplemented, "rope_scaling",
          absl::StrCat("is of type ", type,
                       ", which this engine does not compute; expected null (plain RoPE)"));
    }
  }
  if (const json* rope = fields->Find("rope_parameters")) {
    if (!rope->is_object())
      return absl::DataLossError(absl::StrCat(fields->where(), ": `rope_parameters` is no object"));
    Fields inner(*rope, fields->where() + ": `rope_parameters`");
    double given = *theta;
    inner.Number("rope_theta", &given);
    inner.Only("rope_type", "default");
    RETURN_IF_ERROR(inner.status());
    if (root.contains("rope_theta") && given != *theta) {
      return absl::DataLossError(absl::StrCat(fields->where(), ": `rope_theta` is ", *theta,
                                              ", `rope_parameters.rope_theta` is ", given));
    }
    *theta = given;
  }
  return absl::OkStatus();
}

const char* HiddenAct(const ModelConfig& c) {
  return c.ffn_activation() == FfnActivation::kSilu ? "silu" : "relu2";
}

// Of families bitnet and llama every matrix has one scale; a folder of family tritter says what it
// has.
absl::Status ReadQuantization(const Fields& root, HfWeights* weights, ModelConfig* model) {
  const json* config = root.Find("quantization_config");
  if (config == nullptr || !config->is_object()) {
    return absl::UnimplementedError(absl::StrCat(
        root.where(),
        ": `quantization_config` is missing: the transformers library runs this model with its "
        "float weights, which is another function than the ternary one; if the model was trained "
        "ternary, add {\"quant_method\": \"bitnet\", \"linear_class\": \"autobitlinear\", "
        "\"quantization_mode\": \"online\"}"));
  }
  Fields fields(*config, root.where() + ": `quantization_config`");
  fields.Only("quant_method", "bitnet");
  fields.Only("use_rms_norm", false);  // would be a second norm before every projection
  std::string linear_class = "bitlinear", mode = "offline";  // the library's defaults
  const auto word = [&](const char* key, std::string* out,
                        const std::pair<absl::string_view, absl::string_view>& choices) {
    const json* value = fields.Find(key);
    if (value == nullptr) return;
    const std::string text = value->is_string() ? value->get<std::string>() : value->dump();
    if (text != choices.first && text != choices.second) {
      fields.Fail(absl::StatusCode::kUnimplemented, key,
                  absl::StrCat("is ", text, ", expected ", choices.first, " or ", choices.second));
    }
    *out = text;
  };
  word("linear_class", &linear_class, {"bitlinear", "autobitlinear"});
  word("quantization_mode", &mode, {"offline", "online"});
  std::string granularity = GranularityName(model->granularity);
  if (model->family != Family::kTritter) {
    fields.Only("granularity", granularity);
  } else {
    word("granularity", &granularity, {"row", "tensor"});
  }
  model->granularity = granularity == "row" ? ScaleGranularity::kRow : ScaleGranularity::kTensor;
  if (const json* left = fields.Find("modules_to_not_convert")) {
    if (!left->is_array() || (left->size() > 0 && *left != json::array({"lm_head"}))) {
      fields.Fail(absl::StatusCode::kUnimplemented, "modules_to_not_convert",
                  absl::StrCat("is ", left->dump(), ", expected [\"lm_head\"]"));
    }
  }
  RETURN_IF_ERROR(fields.status());
  *weights = linear_class == "bitlinear" ? HfWeights::kPackedInverseScale
             : mode == "offline"         ? HfWeights::kPackedScale
                                         : HfWeights::kPlain;
  return absl::OkStatus();
}

}  // namespace

std::string HfTensorName(absl::string_view parameter, Family family) {
  if (absl::ConsumePrefix(&parameter, "layers.")) {
    const size_t dot = parameter.find('.');
    absl::string_view rest = parameter.substr(dot + 1);
    if (absl::ConsumePrefix(&rest, "norm_post.")) {
      return absl::StrCat(
          "model.layers.", parameter.substr(0, dot), ".",
          family == Family::kTritter ? "post_layernorm." : "post_attention_layernorm.", rest);
    }
    for (const auto& [ours, theirs] : kLayerNames) {
      if (absl::StartsWith(rest, ours)) {
        return absl::StrCat("model.layers.", parameter.substr(0, dot), ".", theirs,
                            rest.substr(ours.size()));
      }
    }
  }
  for (const auto& [ours, theirs] : kOuterNames) {
    if (absl::StartsWith(parameter, ours))
      return absl::StrCat(theirs, parameter.substr(ours.size()));
  }
  return std::string(parameter);
}

std::string HfScaleName(absl::string_view tensor) { return absl::StrCat(tensor, "_scale"); }

absl::Status CheckHfExpressible(const ModelConfig& c) {
  const auto refuse = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("the Hugging Face form has ", parts...,
                                                   "; export with format tpack or safetensors"));
  };
  if (c.family == Family::kBitnet && c.hidden != c.heads * c.head_dim) {
    return refuse("hidden = heads · head_dim only, the model has hidden ", c.hidden, ", heads ",
                  c.heads, " and head_dim ", c.head_dim);
  }
  if (c.norm != NormKind::kRmsNorm)
    return refuse("norm rmsnorm only, the model has ", NormKindName(c.norm));
  if (c.attention != AttentionMode::kCausal)
    return refuse("attention causal only, the model has ", AttentionModeName(c.attention));
  if (c.weight_rule != WeightRule::kAbsMean)
    return refuse("weight_rule absmean only, the model has ", WeightRuleName(c.weight_rule));
  if (c.activations != ActivationRule::kInt8)
    return refuse("activations int8 only, the model has ", ActivationRuleName(c.activations));
  if (c.bias) return refuse("no bias that is quantised, the model has bias");
  if (c.lm_head_ternary) return refuse("lm_head full only, the model has lm_head ternary");
  return absl::OkStatus();
}

std::string HfConfigText(const HfConfig& config) {
  const ModelConfig& c = config.model;
  nlohmann::ordered_json root;
  const bool llama = c.family == Family::kLlama;
  root["architectures"] = {llama                         ? "LlamaForCausalLM"
                           : c.family == Family::kBitnet ? "BitNetForCausalLM"
                                                         : "TritterForCausalLM"};
  root["model_type"] = FamilyName(c.family);
  root["vocab_size"] = c.vocab;
  root["hidden_size"] = c.hidden;
  root["intermediate_size"] = c.ffn;
  root["num_hidden_layers"] = c.layers;
  root["num_attention_heads"] = c.heads;
  root["num_key_value_heads"] = c.kv_heads;
  root["head_dim"] = c.head_dim;
  root["hidden_act"] = HiddenAct(c);
  root["max_position_embeddings"] = c.context;
  root["rms_norm_eps"] = c.norm_eps;
  root["rope_theta"] = c.rope_theta;
  root["rope_parameters"] = {{"rope_theta", c.rope_theta}, {"rope_type", "default"}};
  root["attention_bias"] = false;
  if (llama) root["mlp_bias"] = false;
  root["attention_dropout"] = 0.0;
  root["initializer_range"] = 0.02;
  root["tie_word_embeddings"] = c.tied_embeddings;
  root["use_cache"] = true;
  const auto id = [&](int32_t value) {
    return config.byte_tokenizer ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  };
  root["bos_token_id"] = id(kBosId);
  root["eos_token_id"] = id(kEosId);
  root["pad_token_id"] = id(kPadId);
  root["torch_dtype"] = "float32";
  const bool plain = config.weights == HfWeights::kPlain;
  root["quantization_config"] = {{"quant_method", "bitnet"},
                                 {"linear_class", "autobitlinear"},
                                 {"quantization_mode", plain ? "online" : "offline"},
                                 {"modules_to_not_convert", {"lm_head"}}};
  if (c.family == Family::kTritter)
    root["quantization_config"]["granularity"] = GranularityName(c.granularity);
  return root.dump(2) + "\n";
}

absl::StatusOr<HfConfig> ParseHfConfig(absl::string_view text, absl::string_view path) {
  ASSIGN_OR_RETURN(const json root, ParseStrictJson(text, path));
  if (!root.is_object()) return absl::DataLossError(absl::StrCat(path, ": expected a JSON object"));
  Fields fields(root, std::string(path));
  HfConfig out;
  ModelConfig& c = out.model;
  const json* type = fields.Find("model_type");
  const absl::StatusOr<Family> family =
      FindFamily(type != nullptr && type->is_string() ? type->get<std::string>() : "");
  if (!family.ok()) {
    return absl::UnimplementedError(absl::StrCat(
        path, ": `model_type` is ", type == nullptr ? "missing" : ShortText(type->dump()),
        ", expected ",
        absl::StrJoin(FamilyNames(), ", ", [](std::string* out, const std::string& name) {
          absl::StrAppend(out, "\"", name, "\"");
        })));
  }
  ApplyFamilyDefaults(*family, &c);
  c.tied_embeddings = false;  // the library's defaults
  if (c.family == Family::kLlama) {
    c.rope_theta = 10000;
    c.norm_eps = 1e-6;
  }
  fields.Size("vocab_size", true, &c.vocab);
  fields.Size("hidden_size", true, &c.hidden);
  fields.Size("intermediate_size", true, &c.ffn);
  fields.Size("num_hidden_layers", true, &c.layers);
  fields.Size("num_attention_heads", true, &c.heads);
  c.kv_heads = c.heads;
  fields.Size("num_key_value_heads", false, &c.kv_heads);
  fields.Size("max_position_embeddings", true, &c.context);
  if (c.heads > 0) c.head_dim = c.hidden / c.heads;
  fields.Size("head_dim", false, &c.head_dim);
  c.head_dim_given = c.family != Family::kBitnet && c.hidden != c.heads * c.head_dim;
  fields.Number("rms_norm_eps", &c.norm_eps);
  fields.Boolean("tie_word_embeddings", &c.tied_embeddings);
  fields.Only("hidden_act", HiddenAct(c));
  fields.Only("attention_bias", false);
  fields.Only("mlp_bias", false);
  RETURN_IF_ERROR(ReadRope(root, &fields, &c.rope_theta));
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(ReadQuantization(fields, &out.weights, &c));
  RETURN_IF_ERROR(Annotate(ValidateConfig(c), path));
  return out;
}

void HfPack(const int8_t* q, int64_t rows, int64_t cols, uint8_t* packed) {
  const int64_t quarter = rows / 4;
  for (int64_t p = 0; p < quarter; ++p) {
    for (int64_t c = 0; c < cols; ++c) {
      int byte = 0;
      for (int64_t i = 0; i < 4; ++i) byte |= (q[(p + i * quarter) * cols + c] + 1) << (2 * i);
      packed[p * cols + c] = static_cast<uint8_t>(byte);
    }
  }
}

bool HfUnpack(const uint8_t* packed, int64_t rows, int64_t cols, int8_t* q, int64_t* bad_byte) {
  const int64_t quarter = rows / 4;
  for (int64_t p = 0; p < quarter; ++p) {
    for (int64_t c = 0; c < cols; ++c) {
      const int byte = packed[p * cols + c];
      for (int64_t i = 0; i < 4; ++i) {
        const int code = (byte >> (2 * i)) & 3;
        if (code == 3) {
          *bad_byte = p * cols + c;
          return false;
        }
        q[(p + i * quarter) * cols + c] = static_cast<int8_t>(code - 1);
      }
    }
  }
  return true;
}

}  // namespace tritter
