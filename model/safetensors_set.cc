#include "model/safetensors_set.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/safetensors_header.h"
#include "model/strict_json.h"

namespace tritter {
namespace {

using nlohmann::json;

uint64_t BytesOf(const TensorToWrite& tensor) {
  uint64_t bytes = 0;
  TensorBytes(tensor.shape, tensor.dtype, &bytes);  // an overflow is refused when it is written
  return bytes;
}

bool IsPlainName(const std::string& name) {
  constexpr size_t kLongest = 255;  // that file systems have
  return !name.empty() && name.size() <= kLongest && name[0] != '.' &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

absl::Status SafetensorsSet::Add(Env* env, const std::string& path) {
  if (opened_.count(path) != 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(env, path));
  for (const auto& [key, value] : file->metadata()) {
    const auto [at, added] = metadata_.emplace(key, value);
    if (!added && at->second != value) {
      return absl::DataLossError(absl::StrCat(path, ": metadata `", key, "` is '", value,
                                              "', another shard says '", at->second,
                                              "': they are not of one export"));
    }
  }
  opened_.emplace(path, std::move(file));
  return absl::OkStatus();
}

absl::Status SafetensorsSet::CheckIndex(Env* env) {
  ASSIGN_OR_RETURN(const json root, ReadStrictJson(env, path_, kMaxSafetensorsHeaderBytes));
  const auto bad = [&](const auto&... parts) {
    return absl::DataLossError(absl::StrCat(path_, ": ", parts...));
  };
  if (!root.is_object()) return bad("expected a JSON object");
  const auto map = root.find("weight_map");
  if (map == root.end() || !map->is_object())
    return bad("`weight_map` is missing or not an object");
  for (const auto& [tensor, value] : map->items()) {
    if (!value.is_string() || !IsPlainName(value.get<std::string>()))
      return bad("`weight_map.", tensor, "` is not a plain file name");
    const std::string path = JoinPath(Dirname(path_), value.get<std::string>());
    RETURN_IF_ERROR(Add(env, path));
    if (!opened_.at(path)->Get(tensor).ok())
      return bad("`weight_map.", tensor, "`: ", path, " holds no such tensor");
    files_[tensor] = path;
  }
  uint64_t total = 0;
  for (const auto& [path, file] : opened_) {
    for (const std::string& name : file->names()) {
      const auto named = files_.find(name);
      if (named == files_.end() || named->second != path) {
        return bad("tensor `", name, "` of ", path,
                   named == files_.end() ? " is not in `weight_map`"
                                         : absl::StrCat(" is also in ", named->second));
      }
      total += file->Get(name)->bytes.size();
    }
  }
  const auto metadata = root.find("metadata");
  if (metadata == root.end() || !metadata->is_object() || !metadata->contains("total_size"))
    return absl::OkStatus();
  const json& given = (*metadata)["total_size"];
  if (!given.is_number() || given.get<double>() != static_cast<double>(total)) {
    return bad("`metadata.total_size` is ", given.dump(), ", the tensors have ", total, " bytes");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SafetensorsSet>> SafetensorsSet::Open(Env* env,
                                                                     const std::string& path) {
  std::unique_ptr<SafetensorsSet> out(new SafetensorsSet);
  out->path_ = path;
  if (absl::EndsWith(path, kSafetensorsIndexEnding)) {
    RETURN_IF_ERROR(out->CheckIndex(env));
    return out;
  }
  RETURN_IF_ERROR(out->Add(env, path));
  for (const std::string& name : out->opened_.at(path)->names()) out->files_[name] = path;
  return out;
}

std::vector<std::string> SafetensorsSet::names() const {
  std::vector<std::string> names;
  for (const auto& [name, path] : files_) names.push_back(name);
  return names;
}

absl::StatusOr<TensorView> SafetensorsSet::Get(const std::string& name) const {
  const auto found = files_.find(name);
  if (found != files_.end()) return opened_.at(found->second)->Get(name);
  return absl::NotFoundError(absl::StrCat(path_, ": no tensor is called `", name, "`; there are ",
                                          files_.size(), " tensors"));
}

std::vector<std::string> SafetensorsSet::files() const {
  std::vector<std::string> paths;
  for (const auto& [path, file] : opened_) paths.push_back(path);
  return paths;
}

const std::string& SafetensorsSet::PathOf(const std::string& name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? path_ : found->second;
}

absl::StatusOr<std::vector<WrittenSetFile>> WriteSafetensorsSet(
    Env* env, const std::string& folder, const std::string& stem,
    absl::Span<const TensorToWrite> tensors, const std::map<std::string, std::string>& metadata,
    uint64_t max_shard_bytes) {
  std::vector<std::vector<TensorToWrite>> shards(1);
  uint64_t total = 0, in_shard = 0;
  for (const TensorToWrite& tensor : tensors) {
    const uint64_t bytes = BytesOf(tensor);
    if (!shards.back().empty() && in_shard + bytes > max_shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(tensor);
    in_shard += bytes;
    total += bytes;
  }
  std::vector<WrittenSetFile> files;
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shards.size() == 1 ? absl::StrCat(stem, ".safetensors")
                                                : absl::StrFormat("%s-%05d-of-%05d.safetensors",
                                                                  stem, i + 1, shards.size());
    ASSIGN_OR_RETURN(WrittenFile written,
                     WriteSafetensors(env, JoinPath(folder, name), shards[i], metadata));
    for (const TensorToWrite& tensor : shards[i]) weight_map[tensor.name] = name;
    files.push_back({name, written.bytes, std::move(written.sha256)});
  }
  if (shards.size() == 1) return files;
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = total;
  index["weight_map"] = std::move(weight_map);
  const std::string text = index.dump(2) + "\n";  // names were checked to be UTF-8
  const std::string name = stem + kSafetensorsIndexEnding;
  RETURN_IF_ERROR(WriteFileAtomically(env, JoinPath(folder, name), text));
  files.push_back({name, text.size(), Sha256Hex(text)});
  return files;
}

}  // namespace tritter
