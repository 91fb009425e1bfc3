// The JSON header of a safetensors file: text to checked table and back. No files here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/safetensors.h"

namespace tritter {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes within the data section
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry>
      entries;  // by place in the file, without gap or overlap, from 0 to the data's end
  std::map<std::string, std::string> metadata;
};

// `json`: the header without its length; `data_bytes`: what follows it in the file. Any input gives
// a status. Errors: DataLoss (malformed, naming tensor, offset, expected and actual); Unimplemented
// (a dtype we do not have).
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json,
                                                         uint64_t data_bytes);

// Length and JSON, padded with spaces to a multiple of 8 bytes; the data follows in the order of
// `entries`. Names and metadata must be UTF-8.
std::string SafetensorsHeaderText(absl::Span<const SafetensorsEntry> entries,
                                  const std::map<std::string, std::string>& metadata);

// Bytes of a tensor; false when the product does not fit 63 bits or a dimension is negative.
bool TensorBytes(absl::Span<const int64_t> shape, DType dtype, uint64_t* bytes);

}  // namespace tritter
