#include "model/gguf/gguf_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "model/utf8.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr char kModel[] = "tokenizer.ggml.model", kPre[] = "tokenizer.ggml.pre",
               kTokens[] = "tokenizer.ggml.tokens", kTypes[] = "tokenizer.ggml.token_type",
               kMerges[] = "tokenizer.ggml.merges", kWhole[] = "tokenizer.huggingface.json",
               kAddBos[] = "tokenizer.ggml.add_bos_token",
               kAddEos[] = "tokenizer.ggml.add_eos_token", kBos[] = "tokenizer.ggml.bos_token_id",
               kEos[] = "tokenizer.ggml.eos_token_id", kEot[] = "tokenizer.ggml.eot_token_id",
               kEom[] = "tokenizer.ggml.eom_token_id", kChatTemplate[] = "tokenizer.chat_template",
               kEndIds[] = "tritter.end_token_ids";

// Values of token_type.
constexpr int64_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

// A way of cutting text that has a name in llama.cpp; tokenizer.json's form of it.
struct PreTokenizer {
  std::vector<std::string> names;  // the first one is written
  json step;                       // before ByteLevel; null: none
  bool use_regex;                  // of ByteLevel: GPT-2's pattern
  bool nfc, ignore_merges, add_bos;
};

// Words with what stands before them, runs of digits as told, punctuation, line ends, spaces.
json SplitWithNumbers(absl::string_view numbers) {
  const std::string pattern =
      absl::StrCat(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)", numbers,
                   R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  return {{"type", "Split"},
          {"behavior", "Isolated"},
          {"invert", false},
          {"pattern", {{"Regex", pattern}}}};
}

const std::vector<PreTokenizer>& PreTokenizers() {
  static const auto* all = new std::vector<PreTokenizer>{
      {{"gpt-2", "phi-2"}, nullptr, true, false, false, false},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3"},
       SplitWithNumbers(R"(\p{N}{1,3})"),
       false,
       false,
       true,
       true},
      {{"dbrx", "smaug-bpe"}, SplitWithNumbers(R"(\p{N}{1,3})"), false, false, false, false},
      {{"qwen2", "deepseek-r1-qwen"}, SplitWithNumbers(R"(\p{N})"), false, true, false, false},
      {{"smollm", "starcoder", "refact"},
       {{"type", "Digits"}, {"individual_digits", true}},
       true,
       false,
       false,
       false},
  };
  return *all;
}

std::string Names() {
  return absl::StrJoin(PreTokenizers(), ", ", [](std::string* out, const PreTokenizer& p) {
    absl::StrAppend(out, absl::StrJoin(p.names, ", "));
  });
}

json PreTokenizerJson(const PreTokenizer& p) {
  json list = json::array();
  if (!p.step.is_null()) list.push_back(p.step);
  list.push_back({{"type", "ByteLevel"},
                  {"add_prefix_space", false},
                  {"trim_offsets", true},
                  {"use_regex", p.use_regex}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(list)}};
}

// A tokenizer.json but for its tokens.
json Shell(const PreTokenizer& p) {
  json root = {{"version", "1.0"},
               {"pre_tokenizer", PreTokenizerJson(p)},
               {"decoder", {{"type", "ByteLevel"}}},
               {"model",
                {{"type", "BPE"},
                 {"ignore_merges", p.ignore_merges},
                 {"vocab", json::object()},
                 {"merges", json::array()}}}};
  if (p.nfc) root["normalizer"] = {{"type", "NFC"}};
  return root;
}

const PreTokenizer* FindPreTokenizer(const std::string& name) {
  for (const PreTokenizer& p : PreTokenizers()) {
    if (std::find(p.names.begin(), p.names.end(), name) != p.names.end()) return &p;
  }
  return nullptr;
}

// The one that cuts as this definition does; null where llama.cpp has no name for it.
const PreTokenizer* PreTokenizerOf(const TokenizerDefinition& d) {
  const auto key = [](const TokenizerDefinition& t) {
    TokenizerDefinition way;
    way.nfc = t.nfc;
    way.steps = t.steps;
    way.ignore_merges = t.ignore_merges;
    return TokenizerDefinitionHash(way);
  };
  for (const PreTokenizer& p : PreTokenizers()) {
    const auto shell = ParseTokenizerJson(Shell(p).dump(), p.names[0]);
    if (shell.ok() && key(*shell) == key(d)) return &p;
  }
  return nullptr;
}

