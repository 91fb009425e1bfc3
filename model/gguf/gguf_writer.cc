#include "model/gguf/gguf_writer.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/gguf/gguf_file.h"

namespace tritter {
namespace {

constexpr uint64_t RoundUpTo(uint64_t n, uint64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

int64_t ValuesOf(const GgufTensorToWrite& tensor) {
  int64_t values = 1;
  for (const int64_t dim : tensor.shape) values *= dim;
  return values;
}

std::string Header(const GgufMetadata& metadata, absl::Span<const GgufTensorToWrite> tensors) {
  ByteSink out;
  out.Bytes(kGgufMagic);
  out.U32(kGgufVersion);
  out.U64(tensors.size());
  out.U64(metadata.count());
  out.Bytes(metadata.bytes());
  uint64_t offset = 0;
  for (const GgufTensorToWrite& tensor : tensors) {
    out.U64(tensor.name.size());
    out.Bytes(tensor.name);
    out.U32(static_cast<uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim)
      out.U64(static_cast<uint64_t>(*dim));
    out.U32(static_cast<uint32_t>(tensor.type));
    out.U64(offset);
    const int64_t bytes = GgufBytes(tensor.type, ValuesOf(tensor));
    offset = RoundUpTo(offset + static_cast<uint64_t>(bytes), kGgufAlignment);
  }
  out.PadTo(kGgufAlignment);
  return out.Take();
}

}  // namespace

void GgufMetadata::Key(absl::string_view key, uint32_t type) {
  String(key);
  out_.U32(type);
  ++count_;
}
void GgufMetadata::String(absl::string_view text) {
  out_.U64(text.size());
  out_.Bytes(text);
}
void GgufMetadata::U32(absl::string_view key, uint32_t value) {
  Key(key, static_cast<uint32_t>(GgufValueType::kU32));
  out_.U32(value);
}
void GgufMetadata::I64(absl::string_view key, int64_t value) {
  Key(key, static_cast<uint32_t>(GgufValueType::kI64));
  out_.U64(static_cast<uint64_t>(value));
}
void GgufMetadata::F32(absl::string_view key, float value) {
  Key(key, static_cast<uint32_t>(GgufValueType::kF32));
  out_.U32(std::bit_cast<uint32_t>(value));
}
void GgufMetadata::Bool(absl::string_view key, bool value) {
  Key(key, static_cast<uint32_t>(GgufValueType::kBool));
  out_.Bytes(value ? absl::string_view("\1", 1) : absl::string_view("\0", 1));
}
void GgufMetadata::Text(absl::string_view key, absl::string_view value) {
  Key(key, static_cast<uint32_t>(GgufValueType::kString));
  String(value);
}
void GgufMetadata::Texts(absl::string_view key, absl::Span<const std::string> values) {
  Key(key, static_cast<uint32_t>(GgufValueType::kArray));
  out_.U32(static_cast<uint32_t>(GgufValueType::kString));
  out_.U64(values.size());
  for (const std::string& value : values) String(value);
}
void GgufMetadata::I32s(absl::string_view key, absl::Span<const int32_t> values) {
  Key(key, static_cast<uint32_t>(GgufValueType::kArray));
  out_.U32(static_cast<uint32_t>(GgufValueType::kI32));
  out_.U64(values.size());
  for (const int32_t value : values) out_.U32(static_cast<uint32_t>(value));
}

absl::StatusOr<WrittenGguf> WriteGguf(Env* env, const std::string& path,
                                      const GgufMetadata& metadata,
                                      absl::Span<const GgufTensorToWrite> tensors) {
  for (const GgufTensorToWrite& tensor : tensors) {
    const GgufTypeInfo& info = InfoOf(tensor.type);
    if (tensor.shape.back() % info.block_values == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": rows of ", tensor.name, " have ", tensor.shape.back(),
        " values, expected a multiple of ", info.block_values, " for type ", info.name));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, env->NewWritableFile(path));
  WrittenGguf written{};
  Sha256Hasher hasher;
  const GgufAppend append = [&](absl::string_view data) {
    hasher.Update(data);
    written.bytes += data.size();
    return file->Append(data);
  };
  RETURN_IF_ERROR(append(Header(metadata, tensors)));
  for (const GgufTensorToWrite& tensor : tensors) {
    const uint64_t begin = written.bytes;
    RETURN_IF_ERROR(Annotate(tensor.write(append), absl::StrCat(path, ": tensor ", tensor.name)));
    const uint64_t bytes = written.bytes - begin,
                   expected = static_cast<uint64_t>(GgufBytes(tensor.type, ValuesOf(tensor)));
    if (bytes != expected) {
      return absl::InternalError(
          absl::StrCat(path, ": ", tensor.name, " gave ", bytes, " bytes, expected ", expected));
    }
    const std::string padding(RoundUpTo(written.bytes, kGgufAlignment) - written.bytes, '\0');
    if (!padding.empty()) RETURN_IF_ERROR(append(padding));
  }
  RETURN_IF_ERROR(file->Sync());
  RETURN_IF_ERROR(file->Close());
  written.sha256 = Hex(hasher.Finish());
  return written;
}

}  // namespace tritter
