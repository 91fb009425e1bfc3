// From a run as written to a run with every default resolved, and what must hold between its
// fields.
#pragma once

#include <vector>

#include "common/yaml.h"
#include "model/run_spec_keys.h"

namespace tritter {

// The mappings of a document, kept for the positions of what is found later.
struct RunMaps {
  YamlMap root, model, data, training, learning_rate, outer, workers;
  std::vector<YamlMap> sources;
  std::vector<YamlMap> stages;  // as RunDraft::stages: each item of the list, or its only mapping
};

// Fills in what depends on other keys. Problems go to the maps.
void ResolveDefaults(RunMaps* maps, RunDraft* draft);
// What no single key can be blamed for before all are read. Problems go to the maps.
void CheckRun(RunMaps* maps, const RunDraft& draft);

}  // namespace tritter
