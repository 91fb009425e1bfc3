#include "curation/shard_format.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"

namespace tritter {
namespace {

// Offsets of the header's fields (docs/formats/shard.md).
constexpr uint64_t kChecksumOffset = 120;  // covers everything before it

absl::Status Bad(const std::string& path, uint64_t offset, absl::string_view what,
                 const absl::AlphaNum& expected, const absl::AlphaNum& actual) {
  return absl::DataLossError(absl::StrCat(path, ": offset ", offset, ": ", what, ": expected ",
                                          expected, ", actual ", actual, "; run curation again"));
}

uint64_t HeaderChecksum(const uint8_t* header) {
  const Sha256Digest digest =
      Sha256(absl::string_view(reinterpret_cast<const char*>(header), kChecksumOffset));
  return LoadLittle64(digest.data());
}

}  // namespace

absl::string_view DocumentLabelName(DocumentLabel label) {
  switch (label) {
    case DocumentLabel::kPositive:
      return "positive";
    case DocumentLabel::kNegative:
      return "negative";
    case DocumentLabel::kEducational:
      return "educational";
  }
  return "unknown label";
}

std::optional<DocumentLabel> ParseDocumentLabel(absl::string_view name) {
  for (uint32_t i = 0; i < kDocumentLabels; ++i) {
    const DocumentLabel label = static_cast<DocumentLabel>(i);
    if (name == DocumentLabelName(label)) return label;
  }
  return std::nullopt;
}

float WeightOfLabel(DocumentLabel label) {
  switch (label) {
    case DocumentLabel::kPositive:
      return 1.0f;
    case DocumentLabel::kNegative:
      return 0.3f;
    case DocumentLabel::kEducational:
      return 1.2f;
  }
  return 1.0f;
}

uint32_t TokenWidthFor(uint32_t vocabulary) { return vocabulary <= 65536 ? 2 : 4; }

void AppendLittle16(std::string* out, uint16_t v) {
  out->push_back(static_cast<char>(v & 0xff));
  out->push_back(static_cast<char>(v >> 8));
}
void AppendLittle32(std::string* out, uint32_t v) {
  for (int i = 0; i < 4; ++i) out->push_back(static_cast<char>((v >> (8 * i)) & 0xff));
}
void AppendLittle64(std::string* out, uint64_t v) {
  for (int i = 0; i < 8; ++i) out->push_back(static_cast<char>((v >> (8 * i)) & 0xff));
}
uint16_t LoadLittle16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | (p[1] << 8)); }
uint32_t LoadLittle32(const uint8_t* p) {
  uint32_t v = 0;
  for (int i = 3; i >= 0; --i) v = (v << 8) | p[i];
  return v;
}
uint64_t LoadLittle64(const uint8_t* p) {
  uint64_t v = 0;
  for (int i = 7; i >= 0; --i) v = (v << 8) | p[i];
  return v;
}

std::string EncodeShardHeader(const ShardHeader& header) {
  std::string out(kShardMagic, sizeof(kShardMagic));
  AppendLittle32(&out, kShardVersion);
  AppendLittle32(&out, static_cast<uint32_t>(kShardHeaderBytes));
  AppendLittle32(&out, header.token_width);
  AppendLittle32(&out, header.vocabulary);
  AppendLittle64(&out, header.tokens);
  AppendLittle64(&out, header.documents);
  AppendLittle64(&out, header.raw_bytes);
  AppendLittle64(&out, header.offsets_offset());
  AppendLittle64(&out, header.records_offset());
  AppendLittle64(&out, header.file_bytes());
  out.append(reinterpret_cast<const char*>(header.tokenizer_hash.data()),
             header.tokenizer_hash.size());
  out.append(16, '\0');  // reserved
  AppendLittle64(&out, HeaderChecksum(reinterpret_cast<const uint8_t*>(out.data())));
  return out;
}

absl::StatusOr<ShardHeader> DecodeShardHeader(absl::Span<const uint8_t> file,
                                              const std::string& path) {
  if (file.size() < kShardHeaderBytes) {
    return Bad(path, 0, "file too short for the header",
               absl::StrCat("at least ", kShardHeaderBytes, " bytes"), file.size());
  }
  const uint8_t* p = file.data();
  if (std::memcmp(p, kShardMagic, sizeof(kShardMagic)) != 0) {
    return Bad(
        path, 0, "magic", "TRITSHRD",
        absl::CHexEscape(absl::string_view(reinterpret_cast<const char*>(p), sizeof(kShardMagic))));
  }
  if (const uint64_t stored = LoadLittle64(p + kChecksumOffset), actual = HeaderChecksum(p);
      stored != actual) {
    return Bad(path, kChecksumOffset, "header checksum", absl::Hex(stored), absl::Hex(actual));
  }
  if (const uint32_t version = LoadLittle32(p + 8); version != kShardVersion) {
    return Bad(path, 8, "version", kShardVersion, version);
  }
  if (const uint32_t bytes = LoadLittle32(p + 12); bytes != kShardHeaderBytes) {
    return Bad(path, 12, "header bytes", kShardHeaderBytes, bytes);
  }
  ShardHeader header;
  header.token_width = LoadLittle32(p + 16);
  header.vocabulary = LoadLittle32(p + 20);
  header.tokens = LoadLittle64(p + 24);
  header.documents = LoadLittle64(p + 32);
  header.raw_bytes = LoadLittle64(p + 40);
  std::memcpy(header.tokenizer_hash.data(), p + 72, header.tokenizer_hash.size());
  if (header.token_width != 2 && header.token_width != 4) {
    return Bad(path, 16, "token width", "2 or 4", header.token_width);
  }
  // Bounded by the file before anything is multiplied, so that nothing below can overflow.
  if (header.tokens > file.size() / header.token_width) {
    return Bad(path, 24, "token count", absl::StrCat("at most ", file.size() / header.token_width),
               header.tokens);
  }
  if (header.documents > file.size() / (8 + kShardRecordBytes)) {
    return Bad(path, 32, "document count",
               absl::StrCat("at most ", file.size() / (8 + kShardRecordBytes)), header.documents);
  }
  const uint64_t stored[3] = {LoadLittle64(p + 48), LoadLittle64(p + 56), LoadLittle64(p + 64)};
  const uint64_t follow[3] = {header.offsets_offset(), header.records_offset(),
                              header.file_bytes()};
  const char* const names[3] = {"document offsets' place", "document records' place",
                                "file size in the header"};
  for (int i = 0; i < 3; ++i) {
    if (stored[i] != follow[i]) return Bad(path, 48 + 8 * i, names[i], follow[i], stored[i]);
  }
  if (header.file_bytes() != file.size()) {
    return Bad(path, file.size(), "file size", header.file_bytes(), file.size());
  }
  return header;
}

}  // namespace tritter
