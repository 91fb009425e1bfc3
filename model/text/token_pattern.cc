#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/text/token_pattern.h"

#include <pcre2.h>

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/short_text.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

pcre2_match_context* MatchContext() {
  static auto* context = [] {
    pcre2_match_context* out = pcre2_match_context_create(nullptr);
    pcre2_set_match_limit(out, TokenPattern::kMaxSteps);
    pcre2_set_heap_limit(out, TokenPattern::kMaxKilobytes);
    return out;
  }();
  return context;
}

}  // namespace

TokenPattern::Scratch::Scratch() : data_(pcre2_match_data_create(1, nullptr)) {}
TokenPattern::Scratch::~Scratch() { pcre2_match_data_free(static_cast<pcre2_match_data*>(data_)); }

absl::StatusOr<TokenPattern> TokenPattern::Compile(absl::string_view oniguruma) {
  ASSIGN_OR_RETURN(const std::string pattern, TranslateTokenPattern(oniguruma));
  return CompilePcre(oniguruma, pattern);
}

absl::StatusOr<TokenPattern> TokenPattern::Literal(absl::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (absl::ascii_ispunct(c)) pattern += '\\';
    pattern += c;
  }
  return CompilePcre(text, pattern);
}

absl::StatusOr<TokenPattern> TokenPattern::CompilePcre(absl::string_view source,
                                                       const std::string& pattern) {
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return absl::InvalidArgumentError(absl::StrCat("PCRE2 says of `", pattern, "`, offset ", offset,
                                                   ": ", reinterpret_cast<char*>(message.data())));
  }
  TokenPattern out(std::string(source), std::shared_ptr<const void>(code, [](const void* p) {
                     pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p)));
                   }));
  uint32_t empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &empty);
  if (empty != 0) {
    return absl::InvalidArgumentError(
        "the pattern matches the empty text; expected one that always takes a character");
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it is not to be had, matching interprets
  return out;
}

absl::Status TokenPattern::FindAll(absl::string_view text, Scratch* scratch,
                                   std::vector<TextSpan>* matches) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  auto* data = static_cast<pcre2_match_data*>(scratch->data());
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0;
  while (at < text.size()) {
    int rc = pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, data, MatchContext());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
      rc = pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                       MatchContext());
    }
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      std::array<PCRE2_UCHAR, 256> message{};
      pcre2_get_error_message(rc, message.data(), message.size());
      return absl::InvalidArgumentError(absl::StrCat(
          "the tokenizer's pattern `", ShortText(source_), "` gives up at byte ", at, " of ",
          text.size(), ": ", reinterpret_cast<char*>(message.data()), ", allowed for a match are ",
          kMaxSteps, " steps and ", kMaxKilobytes, " kB; break up what repeats there"));
    }
    // Neither before `at` nor empty: patterns that could are not compiled.
    matches->push_back({found[0], found[1]});
    at = found[1];
  }
  return absl::OkStatus();
}

}  // namespace tritter
