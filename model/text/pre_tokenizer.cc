#include "model/text/pre_tokenizer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

struct Part {
  TextSpan span;
  bool match;
};

std::vector<Part> PartsOf(size_t text, const std::vector<TextSpan>& matches, bool invert) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const TextSpan& match : matches) {
    if (done < match.begin) parts.push_back({{done, match.begin}, invert});
    parts.push_back({match, !invert});
    done = match.end;
  }
  if (done < text) parts.push_back({{done, text}, invert});
  return parts;
}

}  // namespace

std::vector<TextSpan> SplitAt(size_t text, const std::vector<TextSpan>& matches,
                              SplitBehavior behavior, bool invert) {
  std::vector<Part> parts = PartsOf(text, matches, invert);
  std::vector<TextSpan> out;
  out.reserve(parts.size());
  // Seen from the end, "with the next" is "with the previous".
  const bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  bool previous = false;
  for (const Part& part : parts) {
    bool joins = false;
    switch (behavior) {
      case SplitBehavior::kRemoved:
        if (part.match) continue;
        break;
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kMergedWithPrevious:
      case SplitBehavior::kMergedWithNext:
        joins = part.match && !previous;
        break;
      case SplitBehavior::kContiguous:
        joins = part.match == previous;
        break;
    }
    previous = part.match;
    if (joins && !out.empty()) {
      out.back().begin = std::min(out.back().begin, part.span.begin);
      out.back().end = std::max(out.back().end, part.span.end);
    } else {
      out.push_back(part.span);
    }
  }
  if (backwards) std::reverse(out.begin(), out.end());
  return out;
}

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer out;
  for (const PreTokenizerStep& step : steps) {
    out.steps_.push_back({step, {}});
    if (step.kind != PreTokenizerStep::Kind::kSplit) continue;
    absl::StatusOr<TokenPattern> pattern =
        step.literal ? TokenPattern::Literal(step.pattern) : TokenPattern::Compile(step.pattern);
    RETURN_IF_ERROR(
        Annotate(pattern.status(), absl::StrCat("step ", out.steps_.size(), " of pre_tokenizer")));
    out.steps_.back().pattern.push_back(*std::move(pattern));
  }
  return out;
}

absl::Status PreTokenizer::Split(absl::string_view text, TokenPattern::Scratch* scratch,
                                 absl::FunctionRef<void(absl::string_view)> piece) const {
  return text.empty() ? absl::OkStatus() : Run(0, text, scratch, piece);
}

absl::Status PreTokenizer::Run(size_t step, absl::string_view text, TokenPattern::Scratch* scratch,
                               absl::FunctionRef<void(absl::string_view)> piece) const {
  if (step == steps_.size()) {
    piece(text);
    return absl::OkStatus();
  }
  const Step& now = steps_[step];
  if (now.is.kind == PreTokenizerStep::Kind::kPrefixSpace) {
    if (absl::StartsWith(text, " ")) return Run(step + 1, text, scratch, piece);
    return Run(step + 1, absl::StrCat(" ", text), scratch, piece);
  }
  std::vector<TextSpan> matches;
  RETURN_IF_ERROR(now.pattern[0].FindAll(text, scratch, &matches));
  for (const TextSpan& span : SplitAt(text.size(), matches, now.is.behavior, now.is.invert)) {
    RETURN_IF_ERROR(Run(step + 1, text.substr(span.begin, span.end - span.begin), scratch, piece));
  }
  return absl::OkStatus();
}

}  // namespace tritter
