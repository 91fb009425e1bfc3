#include "curation/shard_manifest.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

using Json = nlohmann::ordered_json;

Json SplitToJson(const SplitEntry& split) {
  Json shards = Json::array();
  for (const ShardEntry& s : split.shards) {
    shards.push_back({{"file", s.file},
                      {"bytes", s.bytes},
                      {"sha256", s.sha256},
                      {"tokens", s.tokens},
                      {"documents", s.documents},
                      {"raw_bytes", s.raw_bytes}});
  }
  return {{"tokens", split.tokens},
          {"documents", split.documents},
          {"raw_bytes", split.raw_bytes},
          {"shards", std::move(shards)}};
}

// Reads keys of one object; the first problem is kept and everything after it is ignored.
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string where, absl::Status* status)
      : object_(object), where_(std::move(where)), status_(status) {
    if (!object.is_object()) Fail("", "an object", object.type_name());
  }
  void Get(const char* key, std::string* out) {
    if (const Json* v = Find(key))
      v->is_string() ? void(*out = v->get<std::string>()) : Fail(key, "a string", v->type_name());
  }
  void Get(const char* key, uint64_t* out) {
    if (const Json* v = Find(key))
      v->is_number_unsigned() ? void(*out = v->get<uint64_t>())
                              : Fail(key, "a count", v->type_name());
  }
  void Get(const char* key, int64_t* out) {
    uint64_t value = 0;
    Get(key, &value);
    *out = static_cast<int64_t>(value);
  }
  const Json* Find(const char* key) {
    if (!status_->ok()) return nullptr;
    const auto it = object_.find(key);
    if (it == object_.end()) {
      Fail(key, "present", "missing");
      return nullptr;
    }
    return &*it;
  }
  void Fail(absl::string_view key, absl::string_view expected, absl::string_view actual) {
    if (!status_->ok()) return;
    *status_ =
        absl::DataLossError(absl::StrCat(where_, key.empty() ? "" : ".", key, ": expected ",
                                         expected, ", actual ", actual, "; run curation again"));
  }

 private:
  const Json& object_;
  std::string where_;
  absl::Status* status_;
};

void ReadSplit(const Json& json, const std::string& where, SplitEntry* out, absl::Status* status) {
  ObjectReader reader(json, where, status);
  reader.Get("tokens", &out->tokens);
  reader.Get("documents", &out->documents);
  reader.Get("raw_bytes", &out->raw_bytes);
  const Json* shards = reader.Find("shards");
  if (shards == nullptr) return;
  if (!shards->is_array()) return reader.Fail("shards", "a list", shards->type_name());
  uint64_t tokens = 0, documents = 0, raw_bytes = 0;
  for (const Json& item : *shards) {
    ShardEntry s;
    ObjectReader shard(item, absl::StrCat(where, ".shards[", out->shards.size(), "]"), status);
    shard.Get("file", &s.file);
    shard.Get("bytes", &s.bytes);
    shard.Get("sha256", &s.sha256);
    shard.Get("tokens", &s.tokens);
    shard.Get("documents", &s.documents);
    shard.Get("raw_bytes", &s.raw_bytes);
    if (!status->ok()) return;
    if (s.file.empty() || s.file[0] == '.' || s.file.find('/') != std::string::npos) {
      return shard.Fail("file", "a plain file name", s.file);
    }
    tokens += s.tokens;
    documents += s.documents;
    raw_bytes += s.raw_bytes;
    out->shards.push_back(std::move(s));
  }
  if (tokens != out->tokens)
    reader.Fail("tokens", absl::StrCat(tokens, " (the sum over its shards)"),
                absl::StrCat(out->tokens));
  if (documents != out->documents)
    reader.Fail("documents", absl::StrCat(documents, " (the sum over its shards)"),
                absl::StrCat(out->documents));
  if (raw_bytes != out->raw_bytes)
    reader.Fail("raw_bytes", absl::StrCat(raw_bytes, " (the sum over its shards)"),
                absl::StrCat(out->raw_bytes));
}

}  // namespace

std::string HashTokens(const ShardManifest& manifest) {
  std::string text = absl::StrCat(manifest.tokenizer_hash, "\n");
  for (const SplitEntry* split : {&manifest.train, &manifest.heldout}) {
    for (const ShardEntry& shard : split->shards) absl::StrAppend(&text, shard.sha256, "\n");
    absl::StrAppend(&text, "\n");
  }
  return Sha256Hex(text);
}

