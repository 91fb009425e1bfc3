#include "model/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/safetensors_json.h"

namespace tritter {
namespace {

struct DTypeRow {
  DType dtype;
  const char* name;
  int64_t bytes;
};
constexpr DTypeRow kDTypes[] = {
    {DType::kF64, "F64", 8},   {DType::kF32, "F32", 4}, {DType::kF16, "F16", 2},
    {DType::kBF16, "BF16", 2}, {DType::kI64, "I64", 8}, {DType::kI32, "I32", 4},
    {DType::kI16, "I16", 2},   {DType::kI8, "I8", 1},   {DType::kU8, "U8", 1},
    {DType::kBool, "BOOL", 1},
};

const DTypeRow& Row(DType dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) return row;
  }
  return kDTypes[0];
}

absl::StatusOr<SafetensorsEntry> CheckEntry(RawSafetensorsEntry raw, uint64_t data_bytes) {
  SafetensorsEntry entry;
  const auto bad = [&](const auto&... parts) {
    return absl::DataLossError(absl::StrCat("tensor `", raw.name, "`: ", parts...));
  };
  const auto* row = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                 [&](const DTypeRow& r) { return raw.dtype == r.name; });
  if (row == std::end(kDTypes)) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor `", raw.name, "`: dtype `", raw.dtype,
        "` is not supported; expected F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL"));
  }
  entry.dtype = row->dtype;
  entry.begin = raw.offsets[0];
  entry.end = raw.offsets[1];
  if (entry.begin > entry.end)
    return bad("data_offsets run backwards, from ", entry.begin, " to ", entry.end);
  if (entry.end > data_bytes) {
    return bad("data_offsets end at ", entry.end, ", expected at most ", data_bytes,
               ", the bytes of data in the file");
  }
  uint64_t bytes = 0;
  if (!TensorBytes(raw.shape, entry.dtype, &bytes))
    return bad("its shape overflows 63 bits of bytes");
  if (bytes != entry.end - entry.begin) {
    return bad("data_offsets ", entry.begin, " to ", entry.end, " hold ", entry.end - entry.begin,
               " bytes, expected ", bytes, " by shape and dtype");
  }
  entry.shape = std::move(raw.shape);
  entry.name = std::move(raw.name);
  return entry;
}

absl::Status CheckContiguous(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes) {
  uint64_t expected = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != expected) {
      return absl::DataLossError(absl::StrCat(
          "tensor `", entry.name, "`: begins at ", entry.begin, ", expected ", expected,
          entry.begin < expected ? " (overlaps what stands before it)" : " (a gap before it)"));
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    return absl::DataLossError(absl::StrCat("the tensors end at ", expected, " but the file holds ",
                                            data_bytes, " bytes of data (trailing bytes)"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t DTypeBytes(DType t) { return Row(t).bytes; }
const char* DTypeName(DType t) { return Row(t).name; }

bool TensorBytes(absl::Span<const int64_t> shape, DType dtype, uint64_t* bytes) {
  int64_t product = DTypeBytes(dtype);
  bool empty = false;
  for (const int64_t d : shape) {
    if (d < 0) return false;
    empty = empty || d == 0;
    // A zero among huge dimensions still has to be a product that fits.
    if (d != 0 && __builtin_mul_overflow(product, d, &product)) return false;
  }
  *bytes = empty ? 0 : static_cast<uint64_t>(product);
  return true;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json,
                                                         uint64_t data_bytes) {
  ASSIGN_OR_RETURN(RawSafetensorsHeader raw, ParseSafetensorsJson(json));
  SafetensorsHeader header;
  header.metadata = std::move(raw.metadata);
  header.entries.reserve(raw.entries.size());
  for (RawSafetensorsEntry& entry : raw.entries) {
    ASSIGN_OR_RETURN(SafetensorsEntry checked, CheckEntry(std::move(entry), data_bytes));
    header.entries.push_back(std::move(checked));
  }
  // Tensors without elements share their place with the next one.
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
            });
  RETURN_IF_ERROR(CheckContiguous(header.entries, data_bytes));
  return header;
}

std::string SafetensorsHeaderText(absl::Span<const SafetensorsEntry> entries,
                                  const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  if (!metadata.empty()) root["__metadata__"] = metadata;
  for (const SafetensorsEntry& entry : entries) {
    nlohmann::ordered_json& item = root[entry.name];
    item["dtype"] = DTypeName(entry.dtype);
    item["shape"] = entry.shape;
    item["data_offsets"] = {entry.begin, entry.end};
  }
  // Callers check UTF-8; `replace` keeps dump from throwing all the same.
  std::string json = root.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  json.append((8 - json.size() % 8) % 8, ' ');
  std::string text;
  for (int i = 0; i < 8; ++i)
    text += static_cast<char>(static_cast<uint64_t>(json.size()) >> (8 * i));
  return text + json;
}

}  // namespace tritter
