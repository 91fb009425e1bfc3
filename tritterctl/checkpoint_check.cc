#include "tritterctl/checkpoint_check.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/folder_checkpoint_store.h"

namespace tritter {
namespace {

constexpr char kManifestName[] = "manifest.json";

CheckpointCheck Check(std::string location,
                      const absl::StatusOr<std::unique_ptr<CheckpointReader>>& opened) {
  CheckpointCheck check;
  check.location = std::move(location);
  check.manifest = opened.status();
  if (!opened.ok()) return check;
  check.run_id = (*opened)->manifest().run_id;
  check.step = (*opened)->manifest().step;
  check.bytes = (*opened)->bytes();
  check.files = CheckCheckpointFiles(**opened);
  return check;
}

std::string Verdict(const absl::Status& status) {
  return status.ok() ? "right" : absl::StrCat("WRONG: ", std::string(status.message()));
}

}  // namespace

bool CheckpointCheck::valid() const {
  return manifest.ok() && std::all_of(files.begin(), files.end(),
                                      [](const CheckedFile& f) { return f.status.ok(); });
}

bool IsCheckpointFolder(Env* env, const std::string& folder) {
  if (absl::StartsWith(Basename(folder), "step-")) return true;
  const absl::StatusOr<std::string> json = env->ReadFile(JoinPath(folder, kManifestName));
  return json.ok() && absl::StrContains(*json, "\"run_id\"");
}

CheckpointCheck CheckCheckpointFolder(Env* env, const std::string& folder) {
  return Check(folder, OpenCheckpointFolder(env, folder));
}

std::optional<std::string> FindRunFolder(Env* env, const std::string& folder) {
  if (env->IsDirectory(JoinPath(folder, "checkpoints"))) return folder;
  if (Basename(folder) == "checkpoints") return Dirname(folder);
  return std::nullopt;
}

absl::StatusOr<std::vector<CheckpointCheck>> CheckRun(Env* env, const std::string& run_dir,
                                                      const std::vector<v1::Checkpoint>& recorded) {
  const std::unique_ptr<CheckpointStore> store = CheckpointsOfRun(env, run_dir);
  ASSIGN_OR_RETURN(std::vector<int64_t> steps, store->Steps());
  for (const v1::Checkpoint& c : recorded) steps.push_back(c.step());
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  if (steps.empty()) {
    return absl::NotFoundError(
        absl::StrCat(store->location(), ": no committed checkpoint is there"));
  }
  std::vector<CheckpointCheck> checks;
  for (const int64_t step : steps) {
    const absl::StatusOr<std::unique_ptr<CheckpointReader>> opened = store->Open(step);
    CheckpointCheck& check =
        checks.emplace_back(Check(JoinPath(store->location(), CheckpointFolderName(step)), opened));
    check.step = step;
    const auto record = std::find_if(recorded.begin(), recorded.end(),
                                     [&](const auto& c) { return c.step() == step; });
    if (opened.ok() && record != recorded.end() &&
        (*opened)->manifest_sha256() != record->manifest_sha256()) {
      check.manifest = absl::DataLossError(absl::StrCat(
          (*opened)->LocationOf(kManifestName), ": SHA-256 is ", (*opened)->manifest_sha256(),
          ", the coordinator recorded ", record->manifest_sha256()));
    }
  }
  return checks;
}

std::string CheckpointCheckText(const CheckpointCheck& check) {
  std::string out =
      absl::StrCat(check.location, ": ",
                   check.valid() ? absl::StrCat("valid checkpoint: run ", check.run_id, " step ",
                                                check.step, ", ", check.files.size(), " files, ",
                                                FormatBytes(static_cast<double>(check.bytes)))
                                 : std::string("damaged checkpoint"),
                   "\n");
  absl::StrAppend(&out, "  ", kManifestName, "  ", Verdict(check.manifest), "\n");
  for (const CheckedFile& f : check.files) {
    absl::StrAppend(&out, "  ", f.file.name, "  ", Verdict(f.status), "\n");
  }
  return out;
}

std::string RunCheckText(const std::vector<CheckpointCheck>& checks) {
  std::string out;
  int64_t newest = 0;
  for (const CheckpointCheck& check : checks) {
    absl::StrAppend(&out, CheckpointCheckText(check));
    if (check.valid()) newest = check.step;
  }
  absl::StrAppend(&out, newest > 0 ? absl::StrCat("the newest whole one is of step ", newest, "\n")
                                   : std::string("none is whole\n"));
  return out;
}

OrderedJson CheckpointCheckJson(const CheckpointCheck& check) {
  OrderedJson json = {{"path", check.location}, {"kind", "checkpoint"}, {"valid", check.valid()},
                      {"run_id", check.run_id}, {"step", check.step},   {"bytes", check.bytes}};
  if (!check.manifest.ok()) json["error"] = std::string(check.manifest.message());
  json["files"] = OrderedJson::array();
  for (const CheckedFile& f : check.files) {
    OrderedJson file = {{"name", f.file.name}, {"bytes", f.file.bytes}, {"valid", f.status.ok()}};
    if (!f.status.ok()) file["error"] = std::string(f.status.message());
    json["files"].push_back(std::move(file));
  }
  return json;
}

OrderedJson RunCheckJson(const std::string& path, const std::vector<CheckpointCheck>& checks) {
  OrderedJson json = {{"path", path}, {"kind", "run"}, {"valid", AllValid(checks)}};
  json["checkpoints"] = OrderedJson::array();
  for (const CheckpointCheck& check : checks)
    json["checkpoints"].push_back(CheckpointCheckJson(check));
  return json;
}

bool AllValid(const std::vector<CheckpointCheck>& checks) {
  return std::all_of(checks.begin(), checks.end(),
                     [](const CheckpointCheck& c) { return c.valid(); });
}

}  // namespace tritter
