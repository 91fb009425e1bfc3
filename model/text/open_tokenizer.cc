#include "model/text/open_tokenizer.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/hf_text.h"
#include "model/strict_json.h"
#include "model/text/bpe_tokenizer.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr char kTokenizerJson[] = "tokenizer.json";
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// Special tokens that end a text wherever they are in use; asked only where no file says it.
constexpr absl::string_view kEndNames[] = {
    "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>",
    "<|end|>",       "<|eos|>",         "</s>",       "<eos>",      "<end_of_turn>",
    "<EOS>",         "<|EOT|>",         "<|return|>"};

// Known by the definition and not by the text: others write the same file anew.
const std::string& ByteTokenizerJsonHash() {
  static const auto* hash = [] {
    const auto definition = ParseTokenizerJson(HfByteTokenizerJson(), kTokenizerJson);
    return new std::string(definition.ok() ? TokenizerDefinitionHash(*definition) : "");
  }();
  return *hash;
}

std::string HashOf(const TokenizerDefinition& definition) {
  std::string hash = TokenizerDefinitionHash(definition);
  return hash == ByteTokenizerJsonHash() ? ByteTokenizer().hash() : hash;
}

absl::StatusOr<std::string> ReadLimited(Env* env, const std::string& path, uint64_t most) {
  ASSIGN_OR_RETURN(const uint64_t bytes, env->FileSize(path));
  if (bytes > most) {
    return absl::DataLossError(
        absl::StrCat(path, ": has ", bytes, " bytes, expected at most ", most));
  }
  return env->ReadFile(path);
}

std::vector<std::string> Candidates(Env* env, const std::string& model, const std::string& given) {
  if (!given.empty()) return {env->IsDirectory(given) ? JoinPath(given, kTokenizerJson) : given};
  if (env->IsDirectory(model)) return {JoinPath(model, kTokenizerJson)};
  const std::string name = Basename(model), folder = Dirname(model);
  return {JoinPath(folder, absl::StrCat(name.substr(0, name.rfind('.')), ".", kTokenizerJson)),
          JoinPath(folder, kTokenizerJson)};
}

// An object of a file that need not be there.
absl::StatusOr<json> Optional(Env* env, const std::string& path) {
  if (!env->Exists(path)) return json::object();
  ASSIGN_OR_RETURN(json root, ReadStrictJson(env, path, kMaxConfigBytes));
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

void AddIds(const json& root, std::vector<int32_t>* ids) {
  const auto found = root.find("eos_token_id");
  if (found == root.end()) return;
  const json list = found->is_array() ? *found : json::array({*found});
  for (const json& id : list) {
    if (id.is_number_unsigned() && id.get<uint64_t>() <= kMaxTokenId)
      ids->push_back(id.get<int32_t>());
  }
}

std::optional<int32_t> IdOf(const TokenizerDefinition& d, absl::string_view text) {
  for (const AddedToken& token : d.added) {
    if (token.content == text) return token.id;
  }
  for (const auto& [token, id] : d.vocab) {
    if (token == text) return id;
  }
  return std::nullopt;
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

// Chat template and the tokens it may name, from the files of a folder.
absl::Status ReadChat(Env* env, const std::string& folder, OpenedTokenizer* out) {
  ASSIGN_OR_RETURN(const json config, Optional(env, JoinPath(folder, "tokenizer_config.json")));
  out->bos_token = TextOf(config, "bos_token");
  out->eos_token = TextOf(config, "eos_token");
  out->chat_template = ChatTemplateOf(config);
  const std::string jinja = JoinPath(folder, "chat_template.jinja");
  if (env->Exists(jinja)) {
    ASSIGN_OR_RETURN(out->chat_template, ReadLimited(env, jinja, kMaxConfigBytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<OpenedTokenizer> Open(Env* env, const std::string& path,
                                     const TokenizerDefinition& definition) {
  OpenedTokenizer out;
  out.path = path;
  std::vector<int32_t> ends;
  if (Basename(path) == kTokenizerJson) {
    const std::string folder = Dirname(path);
    ASSIGN_OR_RETURN(const json generation,
                     Optional(env, JoinPath(folder, "generation_config.json")));
    RETURN_IF_ERROR(ReadChat(env, folder, &out));
    AddIds(generation, &ends);
    if (const auto id = IdOf(definition, out.eos_token)) ends.push_back(*id);
    if (ends.empty()) {
      ASSIGN_OR_RETURN(const json model, Optional(env, JoinPath(folder, "config.json")));
      AddIds(model, &ends);
    }
  }
  if (ends.empty()) {
    for (const AddedToken& token : definition.added) {
      if (token.special && absl::c_linear_search(kEndNames, token.content))
        ends.push_back(token.id);
    }
  }
  ASSIGN_OR_RETURN(out.tokenizer, NewBpeTokenizer(definition, std::move(ends)));
  return out;
}

}  // namespace

std::string HashOfTokenizerJson(absl::string_view text) {
  const auto definition = ParseTokenizerJson(text, kTokenizerJson);
  return definition.ok() ? HashOf(*definition) : Sha256Hex(text);
}

absl::StatusOr<OpenedTokenizer> OpenTokenizer(Env* env, const std::string& model,
                                              const std::string& hash, const std::string& given) {
  if (hash == ByteTokenizer().hash() && given.empty()) {
    OpenedTokenizer out;
    out.tokenizer = std::shared_ptr<const Tokenizer>(&ByteTokenizer(), [](const Tokenizer*) {});
    if (env->IsDirectory(model)) RETURN_IF_ERROR(ReadChat(env, model, &out));
    return out;
  }
  std::string looked;
  for (const std::string& path : Candidates(env, model, given)) {
    absl::StrAppend(&looked, looked.empty() ? "" : "; ", path);
    if (!env->Exists(path)) {
      absl::StrAppend(&looked, ": missing");
      continue;
    }
    ASSIGN_OR_RETURN(const std::string text, ReadLimited(env, path, kMaxTokenizerJsonBytes));
    const auto definition = ParseTokenizerJson(text, path);
    if (!definition.ok()) {
      if (Sha256Hex(text) == hash) return definition.status();  // the right one, out of reach
      absl::StrAppend(&looked, ": ", definition.status().message());
      continue;
    }
    const std::string found = HashOf(*definition);
    if (found != hash) {
      absl::StrAppend(&looked, ": has ", found);
      continue;
    }
    if (hash == ByteTokenizer().hash()) return OpenTokenizer(env, model, hash);
    absl::StatusOr<OpenedTokenizer> opened = Open(env, path, *definition);
    RETURN_IF_ERROR(Annotate(opened.status(), path));
    return opened;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      model, ": expected the tokenizer ", hash, ", which the model was trained with; looked at ",
      looked, "; put its tokenizer.json there, or name it with --tokenizer"));
}

}  // namespace tritter
