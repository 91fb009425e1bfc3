#include "model/run_spec.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/env.h"
#include "common/status_macros.h"
#include "model/run_spec_keys.h"
#include "model/run_spec_resolve.h"

namespace tritter {
namespace {

bool HasControlCharacter(absl::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return true;
  }
  return false;
}

std::vector<SourceSpec> ReadSources(RunMaps* maps, absl::string_view base_dir) {
  std::vector<SourceSpec> sources;
  maps->data.Require("sources");
  maps->sources = maps->data.MapList("sources");
  if (maps->data.Has("sources") && maps->sources.empty()) {
    maps->data.Error("sources", "expected a list of at least one source");
  }
  for (YamlMap& map : maps->sources) {
    SourceSpec source;
    map.Require("shards");
    ReadYamlFields(SourceFields(), &map, &source);
    if (map.Has("shards") && (source.shards.empty() || HasControlCharacter(source.shards))) {
      map.Error("shards", "expected the path of a folder, without control characters");
    }
    while (source.shards.size() > 1 && source.shards.back() == '/') source.shards.pop_back();
    if (!map.Has("name")) source.name = Basename(source.shards);
    source.shards = JoinPath(base_dir, source.shards);
    sources.push_back(std::move(source));
  }
  return sources;
}

// Keys are names of sources; a source that is not named has no weight in the stage.
std::map<std::string, double> ReadStage(YamlMap* stage, const std::vector<SourceSpec>& sources) {
  std::map<std::string, double> weights;
  if (!stage->present()) return weights;
  std::vector<std::string> names;
  for (const SourceSpec& source : sources) {
    names.push_back(source.name);
    weights[source.name] = 0;
  }
  double sum = 0;
  bool all_known = true;
  for (const std::string& key : stage->Keys()) {
    double weight = 0;
    const bool read = stage->Get(key, &weight, 0.0);
    if (weights.count(key) == 0) {
      all_known = false;
      const std::string nearest = NearestWord(key, names);
      stage->Error(
          key, absl::StrCat("no source has this name",
                            nearest.empty() ? "" : absl::StrCat(" (did you mean `", nearest, "`?)"),
                            "; data.sources has ", absl::StrJoin(names, ", ")));
    } else if (read) {
      weights[key] = weight;
      sum += weight;
    }
  }
  if (sum == 0 && all_known) stage->Error("", "every weight is 0; at least one must be more");
  return weights;
}

void ReadDocument(YamlMap root, absl::string_view base_dir, RunMaps* maps, RunDraft* draft) {
  maps->root = root;
  ReadYamlFields(RootFields(), &maps->root, draft);
  root.Require("model");
  maps->model = root.Map("model");
  if (maps->model.present()) draft->model = ReadModelConfig(maps->model);

  root.Require("data");
  maps->data = root.Map("data");
  if (maps->data.present()) draft->sources = ReadSources(maps, base_dir);
  YamlMap stages = maps->data.Map("stages");
  maps->decay_stage = stages.Map("decay");
  draft->decay_weights = ReadStage(&maps->decay_stage, draft->sources);
  YamlMap label_weights = maps->data.Map("label_weights");
  ReadYamlFields(LabelWeightFields(), &label_weights, draft);

  root.Require("training");
  maps->training = root.Map("training");
  draft->global_batch = 32;
  ReadYamlFields(TrainingFields(), &maps->training, draft);
  maps->learning_rate = maps->training.Map("learning_rate");
  ReadYamlFields(LearningRateFields(), &maps->learning_rate, draft);
  for (const RunSection& section : PlainSections()) {
    YamlMap map = root.Map(section.key);
    ReadYamlFields(section.fields, &map, draft);
    if (section.key == "workers") maps->workers = map;
  }
}

}  // namespace

absl::StatusOr<RunSpec> ParseRunSpec(absl::string_view yaml, absl::string_view file_name,
                                     absl::string_view base_dir) {
  ASSIGN_OR_RETURN(YamlDocument document, YamlDocument::Parse(yaml, file_name));
  YamlMap root = document.Root();
  RunMaps maps{root, root, root, root, root, root, root, {}};
  RunDraft draft;
  ReadDocument(root, base_dir, &maps, &draft);
  ResolveDefaults(&maps, &draft);
  CheckRun(&maps, draft);
  RETURN_IF_ERROR(document.Finish());
  return static_cast<RunSpec>(draft);
}

}  // namespace tritter
