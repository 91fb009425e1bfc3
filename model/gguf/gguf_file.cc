#include "model/gguf/gguf_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "model/byte_cursor.h"
#include "model/utf8.h"

namespace tritter {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535, kMaxNameBytes = 255;
constexpr uint32_t kMaxRank = 4;
constexpr uint64_t kMinAlignment = 8, kMaxAlignment = 1 << 20;
// Least bytes of a metadata entry (key length, one byte of key, type, a value of one byte) and of a
// tensor entry (name length, one byte of name, rank, one dimension, type, offset).
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1, kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

struct ValueTypeInfo {
  const char* name;
  uint64_t bytes;  // 0: a string or an array
};
constexpr ValueTypeInfo kValueTypes[] = {{"uint8", 1},  {"int8", 1},  {"uint16", 2},  {"int16", 2},
                                         {"uint32", 4}, {"int32", 4}, {"float32", 4}, {"bool", 1},
                                         {"string", 0}, {"array", 0}, {"uint64", 8},  {"int64", 8},
                                         {"float64", 8}};
constexpr uint32_t kValueTypeCount = std::size(kValueTypes);

const ValueTypeInfo& InfoOf(GgufValueType type) { return kValueTypes[static_cast<uint32_t>(type)]; }

uint64_t Little(absl::Span<const uint8_t> bytes) {
  uint64_t v = 0;
  for (size_t i = 0; i < bytes.size(); ++i) v |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return v;
}

uint64_t RoundUpTo(uint64_t n, uint64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

std::string Described(const GgufValue& value) {
  return absl::StrCat(value.array ? "an array of " : "", InfoOf(value.type).name);
}

absl::Status WrongType(const std::string& path, const std::string& key, const GgufValue& value,
                       const char* expected) {
  return absl::DataLossError(absl::StrCat(path, ": offset ", value.offset, ": metadata `", key,
                                          "` is ", Described(value), ", expected ", expected));
}

// What the bytes of a whole number mean; none for another type, and above the largest int64.
std::optional<int64_t> WholeNumber(GgufValueType type, absl::Span<const uint8_t> bytes) {
  const uint64_t bits = Little(bytes.subspan(0, 8));
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kU16:
    case GgufValueType::kU32:
      return static_cast<int64_t>(bits);
    case GgufValueType::kI8:
      return static_cast<int8_t>(bits);
    case GgufValueType::kI16:
      return static_cast<int16_t>(bits);
    case GgufValueType::kI32:
      return static_cast<int32_t>(bits);
    case GgufValueType::kI64:
      return static_cast<int64_t>(bits);
    case GgufValueType::kU64:
      if (bits >> 63 == 0) return static_cast<int64_t>(bits);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace

// Fills a GgufFile from its bytes.
class GgufParser {
 public:
  explicit GgufParser(GgufFile* out) : out_(out), in_(out->file_->bytes(), out->path_) {}

  absl::Status Parse() {
    uint64_t tensors = 0, entries = 0;
    RETURN_IF_ERROR(Preamble(&tensors, &entries));
    for (uint64_t i = 0; i < entries; ++i) RETURN_IF_ERROR(Entry());
    RETURN_IF_ERROR(Alignment());
    for (uint64_t i = 0; i < tensors; ++i) RETURN_IF_ERROR(Tensor());
    return Place();
  }

 private:
  absl::Status Preamble(uint64_t* tensors, uint64_t* entries) {
    absl::Span<const uint8_t> magic;
    RETURN_IF_ERROR(in_.Skip(4, "magic", &magic));
    if (std::memcmp(magic.data(), kGgufMagic, 4) != 0) {
      return in_.Bad("magic", kGgufMagic,
                     absl::CHexEscape(absl::string_view(reinterpret_cast<const char*>(magic.data()),
                                                        magic.size())));
    }
    uint32_t version = 0;
    RETURN_IF_ERROR(in_.U32("version", &version));
    if (version != kGgufVersion) {
      const bool big_endian = version == kGgufVersion << 24;
      return absl::UnimplementedError(absl::StrCat(
          in_.path(), ": offset 4: GGUF version ", big_endian ? "3, big-endian" : "",
          big_endian ? "" : absl::StrCat(version),
          ", expected 3, little-endian: ", "convert the model again with a current program"));
    }
    RETURN_IF_ERROR(in_.U64("tensor count", tensors));
    RETURN_IF_ERROR(Fits("tensor count", *tensors, kMinTensorBytes));
    RETURN_IF_ERROR(in_.U64("metadata count", entries));
    return Fits("metadata count", *entries, kMinEntryBytes);
  }

  // Whether so many things of at least `each` bytes can follow.
  absl::Status Fits(absl::string_view what, uint64_t count, uint64_t each) const {
    if (count <= in_.left() / each) return absl::OkStatus();
    return in_.Bad(what, absl::StrCat("at most ", in_.left() / each, " in ", in_.left(), " bytes"),
                   count);
  }

  absl::Status String(absl::string_view what, uint64_t max_bytes, std::string* out) {
    uint64_t length = 0;
    RETURN_IF_ERROR(in_.U64(absl::StrCat("length of ", what), &length));
    if (length > max_bytes)
      return in_.Bad(absl::StrCat("length of ", what), absl::StrCat("at most ", max_bytes), length);
    absl::Span<const uint8_t> bytes;
    RETURN_IF_ERROR(in_.Skip(length, what, &bytes));
    out->assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!out->empty() && IsValidUtf8(*out) && out->find('\0') == std::string::npos)
      return absl::OkStatus();
    return in_.Bad(what, "a name in UTF-8", absl::StrCat("'", absl::CHexEscape(*out), "'"));
  }

  absl::Status ValueType(absl::string_view what, GgufValueType* type) {
    uint32_t number = 0;
    RETURN_IF_ERROR(in_.U32(what, &number));
    if (number >= kValueTypeCount)
      return in_.Bad(what, absl::StrCat("0 to ", kValueTypeCount - 1), number);
    *type = static_cast<GgufValueType>(number);
    return absl::OkStatus();
  }

  absl::Status Entry() {
    std::string key;
    RETURN_IF_ERROR(String("metadata key", kMaxKeyBytes, &key));
    if (out_->Has(key))
      return in_.Bad("metadata key", "each key once", absl::StrCat(key, " a second time"));
    GgufValue value;
    RETURN_IF_ERROR(ValueType(absl::StrCat("type of ", key), &value.type));
    if (value.type == GgufValueType::kArray) {
      value.array = true;
      RETURN_IF_ERROR(ValueType(absl::StrCat("element type of ", key), &value.type));
      if (value.type == GgufValueType::kArray)
        return in_.Bad(absl::StrCat("element type of ", key), "no array of arrays", "array");
      RETURN_IF_ERROR(in_.U64(absl::StrCat("length of ", key), &value.count));
    }
    const uint64_t width = InfoOf(value.type).bytes;
    RETURN_IF_ERROR(Fits(absl::StrCat("length of ", key), value.count, width == 0 ? 8 : width));
    value.offset = in_.at();
    if (width != 0) {
      RETURN_IF_ERROR(in_.Skip(value.count * width, key, &value.bytes));
    } else {
      absl::Span<const uint8_t> text;
      for (uint64_t i = 0; i < value.count; ++i) {
        uint64_t length = 0;
        RETURN_IF_ERROR(in_.U64(absl::StrCat("length of a string of ", key), &length));
        RETURN_IF_ERROR(in_.Skip(length, absl::StrCat("string of ", key), &text));
      }
      value.bytes = out_->file_->bytes().subspan(value.offset, in_.at() - value.offset);
    }
    out_->metadata_.emplace(std::move(key), value);
    return absl::OkStatus();
  }

  absl::Status Alignment() {
    if (!out_->Has("general.alignment")) return absl::OkStatus();
    ASSIGN_OR_RETURN(const int64_t given, out_->Integer("general.alignment"));
    alignment_ = static_cast<uint64_t>(given);
    if (given >= 0 && std::has_single_bit(alignment_) && alignment_ >= kMinAlignment &&
        alignment_ <= kMaxAlignment)
      return absl::OkStatus();
    return in_.BadAt(out_->metadata_.at("general.alignment").offset, "general.alignment",
                     absl::StrCat("a power of two from ", kMinAlignment, " to ", kMaxAlignment),
                     given);
  }

  absl::Status Tensor() {
    GgufTensor tensor;
    RETURN_IF_ERROR(String("tensor name", kMaxNameBytes, &tensor.name));
    if (out_->index_.count(tensor.name) != 0)
      return in_.Bad("tensor name", "each name once", absl::StrCat(tensor.name, " a second time"));
    uint32_t rank = 0;
    RETURN_IF_ERROR(in_.U32(absl::StrCat("rank of ", tensor.name), &rank));
    if (rank < 1 || rank > kMaxRank)
      return in_.Bad(absl::StrCat("rank of ", tensor.name), absl::StrCat("1 to ", kMaxRank), rank);
    uint64_t values = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      uint64_t dim = 0;
      RETURN_IF_ERROR(in_.U64(absl::StrCat("dimension of ", tensor.name), &dim));
      // 2^60 values of 4 bytes stay inside 63 bits.
      if (dim == 0 || dim > (uint64_t{1} << 60) / values)
        return in_.Bad(absl::StrCat("dimension of ", tensor.name),
                       absl::StrCat("1 to ", (uint64_t{1} << 60) / values), dim);
      values *= dim;
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dim));
    }
    uint32_t type = 0;
    RETURN_IF_ERROR(in_.U32(absl::StrCat("type of ", tensor.name), &type));
    const GgufTypeInfo* const info = FindGgufType(type);
    if (info == nullptr) {
      return absl::UnimplementedError(absl::StrCat(
          in_.path(), ": offset ", in_.at() - 4, ": tensor ", tensor.name, " is of type ", type,
          ", expected F32 (0), F16 (1), Q8_0 (8), BF16 (30), TQ1_0 (34) or TQ2_0 (35): quantise "
          "the model to one of those"));
    }
    tensor.type = info->type;
    if (tensor.shape.back() % info->block_values != 0) {
      return in_.Bad(absl::StrCat("row of ", tensor.name),
                     absl::StrCat("a multiple of ", info->block_values, " for ", info->name),
                     tensor.shape.back());
    }
    RETURN_IF_ERROR(in_.U64(absl::StrCat("offset of ", tensor.name), &tensor.offset));
    offsets_at_.push_back(in_.at() - 8);
    sizes_.push_back(static_cast<uint64_t>(GgufBytes(tensor.type, static_cast<int64_t>(values))));
    out_->index_[tensor.name] = out_->tensors_.size();
    out_->tensors_.push_back(std::move(tensor));
    return absl::OkStatus();
  }

  // Each tensor on the next multiple of the alignment behind the one before, the last one's padding
  // there or not.
  absl::Status Place() {
    const uint64_t file_bytes = out_->bytes();
    const uint64_t begin = RoundUpTo(in_.at(), alignment_);
    uint64_t at = 0, end = in_.at();
    for (size_t i = 0; i < sizes_.size(); ++i) {
      GgufTensor& tensor = out_->tensors_[i];
      if (tensor.offset != at)
        return in_.BadAt(offsets_at_[i], absl::StrCat("offset of ", tensor.name), at,
                         tensor.offset);
      if (begin > file_bytes || at > file_bytes - begin || sizes_[i] > file_bytes - begin - at) {
        return in_.BadAt(offsets_at_[i], absl::StrCat("data of ", tensor.name),
                         absl::StrCat(sizes_[i], " bytes at ", begin + at),
                         absl::StrCat("a file of ", file_bytes));
      }
      tensor.offset = begin + at;
      tensor.bytes = out_->file_->bytes().subspan(tensor.offset, sizes_[i]);
      end = tensor.offset + sizes_[i];
      at = RoundUpTo(at + sizes_[i], alignment_);
    }
    if (file_bytes <= RoundUpTo(end, alignment_)) return absl::OkStatus();
    return in_.BadAt(end, "end of the file", RoundUpTo(end, alignment_), file_bytes);
  }

  GgufFile* const out_;
  ByteCursor in_;
  uint64_t alignment_ = kGgufAlignment;
  std::vector<uint64_t> sizes_, offsets_at_;  // of the tensors
};

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, env->MapFile(path));
  return Open(std::move(file), path);
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(std::unique_ptr<MappedFile> file,
                                                         const std::string& path) {
  std::unique_ptr<GgufFile> out(new GgufFile);
  out->path_ = path;
  out->file_ = std::move(file);
  RETURN_IF_ERROR(GgufParser(out.get()).Parse());
  return out;
}

