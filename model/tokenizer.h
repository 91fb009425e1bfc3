// Text to token ids and back. Special ids: pad 0, bos 1, eos 2, unk 3, text 4, code 5, image 6,
// audio 7.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

inline constexpr int32_t kPadId = 0, kBosId = 1, kEosId = 2, kUnkId = 3;
inline constexpr int32_t kFirstByteId = 8;  // byte b has id 8 + b
inline constexpr int32_t kByteVocabulary = 264;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::vector<int32_t> Encode(absl::string_view text) const = 0;  // no bos, no eos
  virtual std::string Decode(absl::Span<const int32_t> ids) const = 0;  // special ids give nothing
  virtual int32_t vocabulary() const = 0;
  virtual const std::string& hash() const = 0;  // SHA-256 hex of its definition
};
// Lossless for any bytes: id = 8 + byte.
const Tokenizer& ByteTokenizer();

// Gives only whole UTF-8 sequences: bytes are held back until a sequence is complete or known to be
// broken (then U+FFFD).
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}
  std::string Push(int32_t id);
  std::string Finish();  // what is held back becomes U+FFFD

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;
};

}  // namespace tritter
