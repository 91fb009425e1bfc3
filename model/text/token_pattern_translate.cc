#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/text/token_pattern.h"

namespace tritter {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 14;
constexpr int kMaxRepeat = 1000;
constexpr size_t kMaxDepth = 64;

constexpr absl::string_view kCategories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc",
                                             "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
                                             "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So",
                                             "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cs", "Co"};
constexpr absl::string_view kScripts[] = {
    "Arabic", "Armenian", "Bengali", "Bopomofo", "Cyrillic", "Devanagari", "Georgian",
    "Greek",  "Han",      "Hangul",  "Hebrew",   "Hiragana", "Katakana",   "Khmer",
    "Lao",    "Latin",    "Tamil",   "Telugu",   "Thai",     "Tibetan"};

// A recursive-descent reader that writes as it reads.
class Translator {
 public:
  explicit Translator(absl::string_view text) : text_(text) {}

  absl::StatusOr<std::string> Run() {
    if (text_.size() > kMaxPatternBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the pattern has ", text_.size(), " bytes, expected at most ", kMaxPatternBytes));
    }
    if (text_.substr(0, 4) == "(?i)") {
      out_ = "(?i)";
      at_ = 4;
    }
    bool unbounded = false;
    RETURN_IF_ERROR(Alternatives(0, &unbounded));
    if (at_ < text_.size()) return Refuse(at_, at_ + 1, "closes no group");
    return std::move(out_);
  }

 private:
  bool Done() const { return at_ >= text_.size(); }
  bool Ahead(absl::string_view what) const { return text_.substr(at_, what.size()) == what; }

  absl::Status Refuse(size_t begin, size_t end, absl::string_view why) const {
    end = std::min(end, text_.size());
    return absl::InvalidArgumentError(absl::StrCat("`", text_.substr(begin, end - begin),
                                                   "` at offset ", begin, " of the pattern ", why));
  }
  absl::Status Unsupported(size_t begin, size_t end) const {
    return Refuse(begin, end, "is not supported");
  }

  // Up to ")" or the end. `unbounded`: something within repeats without bound.
  absl::Status Alternatives(size_t depth, bool* unbounded) {
    if (depth > kMaxDepth) return Refuse(at_, at_ + 1, "is nested too deeply");
    while (!Done() && text_[at_] != ')') {
      if (text_[at_] == '|') {
        out_ += text_[at_++];
        continue;
      }
      bool inner = false, repeatable = true;
      const size_t begin = at_;
      RETURN_IF_ERROR(Atom(depth, &inner, &repeatable));
      RETURN_IF_ERROR(Quantifier(begin, repeatable, &inner));
      *unbounded |= inner;
    }
    return absl::OkStatus();
  }

  absl::Status Atom(size_t depth, bool* unbounded, bool* repeatable) {
    const char c = text_[at_];
    if (c == '(') return Group(depth, unbounded, repeatable);
    if (c == '[') return Class();
    if (c == '\\') return Escape(/*in_class=*/false);
    if (c == '^' || c == '$' || c == '*' || c == '+' || c == '?' || c == '{' || c == '}' ||
        c == ']') {
      return Unsupported(at_, at_ + 1);
    }
    Character();
    return absl::OkStatus();
  }

  void Character() {
    out_ += text_[at_++];
    while (!Done() && (static_cast<uint8_t>(text_[at_]) & 0xC0) == 0x80) out_ += text_[at_++];
  }

  absl::Status Group(size_t depth, bool* unbounded, bool* repeatable) {
    const size_t begin = at_;
    absl::string_view opening;
    for (absl::string_view known : {"(?:", "(?i:", "(?>", "(?=", "(?!", "(?<=", "(?<!"}) {
      if (Ahead(known)) opening = known;
    }
    if (opening.empty()) {
      if (Ahead("(?")) return Unsupported(begin, begin + 4);
      at_ += 1;
      absl::StrAppend(&out_, "(?:");
    } else {
      at_ += opening.size();
      absl::StrAppend(&out_, opening);
      *repeatable = opening == "(?:" || opening == "(?i:" || opening == "(?>";
    }
    RETURN_IF_ERROR(Alternatives(depth + 1, unbounded));
    if (Done()) return Refuse(begin, begin + 1, "is not closed");
    out_ += text_[at_++];
    return absl::OkStatus();
  }

  absl::Status Class() {
    const size_t begin = at_;
    out_ += text_[at_++];
    if (Ahead("^")) out_ += text_[at_++];
    if (Ahead("]")) return Unsupported(begin, at_ + 1);
    while (!Done() && text_[at_] != ']') {
      if (text_[at_] == '[' || Ahead("&&")) return Unsupported(at_, at_ + 2);
      if (text_[at_] == '\\') {
        RETURN_IF_ERROR(Escape(/*in_class=*/true));
      } else {
        Character();
      }
    }
    if (Done()) return Refuse(begin, begin + 1, "is not closed");
    out_ += text_[at_++];
    return absl::OkStatus();
  }

