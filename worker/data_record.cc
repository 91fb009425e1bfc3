#include "worker/data_record.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

std::string RecordPath(const std::string& run_dir) { return JoinPath(run_dir, "data.json"); }

}  // namespace

absl::Status RecordData(Env* env, const std::string& run_dir, const DataHashes& hashes) {
  const std::string path = RecordPath(run_dir);
  const std::string text = nlohmann::json({{"tokens_sha256", hashes}}).dump(2) + "\n";
  if (env->Exists(path)) {
    ASSIGN_OR_RETURN(const std::string recorded, env->ReadFile(path));
    if (recorded == text) return absl::OkStatus();
  }
  // The folder was made with the run. It is not made again: the run may have been deleted.
  return WriteFileAtomically(env, path, text);
}

absl::Status CheckData(Env* env, const std::string& run_dir, const DataHashes& hashes) {
  const std::string path = RecordPath(run_dir);
  if (!env->Exists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, env->ReadFile(path));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto recorded = json.is_object() ? json.find("tokens_sha256") : json.end();
  if (recorded == json.end() || !recorded->is_object()) {
    return absl::DataLossError(
        absl::StrCat(path, ": expected an object tokens_sha256, actual \"", text.substr(0, 80),
                     "\"; restore it, or remove it when the run's shards are certainly unchanged"));
  }
  for (const auto& [source, actual] : hashes) {
    const auto it = recorded->find(source);
    const std::string expected =
        it != recorded->end() && it->is_string() ? it->get<std::string>() : "none";
    if (actual == expected) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "source ", source, ": SHA-256 of tokenizer and shards: expected ", expected, " (", path,
        "), actual ", actual, ": the shards are not those the run was trained on; restore them, ",
        "or train the new data in a new run (tritterctl local: with another --dir)"));
  }
  return absl::OkStatus();
}

}  // namespace tritter