const GgufTensor* GgufFile::Find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

absl::StatusOr<const GgufValue*> GgufFile::One(const std::string& key, const char* expected) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return absl::DataLossError(
        absl::StrCat(path_, ": metadata `", key, "` is missing, expected ", expected));
  }
  return &found->second;
}

absl::StatusOr<int64_t> GgufFile::Integer(const std::string& key) const {
  constexpr char kExpected[] = "a whole number";
  ASSIGN_OR_RETURN(const GgufValue* const value, One(key, kExpected));
  if (!value->array) {
    if (const auto whole = WholeNumber(value->type, value->bytes)) return *whole;
  }
  return WrongType(path_, key, *value, kExpected);
}

absl::StatusOr<std::vector<int64_t>> GgufFile::Integers(const std::string& key) const {
  constexpr char kExpected[] = "an array of whole numbers";
  ASSIGN_OR_RETURN(const GgufValue* const value, One(key, kExpected));
  std::vector<int64_t> out;
  if (!value->array || value->type == GgufValueType::kString)
    return WrongType(path_, key, *value, kExpected);
  const size_t bytes = value->count == 0 ? 0 : value->bytes.size() / value->count;
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto whole = WholeNumber(value->type, value->bytes.subspan(i * bytes, bytes));
    if (!whole.has_value()) return WrongType(path_, key, *value, kExpected);
    out.push_back(*whole);
  }
  return out;
}