json SpecialTokenTemplate(const std::optional<int32_t>& before,
                          const std::optional<int32_t>& behind,
                          const std::vector<std::string>& tokens) {
  json single = json::array(), special = json::object();
  const auto add = [&](const std::optional<int32_t>& id) {
    if (!id.has_value()) return;
    const std::string& text = tokens[static_cast<size_t>(*id)];
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    special[text] = {{"id", text}, {"ids", {*id}}, {"tokens", {text}}};
  };
  add(before);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(behind);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", special}};
}

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  absl::StatusOr<TokenizerFiles> Read() {
    TokenizerFiles out;
    if (file_.Has(kChatTemplate)) {
      ASSIGN_OR_RETURN(out.chat_template, Utf8(kChatTemplate));
    }
    if (file_.Has(kWhole)) {
      ASSIGN_OR_RETURN(out.definition, file_.Text(kWhole));
      RETURN_IF_ERROR(ReadTokens(false));
    } else {
      RETURN_IF_ERROR(ReadTokens(true));
      ASSIGN_OR_RETURN(out.definition, Definition());
    }
    ASSIGN_OR_RETURN(const std::vector<int32_t> ends, Ends());
    if (!ends.empty()) out.generation = json{{"eos_token_id", ends}}.dump(2) + "\n";
    json config = json::object();
    for (const auto& [key, name] : {std::pair{kBos, "bos_token"}, {kEos, "eos_token"}}) {
      ASSIGN_OR_RETURN(const std::optional<int32_t> id, Id(key));
      if (id.has_value()) config[name] = tokens_[static_cast<size_t>(*id)];
    }
    if (!config.empty()) out.config = config.dump(2) + "\n";
    return out;
  }

 private:
  absl::Status Wrong(absl::string_view key, absl::string_view message) const {
    return absl::DataLossError(absl::StrCat(file_.path(), ": metadata `", key, "` ", message));
  }
  absl::Status NotHere(absl::string_view key, absl::string_view value,
                       absl::string_view expected) const {
    return absl::UnimplementedError(
        absl::StrCat(file_.path(), ": metadata `", key, "` is ", value,
                     ", which this build cannot run text with; expected ", expected));
  }
  absl::StatusOr<std::string> Utf8(const char* key) const {
    ASSIGN_OR_RETURN(std::string text, file_.Text(key));
    if (!IsValidUtf8(text)) return Wrong(key, "is not UTF-8");
    return text;
  }
  // `all`: enough to make a definition of.
  absl::Status ReadTokens(bool all) {
    if (!file_.Has(kModel) && !file_.Has(kTokens)) return NotHere(kModel, "missing", "gpt2");
    ASSIGN_OR_RETURN(const std::string model, file_.Text(kModel));
    if (all && model != "gpt2") {
      return NotHere(kModel, model,
                     model == "llama"
                         ? "gpt2 (byte-level BPE): `llama` is a SentencePiece vocabulary; take a "
                           "version of the model whose tokenizer is byte-level BPE (Llama 3, "
                           "Falcon 3, Qwen 2 and their like)"
                         : "gpt2 (byte-level BPE)");
    }
    if (file_.Has(kTokens)) {
      ASSIGN_OR_RETURN(tokens_, file_.Texts(kTokens));
    }
    if (tokens_.size() > static_cast<size_t>(kMaxTokenId))
      return Wrong(kTokens, absl::StrCat("has ", tokens_.size(), " tokens"));
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (!IsValidUtf8(tokens_[i])) return Wrong(kTokens, absl::StrCat("[", i, "] is not UTF-8"));
    }
    types_.assign(tokens_.size(), kNormal);
    if (!file_.Has(kTypes)) return absl::OkStatus();
    ASSIGN_OR_RETURN(types_, file_.Integers(kTypes));
    if (types_.size() != tokens_.size()) {
      return Wrong(kTypes, absl::StrCat("has ", types_.size(), " values, expected ", tokens_.size(),
                                        ", one of each token"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<int32_t>> Id(const char* key) const {
    if (!file_.Has(key)) return std::optional<int32_t>();
    ASSIGN_OR_RETURN(const int64_t id, file_.Integer(key));
    if (id < 0 || id >= static_cast<int64_t>(tokens_.size()))
      return Wrong(key, absl::StrCat("is ", id, ", expected 0 to ", tokens_.size(), " less one"));
    return std::optional<int32_t>(static_cast<int32_t>(id));
  }
  absl::StatusOr<std::optional<int32_t>> Around(const char* key, bool otherwise,
                                                const char* id) const {
    bool wanted = otherwise;
    if (file_.Has(key)) {
      ASSIGN_OR_RETURN(wanted, file_.Boolean(key));
    }
    if (!wanted) return std::optional<int32_t>();
    return Id(id);
  }

  absl::StatusOr<std::vector<int32_t>> Ends() const {
    std::vector<int32_t> ends;
    if (file_.Has(kEndIds)) {  // ours say it whole
      ASSIGN_OR_RETURN(const std::vector<int64_t> ids, file_.Integers(kEndIds));
      for (const int64_t id : ids) {
        if (id < 0 || id > kMaxTokenId) return Wrong(kEndIds, absl::StrCat("names the id ", id));
        ends.push_back(static_cast<int32_t>(id));
      }
      return ends;
    }
    for (const char* key : {kEos, kEot, kEom}) {
      ASSIGN_OR_RETURN(const std::optional<int32_t> id, Id(key));
      if (id.has_value()) ends.push_back(*id);
    }
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (types_[i] == kControl && IsEndName(tokens_[i])) ends.push_back(static_cast<int32_t>(i));
    }
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
    return ends;
  }

  absl::StatusOr<std::string> Definition() const {
    std::string name = "missing";
    if (file_.Has(kPre)) {
      ASSIGN_OR_RETURN(name, file_.Text(kPre));
    }
    const PreTokenizer* const pre = FindPreTokenizer(name);
    if (pre == nullptr) return NotHere(kPre, name, Names());
    json root = Shell(*pre);
    json& vocab = root["model"]["vocab"];
    json added = json::array();
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (types_[i] == kUnused) continue;
      if (types_[i] != kControl && types_[i] != kUserDefined) {
        if (!vocab.emplace(tokens_[i], i).second)
          return Wrong(kTokens, absl::StrCat("[", i, "] is `", tokens_[i], "` a second time"));
        continue;
      }
      added.push_back({{"id", i},
                       {"content", tokens_[i]},
                       {"special", types_[i] == kControl},
                       {"normalized", false},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false}});
    }
    root["added_tokens"] = std::move(added);
    ASSIGN_OR_RETURN(const std::vector<std::string> merges, file_.Texts(kMerges));
    for (size_t i = 0; i < merges.size(); ++i) {
      if (!IsValidUtf8(merges[i])) return Wrong(kMerges, absl::StrCat("[", i, "] is not UTF-8"));
    }
    root["model"]["merges"] = merges;
    ASSIGN_OR_RETURN(const std::optional<int32_t> before, Around(kAddBos, pre->add_bos, kBos));
    ASSIGN_OR_RETURN(const std::optional<int32_t> behind, Around(kAddEos, false, kEos));
    if (before.has_value() || behind.has_value())
      root["post_processor"] = SpecialTokenTemplate(before, behind, tokens_);
    return root.dump();
  }

  const GgufFile& file_;
  std::vector<std::string> tokens_;
  std::vector<int64_t> types_;
};

}  // namespace

