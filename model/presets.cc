// The built-in presets, as data. Names are the users' own and not counts.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nearest_word.h"
#include "model/config.h"

namespace tritter {
namespace {

struct Preset {
  const char* name;
  int64_t hidden, layers, heads, kv_heads, head_dim, ffn, context, vocab;
  Family family;
};

constexpr Family kT = Family::kTritter;
constexpr Family kB = Family::kBitnet;

// In order of size.
// clang-format off
constexpr Preset kPresets[] = {
    //  name          H   layers  N   K    D      I  context      V
    {"nano",        128,    4,   4,   2,  32,   384,    512,    512, kT},
    {"test",        256,    4,   4,   4,  64,   512,   2048,  65536, kT},
    {"100M",        768,   12,  12,  12,  64,  2048,   2048,  65536, kT},
    {"125M",        768,   12,  12,  12,  64,  3072,   2048,  65536, kT},
    {"500M",       1024,   24,  16,  16,  64,  2816,   4096,  65536, kT},
    {"350M",       1024,   24,  16,  16,  64,  4096,   2048,  65536, kT},
    {"1B",         2048,   16,  16,  16, 128,  5632, 131072,  65536, kT},
    {"3B",         2560,   26,  20,  20, 128,  6912, 131072,  65536, kT},
    {"bitnet-2B",  2560,   30,  20,   5, 128,  6912,   4096, 128256, kB},
    {"7B",         4096,   32,  32,   8, 128, 11008, 131072,  65536, kT},
    {"10B",        4096,   40,  32,   8, 128, 14336, 131072,  65536, kT},
    {"13B",        5120,   40,  40,   8, 128, 13824, 131072,  65536, kT},
    {"30B",        6656,   60,  52,   4, 128, 17920, 131072,  65536, kT},
    {"33B",        6912,   60,  54,   6, 128, 18432, 131072,  65536, kT},
    {"40B",        8192,   60,  64,   8, 128, 21760, 131072,  65536, kT},
    {"65B",        8192,   80,  64,   8, 128, 22016, 131072,  65536, kT},
    {"70B",        8192,   80,  64,   8, 128, 28672, 131072,  65536, kT},
};
// clang-format on

}  // namespace

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.push_back(preset.name);
  return names;
}

absl::StatusOr<ModelConfig> PresetConfig(absl::string_view name) {
  for (const Preset& preset : kPresets) {
    if (name != preset.name) continue;
    ModelConfig config;
    config.preset = preset.name;
    config.family = preset.family;
    config.hidden = preset.hidden;
    config.layers = preset.layers;
    config.heads = preset.heads;
    config.kv_heads = preset.kv_heads;
    config.head_dim = preset.head_dim;
    config.ffn = preset.ffn;
    config.context = preset.context;
    config.vocab = preset.vocab;
    ApplyFamilyDefaults(preset.family, &config);
    return config;
  }
  const std::vector<std::string> names = PresetNames();
  const std::string nearest = NearestWord(name, names);
  return absl::NotFoundError(
      absl::StrCat("no preset is called `", name, "`",
                   nearest.empty() ? "" : absl::StrCat(" (did you mean `", nearest, "`?)"),
                   "; there are ", absl::StrJoin(names, ", ")));
}

}  // namespace tritter