absl::StatusOr<bool> GgufFile::Boolean(const std::string& key) const {
  constexpr char kExpected[] = "true or false";
  ASSIGN_OR_RETURN(const GgufValue* const value, One(key, kExpected));
  if (value->array || value->type != GgufValueType::kBool)
    return WrongType(path_, key, *value, kExpected);
  return value->bytes[0] != 0;
}

absl::StatusOr<double> GgufFile::Number(const std::string& key) const {
  constexpr char kExpected[] = "a number";
  ASSIGN_OR_RETURN(const GgufValue* const value, One(key, kExpected));
  if (!value->array && value->type == GgufValueType::kF32)
    return std::bit_cast<float>(static_cast<uint32_t>(Little(value->bytes)));
  if (!value->array && value->type == GgufValueType::kF64)
    return std::bit_cast<double>(Little(value->bytes));
  ASSIGN_OR_RETURN(const int64_t whole, Integer(key));
  return static_cast<double>(whole);
}

absl::StatusOr<std::vector<std::string>> GgufFile::Texts(const std::string& key) const {
  constexpr char kExpected[] = "an array of strings";
  ASSIGN_OR_RETURN(const GgufValue* const value, One(key, kExpected));
  if (!value->array || value->type != GgufValueType::kString)
    return WrongType(path_, key, *value, kExpected);
  std::vector<std::string> out;
  absl::Span<const uint8_t> rest = value->bytes;  // lengths were checked when it was opened
  for (uint64_t i = 0; i < value->count; ++i) {
    const uint64_t length = Little(rest.subspan(0, 8));
    out.emplace_back(reinterpret_cast<const char*>(rest.data()) + 8, length);
    rest.remove_prefix(8 + length);
  }
  return out;
}

absl::StatusOr<std::string> GgufFile::Text(const std::string& key) const {
  constexpr char kExpected[] = "a string";
  ASSIGN_OR_RETURN(const GgufValue* const value, One(key, kExpected));
  if (value->array || value->type != GgufValueType::kString)
    return WrongType(path_, key, *value, kExpected);
  return std::string(reinterpret_cast<const char*>(value->bytes.data()) + 8,
                     value->bytes.size() - 8);
}

}  // namespace tritter