absl::StatusOr<TokenizerFiles> TokenizerOfGguf(const GgufFile& file) { return Reader(file).Read(); }

absl::StatusOr<std::string> AddTokenizer(const TokenizerFiles& files, int64_t vocab,
                                         GgufMetadata* out) {
  ASSIGN_OR_RETURN(const TokenizerDefinition d,
                   ParseTokenizerJson(files.definition, kTokenizerJson));
  ASSIGN_OR_RETURN(const TokenizerNames names, NamesOf(files, d, kTokenizerJson));
  std::vector<std::string> tokens(static_cast<size_t>(vocab));
  std::vector<int32_t> types(tokens.size(), kUnused);
  const auto set = [&](int32_t id, const std::string& text, int64_t type) {
    if (id >= vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("the tokenizer has the id ", id, " (", text,
                       "), expected less than the model's vocabulary, which is ", vocab));
    }
    tokens[static_cast<size_t>(id)] = text;
    types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
    return absl::OkStatus();
  };
  for (const auto& [text, id] : d.vocab) RETURN_IF_ERROR(set(id, text, kNormal));
  for (const AddedToken& token : d.added)
    RETURN_IF_ERROR(set(token.id, token.content, token.special ? kControl : kUserDefined));
  std::vector<std::string> merges;
  merges.reserve(d.merges.size());
  for (const BpeMerge& m : d.merges) {
    merges.push_back(absl::StrCat(tokens[static_cast<size_t>(m.left)], " ",
                                  tokens[static_cast<size_t>(m.right)]));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (types[i] == kUnused) tokens[i] = absl::StrCat("<unused", i, ">");
  }
  const PreTokenizer* const pre = PreTokenizerOf(d);
  out->Text(kModel, pre == nullptr ? "none" : "gpt2");
  if (pre != nullptr) out->Text(kPre, pre->names[0]);
  out->Texts(kTokens, tokens);
  out->I32s(kTypes, types);
  out->Texts(kMerges, merges);
  std::optional<int32_t> bos = IdOfToken(d, names.bos_token), eos = IdOfToken(d, names.eos_token);
  if (!bos.has_value() && !d.prefix.empty()) bos = d.prefix[0];
  if (!eos.has_value() && !names.end_ids.empty()) eos = names.end_ids[0];
  if (bos.has_value()) out->U32(kBos, static_cast<uint32_t>(*bos));
  if (eos.has_value()) out->U32(kEos, static_cast<uint32_t>(*eos));
  const bool add_bos = bos.has_value() && d.prefix == std::vector<int32_t>{*bos},
             add_eos = eos.has_value() && d.suffix == std::vector<int32_t>{*eos};
  out->Bool(kAddBos, add_bos);
  out->Bool(kAddEos, add_eos);
  if (!names.chat_template.empty()) out->Text(kChatTemplate, names.chat_template);
  out->I32s(kEndIds, names.end_ids);
  out->Text(kWhole, files.definition);
  if (pre == nullptr) {
    return absl::StrCat("the tokenizer's way of cutting text has no name in llama.cpp (it has ",
                        Names(), "): other programs run the model on ids alone");
  }
  if ((!d.prefix.empty() && !add_bos) || (!d.suffix.empty() && !add_eos)) {
    return "the special tokens around a prompt are more than bos and eos: other programs put none "
           "there";
  }
  return "";
}

}  // namespace tritter
