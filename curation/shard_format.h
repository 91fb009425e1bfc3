// The bytes of one shard file (docs/formats/shard.md): header, tokens, document offsets, document
// records; little-endian. Pure encoding and decoding; files are the business of shard_writer and
// shard_reader.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tritter {

inline constexpr char kShardMagic[8] = {'T', 'R', 'I', 'T', 'S', 'H', 'R', 'D'};
inline constexpr uint32_t kShardVersion = 1;
inline constexpr uint64_t kShardHeaderBytes = 128;
inline constexpr uint64_t kShardRecordBytes = 8;  // label u32, weight f32

// Label of a document, from curation. The weight that training uses stands beside it.
enum class DocumentLabel : uint32_t { kPositive = 0, kNegative = 1, kEducational = 2 };
inline constexpr uint32_t kDocumentLabels = 3;
absl::string_view DocumentLabelName(DocumentLabel label);  // "positive", "negative", "educational"
std::optional<DocumentLabel> ParseDocumentLabel(absl::string_view name);
// The weight that curation gives: 1.0, 0.3, 1.2.
float WeightOfLabel(DocumentLabel label);

struct ShardHeader {
  uint32_t token_width = 2;  // bytes of a token: 2 or 4
  uint32_t vocabulary = 0;   // every id is below it
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint64_t raw_bytes = 0;  // of the documents' text
  std::array<uint8_t, 32> tokenizer_hash{};

  // Byte offsets of the sections, all multiples of 8; they follow from the counts.
  uint64_t tokens_offset() const { return kShardHeaderBytes; }
  uint64_t offsets_offset() const { return (kShardHeaderBytes + tokens * token_width + 7) / 8 * 8; }
  uint64_t records_offset() const { return offsets_offset() + (documents + 1) * 8; }
  uint64_t file_bytes() const { return records_offset() + documents * kShardRecordBytes; }
};

// 2 when every id below `vocabulary` fits 16 bits, else 4.
uint32_t TokenWidthFor(uint32_t vocabulary);

// Exactly kShardHeaderBytes, checksum included.
std::string EncodeShardHeader(const ShardHeader& header);
// `file`: all bytes of the shard; `path` for messages. DataLoss with path, offset, expected and
// actual: too short, magic, version, checksum, impossible counts, a file size that does not follow
// from the counts.
absl::StatusOr<ShardHeader> DecodeShardHeader(absl::Span<const uint8_t> file,
                                              const std::string& path);

// Little-endian scalars at any address.
void AppendLittle16(std::string* out, uint16_t v);
void AppendLittle32(std::string* out, uint32_t v);
void AppendLittle64(std::string* out, uint64_t v);
uint16_t LoadLittle16(const uint8_t* p);
uint32_t LoadLittle32(const uint8_t* p);
uint64_t LoadLittle64(const uint8_t* p);

}  // namespace tritter
