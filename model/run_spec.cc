#include "model/run_spec.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/env.h"
#include "common/nearest_word.h"
#include "common/status_macros.h"
#include "model/data_mix.h"
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

// Without "x/..", where that leads to the same place: "mine/../quickstart" is another one if mine
// is a link.
std::string Shortened(const std::string& path) {
  if (!absl::StrContains(path, "..")) return path;
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  std::error_code error, other;
  const bool same = std::filesystem::weakly_canonical(path, error) ==
                    std::filesystem::weakly_canonical(normal, other);
  return same && !error && !other ? normal.string() : path;
}

std::vector<SourceSpec> ReadSources(RunMaps* maps, absl::string_view base_dir) {
  std::vector<SourceSpec> sources;
  maps->data.Require("sources");
  maps->sources = maps->data.MapList("sources", kMaxSources);
  if (maps->data.Has("sources") && maps->sources.empty()) {
    maps->data.Error("sources", "expected a list of at least one source");
  }
  for (YamlMap& map : maps->sources) {
    SourceSpec source;
    map.Require("shards");
    ReadYamlFields(SourceFields(), &map, &source);
    if (map.Has("shards") && (source.shards.empty() || HasControlCharacter(source.shards))) {
      map.Error("shards", "expected the path of a folder, without control characters");
    } else if (source.shards.size() > kMaxPathBytes) {
      map.Error("shards", absl::StrCat("has ", source.shards.size(),
                                       " bytes, expected a path of at most ", kMaxPathBytes));
      source.shards.clear();
    }
    while (source.shards.size() > 1 && source.shards.back() == '/') source.shards.pop_back();
    if (!map.Has("name")) source.name = Basename(source.shards);
    source.shards = Shortened(JoinPath(base_dir, source.shards));
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
  const std::vector<std::string> keys = stage->Keys();
  if (keys.size() > kMaxSources) {
    stage->Error("", absl::StrCat("names ", keys.size(), " sources, expected at most the ",
                                  sources.size(), " of data.sources"));
    for (const std::string& key : keys) stage->Skip(key);
    return {};
  }
  for (const std::string& key : keys) {
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

// The weights of the mix's roles for the sources that do not say their own.
void ApplyMix(RunMaps* maps, RunDraft* draft) {
  const std::vector<MixRole> roles = DataMixRoles(draft->mix);
  std::vector<std::string> missing, names, all;
  for (const MixRole& role : roles) {
    all.push_back(role.name);
    if (std::none_of(draft->sources.begin(), draft->sources.end(),
                     [&](const SourceSpec& s) { return s.name == role.name; }))
      missing.push_back(role.name);
  }
  for (size_t i = 0; i < draft->sources.size(); ++i) {
    SourceSpec& source = draft->sources[i];
    names.push_back(source.name);
    if (maps->sources[i].Has("weight")) continue;
    const auto role = std::find_if(roles.begin(), roles.end(),
                                   [&](const MixRole& r) { return source.name == r.name; });
    if (role != roles.end()) {
      source.weight = role->weight;
    } else {
      maps->sources[i].Error("name", absl::StrCat("`", source.name, "` is no role of the mix ",
                                                  draft->mix, " (", absl::StrJoin(all, ", "),
                                                  "); name it after one, or give it a weight"));
    }
  }
  if (!missing.empty()) {
    maps->data.Error("mix", absl::StrCat(draft->mix,
                                         " needs a source named after each of its roles;"
                                         " missing: ",
                                         absl::StrJoin(missing, ", "),
                                         "; there are: ", absl::StrJoin(names, ", ")));
  }
}

// A mapping with `stable` and `decay`, or a list of stages with their first steps.
void ReadStages(RunMaps* maps, RunDraft* draft) {
  const auto add = [&](YamlMap place, YamlMap weights, StageSpec stage,
                       std::optional<StepsOrShare> from) {
    stage.weights = ReadStage(&weights, draft->sources);
    draft->stages.push_back(std::move(stage));
    draft->stage_starts.push_back(from);
    maps->stages.push_back(place);
  };
  if (!maps->data.IsList("stages")) {
    YamlMap stages = maps->data.Map("stages");
    for (const bool decay : {false, true}) {
      const char* const key = decay ? "decay" : "stable";
      YamlMap weights = stages.Map(key);
      StageSpec stage;
      stage.at_decay = decay;
      if (weights.present()) add(weights, weights, stage, StepsOrShare{});
    }
    return;
  }
  for (YamlMap& item : maps->data.MapList("stages", kMaxStages)) {
    StageSpec stage;
    StepsOrShare from;
    item.Require("from");
    const bool read =
        item.GetCountOrPercent("from", &from.steps, &from.share, "decay", &stage.at_decay);
    item.Require("weights");
    add(item, item.Map("weights"), stage, read ? std::make_optional(from) : std::nullopt);
  }
}

// Of jobs that train nothing.
void ReadJob(RunMaps* maps, RunDraft* draft) {
  for (const RunSection& section : PlainSections()) {
    if (section.key != draft->job) continue;
    YamlMap map = maps->root.Map(section.key);
    ReadYamlFields(section.fields, &map, draft);
  }
  std::vector<std::string> others = {"preemptible", "model", "data", "training"};
  for (const RunSection& section : PlainSections()) others.push_back(section.key);
  for (const std::string& key : others) {
    if (key == draft->job || !maps->root.Has(key)) continue;
    maps->root.Skip(key);
    maps->root.Error(key, absl::StrCat("has no meaning with job ", draft->job,
                                       ", which holds name, priority, project, of, after and ",
                                       draft->job, "; remove it"));
  }
}

void ReadDocument(YamlMap root, absl::string_view base_dir, RunMaps* maps, RunDraft* draft) {
  maps->root = root;
  ReadYamlFields(RootFields(), &maps->root, draft);
  if (!IsTraining(*draft)) return ReadJob(maps, draft);
  root.Require("model");
  maps->model = root.Map("model");
  if (maps->model.present()) draft->model = ReadModelConfig(maps->model);

  root.Require("data");
  maps->data = root.Map("data");
  if (maps->data.present()) draft->sources = ReadSources(maps, base_dir);
  ReadYamlFields(DataFields(), &maps->data, draft);
  if (!draft->mix.empty()) ApplyMix(maps, draft);
  ReadStages(maps, draft);
  YamlMap label_weights = maps->data.Map("label_weights");
  ReadYamlFields(LabelWeightFields(), &label_weights, draft);

  root.Require("training");
  maps->training = root.Map("training");
  draft->global_batch = 32;
  draft->sample_prompts = {"The "};
  ReadYamlFields(TrainingFields(), &maps->training, draft);
  maps->learning_rate = maps->training.Map("learning_rate");
  ReadYamlFields(LearningRateFields(), &maps->learning_rate, draft);
  maps->outer = maps->training.Map("outer");
  ReadYamlFields(OuterFields(), &maps->outer, draft);
  for (const RunSection& section : PlainSections()) {
    YamlMap map = root.Map(section.key);
    ReadYamlFields(section.fields, &map, draft);
    if (section.key == "workers") maps->workers = map;
  }
}

}  // namespace

int64_t RoundEnd(const RunSpec& spec, int64_t step) {
  if (!IsOuter(spec)) return step;
  const int64_t rounds = (step + spec.outer_steps - 1) / spec.outer_steps;
  return std::min(rounds * spec.outer_steps, std::max(spec.steps, step));
}

std::vector<double> WeightsAt(const RunSpec& spec, int64_t step) {
  const StageSpec* stage = nullptr;
  for (const StageSpec& s : spec.stages) {
    if (s.from <= step) stage = &s;
  }
  std::vector<double> weights;
  for (const SourceSpec& source : spec.sources) {
    if (stage == nullptr) {
      weights.push_back(source.weight);
    } else {
      const auto it = stage->weights.find(source.name);
      weights.push_back(it == stage->weights.end() ? 0.0 : it->second);
    }
  }
  return weights;
}

absl::StatusOr<RunSpec> ParseRunSpec(absl::string_view yaml, absl::string_view file_name,
                                     absl::string_view base_dir) {
  ASSIGN_OR_RETURN(YamlDocument document, YamlDocument::Parse(yaml, file_name));
  YamlMap root = document.Root();
  RunMaps maps{root, root, root, root, root, root, root, {}, {}};
  RunDraft draft;
  ReadDocument(root, base_dir, &maps, &draft);
  ResolveDefaults(&maps, &draft);
  CheckRun(&maps, draft);
  // It is stored, shown and read again by the workers as this text, which may be longer than the
  // one that was written.
  if (const size_t bytes = CanonicalYaml(draft).size(); bytes > kMaxYamlBytes) {
    maps.root.Error("", absl::StrCat("with all that follows from it the configuration takes ",
                                     bytes, " bytes, expected at most ", kMaxYamlBytes,
                                     "; use fewer sources or stages, or shorter paths"));
  }
  RETURN_IF_ERROR(document.Finish());
  return static_cast<RunSpec>(draft);
}

}  // namespace tritter
