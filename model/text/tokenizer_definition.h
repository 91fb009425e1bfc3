// What a tokenizer.json says, as far as it determines ids and texts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

// A token that is looked for in the text itself, before anything else.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // gives no text
  bool normalized = false;   // looked for after normalisation
  bool lstrip = false;       // takes the whitespace before it
  bool rstrip = false;       // and behind it
  bool single_word = false;  // only where no letter or digit touches it
};

// What becomes of the matches of a pattern: pieces of their own, gone, joined with a neighbour, or
// joined with the matches that touch them.
enum class SplitBehavior {
  kIsolated,
  kRemoved,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
};

struct PreTokenizerStep {
  enum class Kind { kSplit, kPrefixSpace };
  Kind kind = Kind::kSplit;
  // kSplit alone. `pattern`: Oniguruma's syntax, or with `literal` the text itself. `invert`:
  // matches are what lies between.
  std::string pattern;
  bool literal = false;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};

struct BpeMerge {
  int32_t left, right, merged;
};

struct TokenizerDefinition {
  bool nfc = false;
  std::vector<PreTokenizerStep> steps;
  std::vector<std::pair<std::string, int32_t>> vocab;  // as written (ByteLevel), by id
  std::vector<BpeMerge> merges;                        // by rank
  bool ignore_merges = false;
  std::optional<int32_t> unk;  // of bytes without a token; else they are left out
  bool fuse_unk = false;
  std::vector<AddedToken> added;        // by id
  std::vector<int32_t> prefix, suffix;  // of a prompt
};

inline constexpr int32_t kMaxTokenId = (1 << 22) - 1;
inline constexpr uint64_t kMaxTokenizerJsonBytes = uint64_t{256} << 20;

// Errors: DataLoss when it is not JSON, or a value is not what it must be; Unimplemented for what
// this reader does not know. Both name `where` and the path inside the document.
absl::StatusOr<TokenizerDefinition> ParseTokenizerJson(absl::string_view text,
                                                       absl::string_view where);

// SHA-256 (hex) of the canonical form, docs/formats/tokenizer.md.
std::string TokenizerDefinitionHash(const TokenizerDefinition& definition);

}  // namespace tritter
