#include "model/text/tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/hf_text.h"
#include "model/strict_json.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

constexpr absl::string_view kEndNames[] = {
    "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>",
    "<|end|>",       "<|eos|>",         "</s>",       "<eos>",      "<end_of_turn>",
    "<EOS>",         "<|EOT|>",         "<|return|>"};

struct FileName {
  const char* name;
  std::string TokenizerFiles::* text;
  uint64_t most;
};
constexpr FileName kFiles[] = {
    {kTokenizerJson, &TokenizerFiles::definition, kMaxTokenizerJsonBytes},
    {"tokenizer_config.json", &TokenizerFiles::config, kMaxConfigBytes},
    {"generation_config.json", &TokenizerFiles::generation, kMaxConfigBytes},
    {"chat_template.jinja", &TokenizerFiles::chat_template, kMaxConfigBytes},
};

// Known by the definition and not by the text: others write the same file anew.
const std::string& ByteTokenizerJsonHash() {
  static const auto* hash = [] {
    const auto definition = ParseTokenizerJson(HfByteTokenizerJson(), kTokenizerJson);
    return new std::string(definition.ok() ? TokenizerDefinitionHash(*definition) : "");
  }();
  return *hash;
}

absl::StatusOr<std::string> ReadLimited(Env* env, const std::string& path, uint64_t most) {
  ASSIGN_OR_RETURN(const uint64_t bytes, env->FileSize(path));
  if (bytes > most) {
    return absl::DataLossError(
        absl::StrCat(path, ": has ", bytes, " bytes, expected at most ", most));
  }
  return env->ReadFile(path);
}

// The object of a text that need not be there.
absl::StatusOr<json> ObjectOf(const std::string& text, const std::string& path) {
  if (text.empty()) return json::object();
  ASSIGN_OR_RETURN(json root, ParseStrictJson(text, path));
  if (!root.is_object()) return absl::DataLossError(absl::StrCat(path, ": expected an object"));
  return root;
}

// What a text value says, or an object with `content`.
std::string TextOf(const json& root, const char* key) {
  const auto found = root.find(key);
  if (found == root.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && found->at("content").is_string())
    return found->at("content").get<std::string>();
  return "";
}

std::vector<int32_t> EosIds(const json& root) {
  std::vector<int32_t> ids;
  const auto found = root.find("eos_token_id");
  if (found == root.end()) return ids;
  const json list = found->is_array() ? *found : json::array({*found});
  for (const json& id : list) {
    if (id.is_number_unsigned() && id.get<uint64_t>() <= kMaxTokenId)
      ids.push_back(id.get<int32_t>());
  }
  return ids;
}

// One template, or several by name of which "default" is the usual one.
std::string ChatTemplateOf(const json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return "";
  for (const json& item : *found) {
    if (item.is_object() && TextOf(item, "name") == "default") return TextOf(item, "template");
  }
  return "";
}

}  // namespace

absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(Env* env, const std::string& path) {
  TokenizerFiles out;
  absl::string_view before = path;
  const bool others = absl::ConsumeSuffix(&before, kTokenizerJson);
  if (!others || env->Exists(path)) {
    ASSIGN_OR_RETURN(out.definition, ReadLimited(env, path, kMaxTokenizerJsonBytes));
  }
  if (!others) return out;
  for (const FileName& file : kFiles) {
    const std::string beside = absl::StrCat(before, file.name);
    if (beside == path || !env->Exists(beside)) continue;
    ASSIGN_OR_RETURN(out.*file.text, ReadLimited(env, beside, file.most));
  }
  const std::string model = absl::StrCat(before, "config.json");
  ASSIGN_OR_RETURN(const json config,
                   ObjectOf(out.config, absl::StrCat(before, "tokenizer_config.json")));
  ASSIGN_OR_RETURN(json generation,
                   ObjectOf(out.generation, absl::StrCat(before, "generation_config.json")));
  if (!EosIds(generation).empty() || !TextOf(config, "eos_token").empty() || !env->Exists(model))
    return out;
  ASSIGN_OR_RETURN(const json root, ReadStrictJson(env, model, kMaxConfigBytes));
  if (!root.is_object() || EosIds(root).empty()) return out;
  generation["eos_token_id"] = EosIds(root);
  out.generation = generation.dump(2) + "\n";
  return out;
}

std::vector<std::pair<std::string, std::string>> NamedTexts(const TokenizerFiles& files) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const FileName& file : kFiles) {
    if (!(files.*file.text).empty()) out.emplace_back(file.name, files.*file.text);
  }
  return out;
}

absl::Status WriteTokenizerBeside(Env* env, const std::string& model, const TokenizerFiles& files) {
  const std::string stem = model.substr(0, model.size() - Basename(model).size()) +
                           Basename(model).substr(0, Basename(model).rfind('.'));
  for (const FileName& file : kFiles) {
    const std::string path = absl::StrCat(stem, ".", file.name), &text = files.*file.text;
    if (!text.empty()) {
      RETURN_IF_ERROR(WriteFileAtomically(env, path, text));
    } else if (env->Exists(path)) {
      RETURN_IF_ERROR(env->RemoveFile(path));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenizerNames> NamesOf(const TokenizerFiles& files,
                                       const TokenizerDefinition& definition,
                                       absl::string_view where) {
  TokenizerNames out;
  const std::string beside = absl::StrCat(absl::StripSuffix(where, kTokenizerJson));
  ASSIGN_OR_RETURN(const json generation,
                   ObjectOf(files.generation, beside + "generation_config.json"));
  ASSIGN_OR_RETURN(const json config, ObjectOf(files.config, beside + "tokenizer_config.json"));
  out.bos_token = TextOf(config, "bos_token");
  out.eos_token = TextOf(config, "eos_token");
  out.chat_template = files.chat_template.empty() ? ChatTemplateOf(config) : files.chat_template;
  out.end_ids = EosIds(generation);
  if (const auto id = IdOfToken(definition, out.eos_token)) out.end_ids.push_back(*id);
  if (!out.end_ids.empty()) return out;
  for (const AddedToken& token : definition.added) {
    if (token.special && IsEndName(token.content)) out.end_ids.push_back(token.id);
  }
  return out;
}

bool IsEndName(absl::string_view token) { return absl::c_linear_search(kEndNames, token); }

std::optional<int32_t> IdOfToken(const TokenizerDefinition& d, absl::string_view text) {
  for (const AddedToken& token : d.added) {
    if (token.content == text) return token.id;
  }
  for (const auto& [token, id] : d.vocab) {
    if (token == text) return id;
  }
  return std::nullopt;
}

std::string HashOfTokenizer(const TokenizerDefinition& definition) {
  std::string hash = TokenizerDefinitionHash(definition);
  return hash == ByteTokenizerJsonHash() ? ByteTokenizer().hash() : hash;
}

std::string HashOfTokenizerJson(absl::string_view text) {
  const auto definition = ParseTokenizerJson(text, kTokenizerJson);
  return definition.ok() ? HashOfTokenizer(*definition) : Sha256Hex(text);
}

}  // namespace tritter