std::string HashOptions(const std::map<std::string, std::string>& options) {
  std::string text;
  for (const auto& [key, value] : options) absl::StrAppend(&text, key, "=", value, "\n");
  return Sha256Hex(text);
}

std::string ShardManifestToJson(const ShardManifest& m) {
  Json inputs = Json::array();
  for (const InputEntry& i : m.inputs)
    inputs.push_back({{"path", i.path}, {"bytes", i.bytes}, {"sha256", i.sha256}});
  Json options = Json::object(), rejected = Json::object();
  for (const auto& [key, value] : m.options) options[key] = value;
  for (const auto& [key, value] : m.rejected) rejected[key] = value;
  const Json root = {
      {"format", m.format},
      {"source", m.source},
      {"tokenizer",
       {{"kind", m.tokenizer}, {"hash", m.tokenizer_hash}, {"vocabulary", m.vocabulary}}},
      {"train", SplitToJson(m.train)},
      {"heldout", SplitToJson(m.heldout)},
      {"options", std::move(options)},
      {"options_hash", m.options_hash},
      {"inputs", std::move(inputs)},
      {"rejected", std::move(rejected)}};
  // File names of the user's may hold any bytes; they are replaced rather than an exception thrown.
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<ShardManifest> ShardManifestFromJson(absl::string_view json,
                                                    absl::string_view path) {
  const Json root = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) {
    return absl::DataLossError(
        absl::StrCat(path, ": not valid JSON (", json.size(), " bytes); run curation again"));
  }
  absl::Status status;
  ShardManifest m;
  ObjectReader reader(root, std::string(path), &status);
  reader.Get("format", &m.format);
  if (status.ok() && m.format != 1) reader.Fail("format", "1", absl::StrCat(m.format));
  reader.Get("source", &m.source);
  reader.Get("options_hash", &m.options_hash);
  if (const Json* t = reader.Find("tokenizer")) {
    ObjectReader tokenizer(*t, absl::StrCat(path, ".tokenizer"), &status);
    tokenizer.Get("kind", &m.tokenizer);
    tokenizer.Get("hash", &m.tokenizer_hash);
    tokenizer.Get("vocabulary", &m.vocabulary);
  }
  if (const Json* s = reader.Find("train"))
    ReadSplit(*s, absl::StrCat(path, ".train"), &m.train, &status);
  if (const Json* s = reader.Find("heldout"))
    ReadSplit(*s, absl::StrCat(path, ".heldout"), &m.heldout, &status);
  if (const Json* o = reader.Find("options"); o != nullptr && o->is_object()) {
    for (const auto& [key, value] : o->items()) {
      if (value.is_string()) m.options[key] = value.get<std::string>();
    }
  }
  if (status.ok() && HashOptions(m.options) != m.options_hash) {
    reader.Fail("options_hash", HashOptions(m.options), m.options_hash);
  }
  if (const Json* inputs = reader.Find("inputs"); inputs != nullptr && inputs->is_array()) {
    for (const Json& item : *inputs) {
      InputEntry entry;
      ObjectReader input(item, absl::StrCat(path, ".inputs[", m.inputs.size(), "]"), &status);
      input.Get("path", &entry.path);
      input.Get("bytes", &entry.bytes);
      input.Get("sha256", &entry.sha256);
      m.inputs.push_back(std::move(entry));
    }
  }
  if (const Json* r = reader.Find("rejected"); r != nullptr && r->is_object()) {
    for (const auto& [key, value] : r->items()) {
      if (value.is_number_unsigned()) m.rejected[key] = value.get<uint64_t>();
    }
  }
  RETURN_IF_ERROR(status);
  return m;
}

absl::StatusOr<ShardManifest> ReadShardManifest(Env* env, const std::string& folder) {
  if (!env->IsDirectory(folder)) {
    return absl::NotFoundError(absl::StrCat(
        folder, ": no such folder of shards; make it with: tritterctl curate INPUT --out ",
        folder));
  }
  const std::string path = JoinPath(folder, kShardManifestName);
  if (!env->Exists(path)) {
    return absl::NotFoundError(absl::StrCat(
        path,
        ": missing, so curation never finished here; run it again: tritterctl curate INPUT --out ",
        folder));
  }
  ASSIGN_OR_RETURN(const std::string json, env->ReadFile(path));
  return ShardManifestFromJson(json, path);
}

}  // namespace tritter
