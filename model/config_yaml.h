// The keys of a `model:` mapping, for the reference page.
#pragma once

#include <vector>

#include "model/yaml_fields.h"

namespace tritter {

std::vector<YamlKeyDoc>
ModelConfigKeys();  // paths without prefix, in the order of ModelConfigToYaml

}  // namespace tritter
