#include "model/data_mix.h"

namespace tritter {
namespace {

struct Mix {
  const char* name;
  std::vector<MixRole> roles;
};

const std::vector<Mix>& Mixes() {
  static const auto* const mixes = new std::vector<Mix>{
      {"general-100m",
       {{"natural-language", 40},
        {"code", 25},
        {"mathematics", 15},
        {"machine-learning", 10},
        {"logic", 10}}},
      {"code-assistant",
       {{"python", 35},
        {"rust", 20},
        {"triton", 10},
        {"repositories", 20},
        {"documents", 10},
        {"dialogue", 5}}},
  };
  return *mixes;
}

}  // namespace

std::vector<std::string> DataMixNames() {
  std::vector<std::string> names;
  for (const Mix& mix : Mixes()) names.push_back(mix.name);
  return names;
}

std::vector<MixRole> DataMixRoles(absl::string_view name) {
  for (const Mix& mix : Mixes()) {
    if (name == mix.name) return mix.roles;
  }
  return {};
}

}  // namespace tritter
