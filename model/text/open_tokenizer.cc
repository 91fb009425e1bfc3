#include "model/text/open_tokenizer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/gguf/gguf_file.h"
#include "model/gguf/gguf_tokenizer.h"
#include "model/text/bpe_tokenizer.h"

namespace tritter {
namespace {

std::vector<std::string> Candidates(Env* env, const std::string& model, const std::string& given) {
  if (!given.empty()) return {env->IsDirectory(given) ? JoinPath(given, kTokenizerJson) : given};
  if (env->IsDirectory(model)) return {JoinPath(model, kTokenizerJson)};
  const std::string name = Basename(model), folder = Dirname(model);
  return {JoinPath(folder, absl::StrCat(name.substr(0, name.rfind('.')), ".", kTokenizerJson)),
          JoinPath(folder, kTokenizerJson)};
}

absl::StatusOr<bool> IsGguf(Env* env, const std::string& path) {
  if (!env->Exists(path) || env->IsDirectory(path)) return false;
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, env->MapFile(path));
  const auto bytes = file->bytes();
  return absl::string_view(reinterpret_cast<const char*>(bytes.data()),
                           std::min<size_t>(bytes.size(), 4)) == kGgufMagic;
}

// One tokenizer after the other, and what was seen.
class Search {
 public:
  Search(std::string model, std::string hash) : model_(std::move(model)), hash_(std::move(hash)) {}

  // True when this is the one. Errors: the right one, but out of reach.
  absl::StatusOr<bool> Take(const std::string& path, TokenizerFiles files) {
    auto definition = ParseTokenizerJson(files.definition, path);
    if (!definition.ok()) {
      if (Sha256Hex(files.definition) == hash_) return definition.status();
      Saw(path, absl::StrCat(": ", definition.status().message()));
      return false;
    }
    if (const std::string hash = HashOfTokenizer(*definition); hash != hash_) {
      Saw(path, absl::StrCat(": has ", hash));
      return false;
    }
    found_ = {std::move(files), *std::move(definition), path};
    return true;
  }
  void Saw(const std::string& path, absl::string_view what) {
    absl::StrAppend(&looked_, looked_.empty() ? "" : "; ", path, what);
  }
  FoundTokenizer TakeFound() { return std::move(found_); }
  absl::Status NotFound() const {
    return absl::FailedPreconditionError(
        absl::StrCat(model_, ": expected the tokenizer ", hash_,
                     ", which the model was trained with; looked at ", looked_,
                     "; put its tokenizer.json there, or name it with --tokenizer"));
  }

 private:
  const std::string model_, hash_;
  std::string looked_;
  FoundTokenizer found_;
};

}  // namespace

absl::StatusOr<FoundTokenizer> FindTokenizer(Env* env, const std::string& model,
                                             const std::string& hash, const std::string& given) {
  Search search(model, hash);
  absl::Status in_file;
  if (given.empty()) {
    ASSIGN_OR_RETURN(const bool gguf, IsGguf(env, model));
    if (gguf) {
      ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(env, model));
      absl::StatusOr<TokenizerFiles> files = TokenizerOfGguf(*file);
      in_file = files.status();
      if (files.ok()) {
        ASSIGN_OR_RETURN(const bool right, search.Take(model, *std::move(files)));
        if (right) return search.TakeFound();
      } else {
        search.Saw("", in_file.message());
      }
    }
  }
  for (const std::string& path : Candidates(env, model, given)) {
    if (!env->Exists(path)) {
      search.Saw(path, ": missing");
      continue;
    }
    ASSIGN_OR_RETURN(TokenizerFiles files, ReadTokenizerFiles(env, path));
    ASSIGN_OR_RETURN(const bool right, search.Take(path, std::move(files)));
    if (right) return search.TakeFound();
  }
  return absl::IsUnimplemented(in_file) ? in_file : search.NotFound();
}

absl::StatusOr<OpenedTokenizer> OpenTokenizer(Env* env, const std::string& model,
                                              const std::string& hash, const std::string& given) {
  OpenedTokenizer out;
  const bool byte = hash == ByteTokenizer().hash();
  FoundTokenizer found;
  if (!byte || !given.empty()) {
    ASSIGN_OR_RETURN(found, FindTokenizer(env, model, hash, given));
  }
  if (byte) {
    out.tokenizer = std::shared_ptr<const Tokenizer>(&ByteTokenizer(), [](const Tokenizer*) {});
    if (!given.empty() || !env->IsDirectory(model)) return out;
    // The folder may have a chat template all the same.
    found.path = JoinPath(model, kTokenizerJson);
    ASSIGN_OR_RETURN(found.files, ReadTokenizerFiles(env, found.path));
  }
  ASSIGN_OR_RETURN(TokenizerNames names, NamesOf(found.files, found.definition, found.path));
  out.chat_template = std::move(names.chat_template);
  out.bos_token = std::move(names.bos_token);
  out.eos_token = std::move(names.eos_token);
  if (byte) return out;
  out.path = found.path;
  absl::StatusOr<std::shared_ptr<const Tokenizer>> tokenizer =
      NewBpeTokenizer(found.definition, std::move(names.end_ids));
  RETURN_IF_ERROR(Annotate(tokenizer.status(), found.path));
  out.tokenizer = *std::move(tokenizer);
  return out;
}

}  // namespace tritter
