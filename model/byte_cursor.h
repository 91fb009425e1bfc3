// Bounded little-endian reading and writing of header bytes. Every length is checked before
// anything is allocated, and every refusal is DataLoss with path, offset, expected and actual
// value.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

class ByteSink {
 public:
  void U32(uint32_t v) { Little(v, 4); }
  void U64(uint64_t v) { Little(v, 8); }
  void Bytes(absl::string_view bytes) { bytes_.append(bytes.data(), bytes.size()); }
  void String(absl::string_view s) {  // 32-bit length, then the bytes
    U32(static_cast<uint32_t>(s.size()));
    Bytes(s);
  }
  void PadTo(uint64_t multiple) {
    bytes_.append((multiple - bytes_.size() % multiple) % multiple, '\0');
  }
  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  void Little(uint64_t v, int bytes);
  std::string bytes_;
};

// Reads [begin, end) of a file's bytes, which must outlive it.
class ByteCursor {
 public:
  ByteCursor(absl::Span<const uint8_t> file, std::string path)
      : file_(file), path_(std::move(path)), end_(file.size()) {}
  void Restrict(uint64_t begin, uint64_t end) { at_ = begin, end_ = end; }
  const std::string& path() const { return path_; }

  absl::Status U32(absl::string_view what, uint32_t* v);
  absl::Status U64(absl::string_view what, uint64_t* v);
  // The next `bytes` bytes.
  absl::Status Skip(uint64_t bytes, absl::string_view what, absl::Span<const uint8_t>* skipped);
  uint64_t at() const { return at_; }
  uint64_t left() const { return end_ - at_; }
  absl::Status String(size_t max_bytes, absl::string_view what, std::string* s);
  absl::Status ZerosToEnd();
  uint32_t PeekU32(uint64_t at) const {
    return static_cast<uint32_t>(Little(at, 4));
  }  // caller checked the length
  uint64_t PeekU64(uint64_t at) const { return Little(at, 8); }

  // DataLoss about the field just read.
  absl::Status Bad(absl::string_view what, const absl::AlphaNum& expected,
                   const absl::AlphaNum& actual) const {
    return BadAt(last_, what, expected, actual);
  }
  absl::Status BadAt(uint64_t offset, absl::string_view what, const absl::AlphaNum& expected,
                     const absl::AlphaNum& actual) const;

 private:
  absl::Status Need(uint64_t bytes, absl::string_view what);
  uint64_t Little(uint64_t at, int bytes) const;

  absl::Span<const uint8_t> file_;
  std::string path_;
  uint64_t at_ = 0, end_, last_ = 0;
};

}  // namespace tritter
