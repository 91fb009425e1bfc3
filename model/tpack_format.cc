#include "model/tpack_format.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/yaml.h"
#include "kernels/packing.h"
#include "model/byte_cursor.h"

namespace tritter {
namespace {

// Preamble: magic 8, version 4, reserved 4, header length 8, file length 8, SHA-256 of the 32 bytes
// before it and the header.
constexpr uint64_t kVersionAt = 8, kReservedAt = 12, kHeaderLengthAt = 16, kFileLengthAt = 24,
                   kDigestAt = 32;
constexpr size_t kMaxConfigBytes = 64 << 10, kMaxStringBytes = 4096;
constexpr uint32_t kMaxRank = 2;

absl::string_view AsChars(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string HeaderDigest(absl::string_view preamble_start, absl::string_view block) {
  Sha256Hasher hasher;
  hasher.Update(preamble_start);
  hasher.Update(block);
  const Sha256Digest digest = hasher.Finish();
  return std::string(digest.begin(), digest.end());
}

// Offsets in the order of the table: data, then scales, each on the next multiple of
// kTpackAlignment.
void PlaceTensors(TpackHeader* header) {
  uint64_t at = header->header_end;
  for (TpackEntry& entry : header->entries) {
    entry.offset = at;
    at = AlignUp(at + entry.length);
    entry.scale_offset = entry.scale_count == 0 ? 0 : at;
    at = AlignUp(at + entry.scale_count * sizeof(float));
  }
  header->file_bytes = at;
}

std::string EncodeBlock(const TpackHeader& header) {
  ByteSink out;
  out.String(ModelConfigToYaml(header.config, 0));
  out.String(header.tokenizer_hash);
  out.String(kTile16x16Name);
  out.String(header.provenance.run_id);
  out.U64(static_cast<uint64_t>(header.provenance.step));
  out.String(header.provenance.checkpoint_hash);
  out.String(header.provenance.weights);
  out.String(header.provenance.code_version);
  out.U32(static_cast<uint32_t>(header.entries.size()));
  for (const TpackEntry& entry : header.entries) {
    out.String(entry.name);
    out.U32(static_cast<uint32_t>(entry.type));
    out.U32(static_cast<uint32_t>(entry.shape.size()));
    for (const int64_t dim : entry.shape) out.U64(static_cast<uint64_t>(dim));
    out.U64(entry.offset);
    out.U64(entry.length);
    out.U64(entry.scale_offset);
    out.U64(entry.scale_count);
    out.U32(entry.data_crc);
    out.U32(entry.scale_crc);
  }
  out.PadTo(kTpackAlignment);
  return out.Take();
}

absl::Status DecodeEntry(ByteCursor* in, TpackEntry* entry) {
  RETURN_IF_ERROR(in->String(kMaxStringBytes, "tensor name", &entry->name));
  uint32_t type = 0, rank = 0;
  RETURN_IF_ERROR(in->U32("tensor type", &type));
  RETURN_IF_ERROR(in->U32("tensor rank", &rank));
  if (type > static_cast<uint32_t>(TpackType::kRowInt4))
    return in->Bad("tensor type", "0 to 5", type);
  if (rank < 1 || rank > kMaxRank) return in->Bad("tensor rank", "1 or 2", rank);
  entry->type = static_cast<TpackType>(type);
  entry->shape.resize(rank);
  for (int64_t& dim : entry->shape) {
    uint64_t value = 0;
    RETURN_IF_ERROR(in->U64("tensor dimension", &value));
    dim = static_cast<int64_t>(value);
  }
  RETURN_IF_ERROR(in->U64("data offset", &entry->offset));
  RETURN_IF_ERROR(in->U64("data length", &entry->length));
  RETURN_IF_ERROR(in->U64("scale offset", &entry->scale_offset));
  RETURN_IF_ERROR(in->U64("scale count", &entry->scale_count));
  RETURN_IF_ERROR(in->U32("data checksum", &entry->data_crc));
  return in->U32("scale checksum", &entry->scale_crc);
}

absl::Status DecodeConfig(ByteCursor* in, ModelConfig* config) {
  std::string yaml;
  RETURN_IF_ERROR(in->String(kMaxConfigBytes, "model configuration", &yaml));
  absl::StatusOr<YamlDocument> document = YamlDocument::Parse(yaml, "model configuration");
  if (document.ok()) {
    *config = ReadModelConfig(document->Root());
    const absl::Status status = document->Finish();
    if (!status.ok()) return in->Bad("model configuration", "a valid one", status.message());
  } else {
    return in->Bad("model configuration", "a valid one", document.status().message());
  }
  const absl::Status status = ValidateConfig(*config);
  if (!status.ok()) return in->Bad("model configuration", "a valid one", status.message());
  return absl::OkStatus();
}

absl::Status DecodeTexts(ByteCursor* in, TpackHeader* header) {
  RETURN_IF_ERROR(in->String(kMaxStringBytes, "tokenizer hash", &header->tokenizer_hash));
  std::string interleaving;
  RETURN_IF_ERROR(in->String(kMaxStringBytes, "interleaving", &interleaving));
  if (interleaving != kTile16x16Name) {
    return absl::UnimplementedError(absl::StrCat(in->path(), ": interleaving '", interleaving,
                                                 "', this program reads '", kTile16x16Name,
                                                 "': export the model again"));
  }
  TpackProvenance& p = header->provenance;
  RETURN_IF_ERROR(in->String(kMaxStringBytes, "run id", &p.run_id));
  uint64_t step = 0;
  RETURN_IF_ERROR(in->U64("step", &step));
  p.step = static_cast<int64_t>(step);
  RETURN_IF_ERROR(in->String(kMaxStringBytes, "checkpoint hash", &p.checkpoint_hash));
  RETURN_IF_ERROR(in->String(kMaxStringBytes, "weights", &p.weights));
  return in->String(kMaxStringBytes, "code version", &p.code_version);
}

// The table must be the configuration's ParameterTable, each tensor where PlaceTensors puts it:
// nothing overlaps, nothing is left over, nothing lies outside.
absl::Status CheckTable(const ByteCursor& in, TpackHeader* header) {
  const std::vector<ParameterSpec> parameters = ParameterTable(header->config);
  if (parameters.size() != header->entries.size()) {
    return in.Bad("tensor count", parameters.size(), header->entries.size());
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const TpackEntry& entry = header->entries[i];
    if (entry.name != parameters[i].name)
      return in.Bad("tensor name", parameters[i].name, entry.name);
    if (entry.shape != parameters[i].shape) {
      return in.Bad(absl::StrCat("shape of ", entry.name), absl::StrJoin(parameters[i].shape, "x"),
                    absl::StrJoin(entry.shape, "x"));
    }
    const absl::StatusOr<TpackSizes> sizes =
        ExpectedSizes(header->config, parameters[i], entry.type);
    if (!sizes.ok())
      return in.Bad(absl::StrCat("type of ", entry.name), "another", sizes.status().message());
    if (entry.length != sizes->data_bytes) {
      return in.Bad(absl::StrCat("data length of ", entry.name), sizes->data_bytes, entry.length);
    }
    if (entry.scale_count != sizes->scale_count) {
      return in.Bad(absl::StrCat("scale count of ", entry.name), sizes->scale_count,
                    entry.scale_count);
    }
  }
  TpackHeader placed = *header;
  PlaceTensors(&placed);
  for (size_t i = 0; i < placed.entries.size(); ++i) {
    const TpackEntry &want = placed.entries[i], &have = header->entries[i];
    if (have.offset != want.offset)
      return in.Bad(absl::StrCat("offset of ", have.name), want.offset, have.offset);
    if (have.scale_offset != want.scale_offset) {
      return in.Bad(absl::StrCat("scale offset of ", have.name), want.scale_offset,
                    have.scale_offset);
    }
  }
  if (placed.file_bytes != header->file_bytes)
    return in.Bad("file length", placed.file_bytes, header->file_bytes);
  return absl::OkStatus();
}

}  // namespace

const char* TpackTypeName(TpackType type) {
  switch (type) {
    case TpackType::kF32:
      return "F32";
    case TpackType::kBF16:
      return "BF16";
    case TpackType::kTernaryTile16x16:
      return "ternary tile16x16-v1";
    case TpackType::kTernaryLogical:
      return "ternary logical";
    case TpackType::kRowInt8:
      return "row-wise INT8";
    case TpackType::kRowInt4:
      return "row-wise INT4";
  }
  return "unknown";
}

absl::StatusOr<TpackSizes> ExpectedSizes(const ModelConfig& config, const ParameterSpec& parameter,
                                         TpackType type) {
  const bool ternary = type == TpackType::kTernaryTile16x16 || type == TpackType::kTernaryLogical;
  const bool plain = type == TpackType::kF32 || type == TpackType::kBF16;
  const bool matrix = parameter.shape.size() == 2;
  const bool fits = parameter.kind == ParameterKind::kTernary
                        ? ternary
                        : plain || (RowFormatOf(type).has_value() && matrix);
  if (!fits || (ternary && !matrix)) {
    return absl::InvalidArgumentError(absl::StrCat(parameter.name, " [",
                                                   absl::StrJoin(parameter.shape, ", "),
                                                   "] cannot be stored as ", TpackTypeName(type)));
  }
  // ValidateConfig bounds the count of all parameters (2^48), so no product overflows.
  const int64_t rows = parameter.shape[0], cols = matrix ? parameter.shape[1] : 1;
  const uint64_t elements = static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols);
  const uint64_t ternary_scales =
      config.granularity == ScaleGranularity::kTensor ? 1 : static_cast<uint64_t>(rows);
  switch (type) {
    case TpackType::kF32:
      return TpackSizes{elements * 4, 0};
    case TpackType::kBF16:
      return TpackSizes{elements * 2, 0};
    case TpackType::kTernaryTile16x16:
      return TpackSizes{static_cast<uint64_t>(TiledBytes(rows, cols)), ternary_scales};
    case TpackType::kTernaryLogical:
      return TpackSizes{static_cast<uint64_t>(rows * LogicalRowBytes(cols)), ternary_scales};
    case TpackType::kRowInt8:
    case TpackType::kRowInt4:
      return TpackSizes{static_cast<uint64_t>(rows * QuantisedRowBytes(*RowFormatOf(type), cols)),
                        static_cast<uint64_t>(rows)};
  }
  return absl::InvalidArgumentError(absl::StrCat("tensor type ", static_cast<uint32_t>(type)));
}

std::string EncodeTpackHeader(TpackHeader* header) {
  // Offsets have a fixed width: the block's length does not depend on their values.
  header->header_end = kTpackPreambleBytes + EncodeBlock(*header).size();
  PlaceTensors(header);
  const std::string block = EncodeBlock(*header);
  ByteSink out;
  out.Bytes(absl::string_view(kTpackMagic, 8));
  out.U32(kTpackVersion);
  out.U32(0);
  out.U64(block.size());
  out.U64(header->file_bytes);
  out.Bytes(HeaderDigest(out.bytes(), block));
  out.Bytes(block);
  return out.Take();
}

absl::StatusOr<TpackHeader> DecodeTpackHeader(absl::Span<const uint8_t> file,
                                              const std::string& path) {
  ByteCursor in(file, path);
  if (file.size() < kTpackPreambleBytes) {
    return in.BadAt(0, "file length", absl::StrCat("at least ", kTpackPreambleBytes), file.size());
  }
  const absl::string_view chars = AsChars(file);
  if (chars.substr(0, 8) != absl::string_view(kTpackMagic, 8)) {
    return in.BadAt(0, "magic", kTpackMagic,
                    absl::StrCat("'", absl::CHexEscape(chars.substr(0, 8)), "' (not a .tpack)"));
  }
  const uint64_t block_bytes = in.PeekU64(kHeaderLengthAt), file_bytes = in.PeekU64(kFileLengthAt);
  if (file_bytes != file.size())
    return in.BadAt(kFileLengthAt, "file length", file_bytes, file.size());
  const uint64_t room = std::min<uint64_t>(file.size() - kTpackPreambleBytes, kTpackMaxHeaderBytes);
  if (block_bytes == 0 || block_bytes > room || block_bytes % kTpackAlignment != 0) {
    return in.BadAt(kHeaderLengthAt, "header length", absl::StrCat("a multiple of 64 up to ", room),
                    block_bytes);
  }
  const std::string want(chars.substr(kDigestAt, 32));
  const std::string have =
      HeaderDigest(chars.substr(0, kDigestAt), chars.substr(kTpackPreambleBytes, block_bytes));
  if (have != want) {
    return in.BadAt(kDigestAt, "SHA-256 of the header", absl::BytesToHexString(want),
                    absl::BytesToHexString(have));
  }
  if (const uint32_t version = in.PeekU32(kVersionAt); version != kTpackVersion) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": .tpack version ", version, ", this program reads version ",
                     kTpackVersion, ": use a newer program or export the model again"));
  }
  if (in.PeekU32(kReservedAt) != 0)
    return in.BadAt(kReservedAt, "reserved field", 0, in.PeekU32(kReservedAt));

  TpackHeader header;
  header.header_end = kTpackPreambleBytes + block_bytes;
  header.file_bytes = file_bytes;
  in.Restrict(kTpackPreambleBytes, header.header_end);
  RETURN_IF_ERROR(DecodeConfig(&in, &header.config));
  RETURN_IF_ERROR(DecodeTexts(&in, &header));
  uint32_t count = 0;
  RETURN_IF_ERROR(in.U32("tensor count", &count));
  for (uint32_t i = 0; i < count; ++i) {  // grows with what is read, never with what is announced
    TpackEntry entry;
    RETURN_IF_ERROR(DecodeEntry(&in, &entry));
    header.entries.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(in.ZerosToEnd());
  RETURN_IF_ERROR(CheckTable(in, &header));
  return header;
}

}  // namespace tritter
