// Reads the JSON of a safetensors header event by event, so that a hostile header is refused at its
// first wrong token and never becomes a tree in memory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

// As written: not yet checked against each other or against the file.
struct RawSafetensorsEntry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};
struct RawSafetensorsHeader {
  std::vector<RawSafetensorsEntry> entries;  // in the order of the text, names unique
  std::map<std::string, std::string> metadata;
};

// Errors: DataLoss with the place: syntax, bytes that are not UTF-8, duplicate names or keys,
// values of a wrong type.
absl::StatusOr<RawSafetensorsHeader> ParseSafetensorsJson(absl::string_view json);

}  // namespace tritter
