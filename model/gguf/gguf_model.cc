#include "model/gguf/gguf_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/gguf/gguf_tokenizer.h"
#include "model/hf_text.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

constexpr std::pair<absl::string_view, absl::string_view> kLayerNames[] = {
    {"norm_in.", "attn_norm."},
    {"attn.q.", "attn_q."},
    {"attn.k.", "attn_k."},
    {"attn.v.", "attn_v."},
    {"attn.o.", "attn_output."},
    {"attn.sub_norm.", "attn_sub_norm."},
    {"norm_post.", "ffn_norm."},
    {"ffn.gate.", "ffn_gate."},
    {"ffn.up.", "ffn_up."},
    {"ffn.down.", "ffn_down."},
    {"ffn.sub_norm.", "ffn_sub_norm."},
};
constexpr std::pair<absl::string_view, absl::string_view> kOuterNames[] = {
    {"embed.", "token_embd."}, {"norm.", "output_norm."}, {"head.", "output."}};

// Keys of our own.
constexpr char kRunId[] = "tritter.run_id", kStep[] = "tritter.step",
               kWeights[] = "tritter.weights", kCheckpointHash[] = "tritter.checkpoint_hash",
               kTokenizerHash[] = "tritter.tokenizer_hash",
               kFfnActivation[] = "tritter.ffn_activation";
constexpr char kSquaredRelu[] = "relu2", kSilu[] = "silu";

// Values of general.file_type.
uint32_t FileType(GgufType matrices) {
  switch (matrices) {
    case GgufType::kF32:
      return 0;
    case GgufType::kF16:
      return 1;
    case GgufType::kQ8_0:
      return 7;
    case GgufType::kBF16:
      return 32;
    case GgufType::kTQ1_0:
      return 36;
    case GgufType::kTQ2_0:
      return 37;
  }
  return 0;
}

// The byte tokenizer as a BPE without merges over the characters that stand for bytes: any text
// falls into bytes, byte b is id 8 + b.
void AddByteTokenizer(int64_t vocab, GgufMetadata* out) {
  constexpr int32_t kNormal = 1, kControl = 3, kUnused = 5;
  std::vector<std::string> tokens = HfByteTokens();
  std::vector<int32_t> types(tokens.size(), kNormal);
  std::fill_n(types.begin(), kFirstByteId, kControl);
  for (int64_t id = kByteVocabulary; id < vocab; ++id) {
    tokens.push_back(absl::StrCat("<unused", id, ">"));
    types.push_back(kUnused);
  }
  out->Text("tokenizer.ggml.model", "gpt2");
  out->Text("tokenizer.ggml.pre", "gpt-2");
  out->Texts("tokenizer.ggml.tokens", tokens);
  out->I32s("tokenizer.ggml.token_type", types);
  out->Texts("tokenizer.ggml.merges", {});
  out->U32("tokenizer.ggml.bos_token_id", kBosId);
  out->U32("tokenizer.ggml.eos_token_id", kEosId);
  out->U32("tokenizer.ggml.unknown_token_id", kUnkId);
  out->U32("tokenizer.ggml.padding_token_id", kPadId);
  out->Bool("tokenizer.ggml.add_bos_token", false);
  out->Bool("tokenizer.ggml.add_eos_token", false);
}

// The shortest decimal of a number that the file keeps in F32: 1e-5 and not 9.99999975e-06.
absl::StatusOr<double> Decimal(const GgufFile& file, const std::string& key) {
  ASSIGN_OR_RETURN(const double given, file.Number(key));
  double decimal = 0;
  const float single = static_cast<float>(given);
  for (int digits = 6; digits <= 9; ++digits) {
    if (absl::SimpleAtod(absl::StrFormat("%.*g", digits, single), &decimal) &&
        static_cast<float>(decimal) == single)
      return decimal;
  }
  return given;
}

