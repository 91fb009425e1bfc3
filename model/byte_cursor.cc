#include "model/byte_cursor.h"

#include "common/short_text.h"
#include "common/status_macros.h"

namespace tritter {

void ByteSink::Little(uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) bytes_.push_back(static_cast<char>(v >> (8 * i)));
}

uint64_t ByteCursor::Little(uint64_t at, int bytes) const {
  uint64_t v = 0;
  for (int i = 0; i < bytes; ++i) v |= static_cast<uint64_t>(file_[at + i]) << (8 * i);
  return v;
}

absl::Status ByteCursor::BadAt(uint64_t offset, absl::string_view what,
                               const absl::AlphaNum& expected, const absl::AlphaNum& actual) const {
  return absl::DataLossError(absl::StrCat(
      path_, ": offset ", offset, ": ", ShortText(what), ": expected ", expected, ", found ",
      ShortText(actual.Piece()), "; the file is damaged or incomplete, copy or export it again"));
}

absl::Status ByteCursor::Need(uint64_t bytes, absl::string_view what) {
  last_ = at_;
  if (end_ - at_ < bytes)
    return Bad(what, absl::StrCat(bytes, " bytes"), absl::StrCat(end_ - at_, " left"));
  return absl::OkStatus();
}

absl::Status ByteCursor::U32(absl::string_view what, uint32_t* v) {
  RETURN_IF_ERROR(Need(4, what));
  *v = PeekU32(at_);
  at_ += 4;
  return absl::OkStatus();
}

absl::Status ByteCursor::U64(absl::string_view what, uint64_t* v) {
  RETURN_IF_ERROR(Need(8, what));
  *v = PeekU64(at_);
  at_ += 8;
  return absl::OkStatus();
}

absl::Status ByteCursor::Skip(uint64_t bytes, absl::string_view what,
                              absl::Span<const uint8_t>* skipped) {
  RETURN_IF_ERROR(Need(bytes, what));
  *skipped = file_.subspan(at_, bytes);
  at_ += bytes;
  return absl::OkStatus();
}

absl::Status ByteCursor::String(size_t max_bytes, absl::string_view what, std::string* s) {
  uint32_t length = 0;
  RETURN_IF_ERROR(U32(what, &length));
  if (length > max_bytes) return Bad(what, absl::StrCat("at most ", max_bytes, " bytes"), length);
  RETURN_IF_ERROR(Need(length, what));
  s->assign(reinterpret_cast<const char*>(file_.data()) + at_, length);
  at_ += length;
  return absl::OkStatus();
}

absl::Status ByteCursor::ZerosToEnd() {
  for (; at_ < end_; ++at_) {
    if (file_[at_] != 0)
      return BadAt(at_, "padding of the header", 0, static_cast<int>(file_[at_]));
  }
  return absl::OkStatus();
}

}  // namespace tritter
