// Regular expressions of tokenizer files. They are written for Oniguruma (Ruby's syntax); what
// means the same in PCRE2 is translated, with Unicode's classes, and anything else is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

struct TextSpan {
  size_t begin, end;  // bytes
};

// Immutable, thread-safe.
class TokenPattern {
 public:
  // What one thread needs while it matches; to be used again and again.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    void* data() const { return data_; }

   private:
    void* data_;
  };

  // Errors: InvalidArgument naming the construct and its offset: one that is not supported, an
  // unbounded repetition of what repeats without bound itself (time exponential in the text), a
  // pattern that matches the empty text.
  static absl::StatusOr<TokenPattern> Compile(absl::string_view oniguruma);
  static absl::StatusOr<TokenPattern> Literal(absl::string_view text);  // matches `text` alone

  // Bounds of the work for one match, far above what the patterns in use need: a few steps for each
  // byte that they pass over, and a request is at most some megabytes.
  static constexpr uint32_t kMaxSteps = 20'000'000;      // of backtracking
  static constexpr uint32_t kMaxKilobytes = 256 * 1024;  // to come back to

  // Appends the matches from left to right; none overlaps, none is empty. `text` is UTF-8. Errors:
  // InvalidArgument, naming pattern, place and bounds, for a text on which a match is beyond them;
  // what was appended is then worth nothing.
  absl::Status FindAll(absl::string_view text, Scratch* scratch,
                       std::vector<TextSpan>* matches) const;

 private:
  TokenPattern(std::string source, std::shared_ptr<const void> code)
      : source_(std::move(source)), code_(std::move(code)) {}
  static absl::StatusOr<TokenPattern> CompilePcre(absl::string_view source,
                                                  const std::string& pattern);
  std::string source_;                // as the file has it
  std::shared_ptr<const void> code_;  // pcre2_code
};

// The PCRE2 form of an Oniguruma pattern; errors as for Compile.
absl::StatusOr<std::string> TranslateTokenPattern(absl::string_view oniguruma);

}  // namespace tritter