// Reads sizes and refuses what is there and means something else; the first problem is kept.
class Keys {
 public:
  Keys(const GgufFile& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  std::string Key(absl::string_view name) const { return absl::StrCat(architecture_, ".", name); }
  void Size(absl::string_view name, bool required, int64_t* out) {
    const std::string key = Key(name);
    if (!required && !file_.Has(key)) return;
    const absl::StatusOr<int64_t> value = file_.Integer(key);
    if (!value.ok()) {
      Fail(value.status());
    } else if (*value < 1) {
      Fail(absl::DataLossError(absl::StrCat(file_.path(), ": metadata `", key, "` is ", *value,
                                            ", expected a whole number from 1")));
    } else {
      *out = *value;
    }
  }
  void Number(absl::string_view name, bool required, double* out) {
    const std::string key = Key(name);
    if (!required && !file_.Has(key)) return;
    const absl::StatusOr<double> value = Decimal(file_, key);
    value.ok() ? void(*out = *value) : Fail(value.status());
  }
  // Must be `only` where it is given.
  void Only(absl::string_view name, double only) {
    const std::string key = Key(name);
    if (!file_.Has(key)) return;
    const absl::StatusOr<double> value = file_.Number(key);
    if (!value.ok()) {
      Fail(value.status());
    } else if (*value != only) {
      Fail(absl::UnimplementedError(
          absl::StrCat(file_.path(), ": metadata `", key, "` is ", *value, ", expected ", only)));
    }
  }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const absl::Status& status() const { return status_; }

 private:
  const GgufFile& file_;
  const std::string architecture_;
  absl::Status status_;
};

absl::StatusOr<Family> FamilyOf(const GgufFile& file, const std::string& architecture) {
  if (architecture == GgufArchitectureName(GgufArchitecture::kLlama)) return Family::kLlama;
  if (architecture == GgufArchitectureName(GgufArchitecture::kBitnetB158) ||
      architecture == "bitnet-25")
    return Family::kBitnet;
  const bool bitnet = architecture == GgufArchitectureName(GgufArchitecture::kBitnet);
  if (bitnet && file.Has(kFfnActivation)) {
    ASSIGN_OR_RETURN(const std::string activation, file.Text(kFfnActivation));
    if (activation == kSquaredRelu) return Family::kBitnet;
  }
  return absl::UnimplementedError(absl::StrCat(
      file.path(), ": metadata `general.architecture` is ", architecture,
      bitnet ? ", whose FFN applies SiLU between sub-norms where `tritter.ffn_activation` does not "
               "say relu2"
             : "",
      "; expected llama, bitnet-b1.58, bitnet-25, or a file of ours"));
}

// What architecture llama may say beside the sizes and changes the numbers.
absl::Status CheckLlama(const GgufFile& file) {
  std::string scaling = "none";
  if (file.Has("llama.rope.scaling.type")) {
    ASSIGN_OR_RETURN(scaling, file.Text("llama.rope.scaling.type"));
  }
  if (scaling != "none" && scaling != "linear") {  // linear has a factor, which is read
    return absl::UnimplementedError(absl::StrCat(
        file.path(), ": metadata `llama.rope.scaling.type` is ", scaling, ", expected none"));
  }
  if (file.Find("rope_freqs.weight") != nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        file.path(),
        ": tensor `rope_freqs.weight` is there: RoPE is scaled as of rope_type llama3, which this "
        "engine does not compute; expected plain RoPE"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TextOr(const GgufFile& file, const std::string& key,
                                   absl::string_view otherwise) {
  if (!file.Has(key)) return std::string(otherwise);
  return file.Text(key);
}

// Of the tokenizer that the file holds; of one that cannot be run all that the file says of it.
std::string TokenizerHash(const GgufFile& file) {
  if (const absl::StatusOr<TokenizerFiles> files = TokenizerOfGguf(file); files.ok())
    return HashOfTokenizerJson(files->definition);
  Sha256Hasher hasher;
  for (const auto& [key, value] : file.metadata()) {
    if (!absl::StartsWith(key, "tokenizer.")) continue;
    hasher.Update(key);
    hasher.Update(
        absl::string_view(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()));
  }
  return Hex(hasher.Finish());
}

absl::Status ReadOrigin(const GgufFile& file, WeightOrigin* origin) {
  ASSIGN_OR_RETURN(origin->run_id, TextOr(file, kRunId, "imported"));
  ASSIGN_OR_RETURN(origin->weights, TextOr(file, kWeights, "raw"));
  ASSIGN_OR_RETURN(origin->checkpoint_hash, TextOr(file, kCheckpointHash, ""));
  if (file.Has(kStep)) {
    ASSIGN_OR_RETURN(origin->step, file.Integer(kStep));
  }
  if (!file.Has(kTokenizerHash)) {
    origin->tokenizer_hash = TokenizerHash(file);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(origin->tokenizer_hash, file.Text(kTokenizerHash));
  return absl::OkStatus();
}

}  // namespace

const char* GgufArchitectureName(GgufArchitecture architecture) {
  switch (architecture) {
    case GgufArchitecture::kBitnetB158:
      return "bitnet-b1.58";
    case GgufArchitecture::kBitnet:
      return "bitnet";
    case GgufArchitecture::kLlama:
      return "llama";
  }
  return "?";
}

GgufArchitecture GgufArchitectureOf(const ModelConfig& config, const GgufOptions& options) {
  return options.architecture.value_or(
      config.family == Family::kLlama ? GgufArchitecture::kLlama : GgufArchitecture::kBitnetB158);
}

int64_t RowOfGguf(const ModelConfig& c, absl::string_view parameter, int64_t row) {
  if (c.family != Family::kLlama || (!absl::EndsWith(parameter, ".attn.q.weight") &&
                                     !absl::EndsWith(parameter, ".attn.k.weight")))
    return row;
  const int64_t in_head = row % c.head_dim;
  return row - in_head + in_head % 2 * (c.head_dim / 2) + in_head / 2;
}

absl::Status CheckGgufExpressible(const ModelConfig& c, const GgufOptions& options) {
  const auto refuse = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(parts..., "; write tpack or hf instead"));
  };
  if (c.family == Family::kTritter) {
    return refuse(
        "family tritter has no architecture in llama.cpp: its qk_norm, its norm_post after the FFN "
        "and its squared ReLU are in none of them together (llama: no qk_norm, norm before the "
        "FFN, SiLU)");
  }
  const GgufArchitecture architecture = GgufArchitectureOf(c, options);
  const char* const name = GgufArchitectureName(architecture);
  if (c.attention != AttentionMode::kCausal) {
    return absl::InvalidArgumentError(
        absl::StrCat("architecture ", name, " has attention causal only, the model has ",
                     AttentionModeName(c.attention), "; write tpack instead"));
  }
  const bool llama = c.family == Family::kLlama;
  if (llama != (architecture == GgufArchitecture::kLlama)) {
    return absl::InvalidArgumentError(absl::StrCat("architecture ", name, " is not for family ",
                                                   FamilyName(c.family), ", expected ",
                                                   llama ? "llama" : "bitnet-b1.58 or bitnet"));
  }
  if (!llama && c.hidden != c.heads * c.head_dim) {
    return refuse("architecture ", name, " has hidden = heads · head_dim, the model has hidden ",
                  c.hidden, ", heads ", c.heads, " and head_dim ", c.head_dim);
  }
  if (architecture == GgufArchitecture::kBitnet && !c.tied_embeddings) {
    return refuse(
        "architecture bitnet has tied_embeddings only, the model has a head of its own; "
        "bitnet-b1.58 has either");
  }
  const std::pair<GgufType, std::pair<const char*, int64_t>> rows[] = {
      {options.matrices, {"hidden", c.hidden}},
      {options.matrices, {"ffn", c.ffn}},
      {options.matrices, {"heads · head_dim", c.heads * c.head_dim}},
      {options.embeddings, {"hidden", c.hidden}}};
  for (const auto& [type, size] : rows) {
    const GgufTypeInfo& info = InfoOf(type);
    if (size.second % info.block_values == 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("type ", info.name, " has rows of whole blocks of ", info.block_values,
                     " values, ", size.first, " is ", size.second, "; write F16 or F32 instead"));
  }
  return absl::OkStatus();
}

std::string GgufTensorName(absl::string_view parameter) {
  if (absl::ConsumePrefix(&parameter, "layers.")) {
    const size_t dot = parameter.find('.');
    const absl::string_view rest = parameter.substr(dot + 1);
    for (const auto& [ours, theirs] : kLayerNames) {
      if (absl::StartsWith(rest, ours)) {
        return absl::StrCat("blk.", parameter.substr(0, dot), ".", theirs,
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

std::string GgufScaleName(absl::string_view tensor) {
  return absl::StrCat(absl::StripSuffix(tensor, "weight"), "scale");
}

GgufMetadata MetadataOf(const ModelConfig& c, const WeightOrigin& origin,
                        const GgufOptions& options) {
  GgufMetadata out;
  const std::string name = GgufArchitectureName(GgufArchitectureOf(c, options));
  const auto size = [&](absl::string_view key, int64_t value) {
    out.U32(absl::StrCat(name, ".", key), static_cast<uint32_t>(value));
  };
  out.Text("general.architecture", name);
  out.Text("general.type", "model");
  out.Text("general.name", origin.run_id);
  out.U32("general.file_type", FileType(options.matrices));
  out.U32("general.quantization_version", 2);
  out.U32("general.alignment", kGgufAlignment);
  size("vocab_size", c.vocab);
  size("context_length", c.context);
  size("embedding_length", c.hidden);
  size("block_count", c.layers);
  size("feed_forward_length", c.ffn);
  size("attention.head_count", c.heads);
  size("attention.head_count_kv", c.kv_heads);
  size("attention.key_length", c.head_dim);
  size("attention.value_length", c.head_dim);
  size("rope.dimension_count", c.head_dim);
  out.F32(name + ".attention.layer_norm_rms_epsilon", static_cast<float>(c.norm_eps));
  out.F32(name + ".rope.freq_base", static_cast<float>(c.rope_theta));
  if (origin.tokenizer_hash == ByteTokenizer().hash()) AddByteTokenizer(c.vocab, &out);
  out.Text(kRunId, origin.run_id);
  out.I64(kStep, origin.step);
  out.Text(kWeights, origin.weights);
  out.Text(kCheckpointHash, origin.checkpoint_hash);
  out.Text(kTokenizerHash, origin.tokenizer_hash);
  out.Text(kFfnActivation, c.ffn_activation() == FfnActivation::kSilu ? kSilu : kSquaredRelu);
  return out;
}

absl::StatusOr<GgufModel> ReadGgufModel(const GgufFile& file) {
  ASSIGN_OR_RETURN(const std::string architecture, file.Text("general.architecture"));
  ASSIGN_OR_RETURN(const Family family, FamilyOf(file, architecture));
  if (family == Family::kLlama) RETURN_IF_ERROR(CheckLlama(file));
  GgufModel out;
  ModelConfig& c = out.config;
  ApplyFamilyDefaults(family, &c);
  Keys keys(file, architecture);
  keys.Size("context_length", true, &c.context);
  keys.Size("embedding_length", true, &c.hidden);
  keys.Size("block_count", true, &c.layers);
  keys.Size("feed_forward_length", true, &c.ffn);
  keys.Size("attention.head_count", true, &c.heads);
  c.kv_heads = c.heads;
  keys.Size("attention.head_count_kv", false, &c.kv_heads);
  RETURN_IF_ERROR(keys.status());
  c.head_dim = c.hidden / c.heads;
  keys.Size("attention.key_length", false, &c.head_dim);
  keys.Only("attention.value_length", static_cast<double>(c.head_dim));
  keys.Only("rope.dimension_count", static_cast<double>(c.head_dim));
  keys.Only("rope.scaling.factor", 1);
  keys.Only("expert_count", 0);
  keys.Number("attention.layer_norm_rms_epsilon", true, &c.norm_eps);
  c.rope_theta = 10000;  // where the file does not say
  keys.Number("rope.freq_base", false, &c.rope_theta);
  RETURN_IF_ERROR(keys.status());
  c.head_dim_given = family == Family::kLlama && c.hidden != c.heads * c.head_dim;
  c.tied_embeddings = file.Find(GgufTensorName("head.weight")) == nullptr;
  const std::string embedding = GgufTensorName("embed.weight");
  const GgufTensor* const embed = file.Find(embedding);
  if (embed == nullptr || embed->shape.size() != 2) {
    return absl::DataLossError(absl::StrCat(file.path(), ": tensor `", embedding, "` ",
                                            embed == nullptr ? "is missing" : "is no matrix",
                                            ", expected [vocabulary, ", c.hidden, "]"));
  }
  c.vocab = embed->shape[0];
  RETURN_IF_ERROR(Annotate(ValidateConfig(c), file.path()));
  RETURN_IF_ERROR(ReadOrigin(file, &out.origin));
  return out;
}

}  // namespace tritter
