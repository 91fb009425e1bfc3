// Text to token ids and back. Special ids: pad 0, bos 1, eos 2, unk 3, text 4, code 5, image 6,
// audio 7.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

inline constexpr int32_t kPadId = 0, kBosId = 1, kEosId = 2, kUnkId = 3;
inline constexpr int32_t kFirstByteId = 8;  // byte b has id 8 + b
inline constexpr int32_t kByteVocabulary = 264;

// Immutable, thread-safe. Ids outside the vocabulary are no error: they stand for nothing.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // No bos, no eos. Special tokens that `text` spells out become their ids where the tokenizer has
  // such a rule. Errors: InvalidArgument for a text that the tokenizer's rules do not get to the
  // end of within bounds (TokenPattern::FindAll).
  virtual absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const = 0;
  // As Encode, but a special token that is spelled out is text like any other.
  virtual absl::StatusOr<std::vector<int32_t>> EncodePlain(absl::string_view text) const = 0;
  virtual std::string Decode(absl::Span<const int32_t> ids) const = 0;  // special ids give nothing
  virtual int32_t vocabulary() const = 0;       // every id is below; not each needs to be in use
  virtual const std::string& hash() const = 0;  // SHA-256 hex of its definition

  virtual std::optional<int32_t> bos_id() const = 0;        // what a prompt of text begins with
  virtual const std::vector<int32_t>& end_ids() const = 0;  // those that end a text, ascending
  // The special token with this text, and the text of a special token ("" of any other id).
  virtual std::optional<int32_t> SpecialId(absl::string_view text) const = 0;
  virtual std::string SpecialText(int32_t id) const = 0;

  bool IsEnd(int32_t id) const;
  // What `id` adds to a text: nothing for special ids. Not always whole UTF-8.
  std::string TokenBytes(int32_t id) const { return Decode({&id, 1}); }
  // What a model is given for a prompt of text: bos, if there is one, then the ids of Encode;
  // behind them what the tokenizer ends a prompt with, for most nothing. Errors: those of Encode.
  virtual absl::StatusOr<std::vector<int32_t>> EncodePrompt(absl::string_view text) const;
};
// Lossless for any bytes: id = 8 + byte. A text spells out no special token: "<eos>" is five bytes.
const Tokenizer& ByteTokenizer();
std::vector<int32_t> ByteIds(absl::string_view text);  // its Encode, which has no errors

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