  absl::Status Escape(bool in_class) {
    const size_t begin = at_;
    if (at_ + 1 >= text_.size()) return Refuse(at_, at_ + 1, "escapes nothing");
    const char c = text_[at_ + 1];
    at_ += 2;
    switch (c) {
      case 's':
        absl::StrAppend(&out_, "\\p{White_Space}");
        return absl::OkStatus();
      case 'S':
        absl::StrAppend(&out_, "\\P{White_Space}");
        return absl::OkStatus();
      case 'd':
        absl::StrAppend(&out_, "\\p{Nd}");
        return absl::OkStatus();
      case 'D':
        absl::StrAppend(&out_, "\\P{Nd}");
        return absl::OkStatus();
      case 'v':
        absl::StrAppend(&out_, "\\x{b}");
        return absl::OkStatus();
      case 'r':
      case 'n':
      case 't':
      case 'f':
        out_.append({'\\', c});
        return absl::OkStatus();
      case 'p':
      case 'P':
        return Property(begin, c == 'P');
      case 'x':
      case 'u':
        return CodePoint(begin, c == 'u');
      default:
        break;
    }
    if (!absl::ascii_ispunct(c)) return Unsupported(begin, at_);
    out_.append({'\\', c});
    return absl::OkStatus();
  }

  absl::Status Property(size_t begin, bool negated) {
    const size_t close = text_.find('}', at_);
    if (!Ahead("{") || close == absl::string_view::npos) return Unsupported(begin, at_ + 1);
    absl::string_view name = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    const bool category =
        std::find(std::begin(kCategories), std::end(kCategories), name) != std::end(kCategories);
    const bool script =
        std::find(std::begin(kScripts), std::end(kScripts), name) != std::end(kScripts);
    if (!category && !script) return Unsupported(begin, at_);
    absl::StrAppend(&out_, negated ? "\\P{" : "\\p{", script ? "sc:" : "", name, "}");
    return absl::OkStatus();
  }

  // \xHH, \x{H…} and \uHHHH.
  absl::Status CodePoint(size_t begin, bool four) {
    absl::string_view digits;
    if (!four && Ahead("{")) {
      const size_t close = text_.find('}', at_);
      if (close == absl::string_view::npos) return Unsupported(begin, at_ + 1);
      digits = text_.substr(at_ + 1, close - at_ - 1);
      at_ = close + 1;
    } else {
      digits = text_.substr(at_, four ? 4 : 2);
      if (digits.size() != (four ? 4 : 2)) return Unsupported(begin, at_ + digits.size());
      at_ += digits.size();
    }
    uint32_t code = 0;
    const bool hex = !digits.empty() && digits.size() <= 6 &&
                     std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit) &&
                     absl::SimpleHexAtoi(digits, &code);
    // Two digits above 7F are a byte to Oniguruma, not a character.
    const bool byte = !four && text_[begin + 2] != '{' && code > 0x7F;
    if (!hex || byte || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      return Unsupported(begin, at_);
    absl::StrAppend(&out_, "\\x{", absl::Hex(code), "}");
    return absl::OkStatus();
  }

  // `begin`: of the atom. `unbounded`: in: of the atom; out: with the repetition.
  absl::Status Quantifier(size_t begin, bool repeatable, bool* unbounded) {
    if (Done()) return absl::OkStatus();
    const size_t at = at_;
    bool endless = false;
    if (Ahead("*") || Ahead("+") || Ahead("?")) {
      endless = text_[at_] != '?';
      out_ += text_[at_++];
      if (Ahead("?") || Ahead("+")) out_ += text_[at_++];  // lazy, possessive
    } else if (Ahead("{")) {
      RETURN_IF_ERROR(Count(&endless));
      // Ruby's syntax takes a sign behind a count for a repetition of the repetition.
      if (Ahead("?") || Ahead("+")) return Unsupported(at, at_ + 1);
    } else {
      return absl::OkStatus();
    }
    if (Ahead("*") || Ahead("+") || Ahead("?") || Ahead("{")) return Unsupported(at, at_ + 1);
    if (!repeatable) return Unsupported(at, at_);
    if (endless && *unbounded) {
      return Refuse(begin, at_,
                    "repeats without bound what repeats without bound itself: a text could take "
                    "for ever");
    }
    *unbounded |= endless;
    return absl::OkStatus();
  }

  // {n}, {n,} and {n,m}.
  absl::Status Count(bool* endless) {
    const size_t begin = at_, close = text_.find('}', at_);
    if (close == absl::string_view::npos) return Unsupported(begin, begin + 1);
    const absl::string_view inner = text_.substr(at_ + 1, close - at_ - 1);
    const size_t comma = inner.find(',');
    const auto number = [](absl::string_view digits) {
      int value = -1;
      const bool plain =
          !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
      return plain && absl::SimpleAtoi(digits, &value) && value <= kMaxRepeat ? value : -1;
    };
    at_ = close + 1;
    const int least = number(inner.substr(0, comma));
    const bool open = comma != absl::string_view::npos && comma + 1 == inner.size();
    const int most =
        comma == absl::string_view::npos || open ? least : number(inner.substr(comma + 1));
    if (least < 0 || most < least) return Unsupported(begin, at_);
    *endless = open;
    absl::StrAppend(&out_, "{", inner, "}");
    return absl::OkStatus();
  }

  const absl::string_view text_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateTokenPattern(absl::string_view oniguruma) {
  return Translator(oniguruma).Run();
}

}  // namespace tritter
