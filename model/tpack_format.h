// Bytes of a .tpack header (docs/formats/tpack.md): pure functions between bytes and a description,
// no files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "model/tpack.h"

namespace tritter {

inline constexpr uint32_t kTpackVersion = 1;
inline constexpr uint64_t kTpackPreambleBytes = 64;
inline constexpr uint64_t kTpackAlignment = 64;
inline constexpr uint64_t kTpackMaxHeaderBytes = uint64_t{64} << 20;

// One row of the tensor table. Offsets are from the start of the file and multiples of
// kTpackAlignment.
struct TpackEntry {
  std::string name;
  std::vector<int64_t> shape;
  TpackType type = TpackType::kF32;
  uint64_t offset = 0;
  uint64_t length = 0;        // bytes of data
  uint64_t scale_offset = 0;  // 0 when scale_count is 0
  uint64_t scale_count = 0;   // floats
  uint32_t data_crc = 0;      // CRC-32C of the data
  uint32_t scale_crc = 0;     // CRC-32C of the scales; 0 when there are none
};

struct TpackHeader {
  ModelConfig config;
  std::string tokenizer_hash;
  TpackProvenance provenance;
  std::vector<TpackEntry> entries;  // ParameterTable order
  uint64_t header_end = 0;          // preamble and header block, a multiple of kTpackAlignment
  uint64_t file_bytes = 0;
};

// The tensor whose data and scales are at these addresses.
TpackTensor TensorOf(const TpackEntry& entry, const uint8_t* data, const uint8_t* scales);

inline uint64_t AlignUp(uint64_t n) {
  return (n + kTpackAlignment - 1) / kTpackAlignment * kTpackAlignment;
}

const char* TpackTypeName(TpackType type);
// Bytes of data and number of scales that a tensor of this type and shape has under `config`.
// Errors: InvalidArgument when the type cannot hold the shape or the parameter's kind (ternary
// codes for a norm, …).
struct TpackSizes {
  uint64_t data_bytes = 0;
  uint64_t scale_count = 0;
};
absl::StatusOr<TpackSizes> ExpectedSizes(const ModelConfig& config, const ParameterSpec& parameter,
                                         TpackType type);

// Gives entries[i].offset and scale_offset (relative to the file), header_end and file_bytes from
// lengths and counts, and returns preamble and header block, padded to header_end bytes.
std::string EncodeTpackHeader(TpackHeader* header);

// Checks, in this order: magic, lengths against `file`, the header's SHA-256, version,
// interleaving, every field, and the table against the configuration's ParameterTable and the
// canonical placement. `path` is for messages. Errors: DataLoss for damage, with path, offset,
// expected and actual; Unimplemented for a newer version or an unknown interleaving in an intact
// file.
absl::StatusOr<TpackHeader> DecodeTpackHeader(absl::Span<const uint8_t> file,
                                              const std::string& path);

// Both checksums of a tensor that was read from `path`. Errors: DataLoss with the offset.
absl::Status VerifyChecksums(const TpackEntry& entry, const TpackTensor& tensor,
                             const std::string& path);

// Codes 0 to 2 with padding 1 in ternary data; finite scales, those of ternary data above zero (the
// quantiser gives at least 1e-5, also for a matrix of zeros). Errors: DataLoss, prefixed by
// `where`.
absl::Status VerifyTensorValues(const TpackTensor& tensor, const std::string& where);

}  // namespace tritter
