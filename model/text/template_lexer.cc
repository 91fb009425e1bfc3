#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/text/template_syntax.h"
#include "model/utf8.h"

namespace tritter {
namespace {

using Token = TemplateToken;

void AppendUtf8(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->append({static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))});
  } else {
    out->append({static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
                 static_cast<char>(0x80 | (c & 63))});
  }
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    if (!IsValidUtf8(source_)) return absl::InvalidArgumentError("the template is not UTF-8");
    while (at_ < source_.size()) RETURN_IF_ERROR(DataAndTag());
    Add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::string_view Rest() const { return absl::string_view(source_).substr(at_); }

  TemplatePosition Here() {
    for (; counted_ < at_; ++counted_) {
      if (source_[counted_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else if ((static_cast<uint8_t>(source_[counted_]) & 0xC0) != 0x80) {
        ++position_.column;
      }
    }
    return position_;
  }

  Token& Add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, Here(), std::move(text)});
    return tokens_.back();
  }

  // The text up to the next tag, and the tag.
  absl::Status DataAndTag() {
    size_t tag = at_;
    while (tag + 1 < source_.size() &&
           !(source_[tag] == '{' &&
             (source_[tag + 1] == '{' || source_[tag + 1] == '%' || source_[tag + 1] == '#'))) {
      ++tag;
    }
    if (tag + 1 >= source_.size()) tag = source_.size();
    absl::string_view data = Rest().substr(0, tag - at_);
    const bool line_begins = line_begins_;
    const char kind = tag < source_.size() ? source_[tag + 1] : 0;
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : 0;
    if (kind != 0 && sign == '-') {
      while (const size_t space = PythonSpaceAtEnd(data)) data.remove_suffix(space);
    } else if ((kind == '%' || kind == '#') && sign != '+') {
      const size_t newline = data.rfind('\n');
      const size_t begin = newline == data.npos ? 0 : newline + 1;
      const absl::string_view last = data.substr(begin);
      const bool blank =
          std::all_of(last.begin(), last.end(), [](char c) { return c == ' ' || c == '\t'; });
      if ((newline != data.npos || line_begins) && blank) data = data.substr(0, begin);
    }
    if (!data.empty()) Add(Token::Kind::kData, std::string(data));
    at_ = tag;
    if (kind == 0) return absl::OkStatus();
    at_ += 2;
    if (kind == '#') return Comment();
    if (sign == '-' || sign == '+') ++at_;
    return Tag(kind == '{');
  }

  absl::Status Comment() {
    const TemplatePosition begin = Here();
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) return TemplateError(begin, "the comment is not closed");
    const char sign = source_[end - 1];
    at_ = end + 2;
    AfterTag(sign == '-', sign != '+');
    return absl::OkStatus();
  }

  // What follows the end of a tag: whitespace goes with "-", else one newline with `newline`.
  void AfterTag(bool all, bool newline) {
    size_t end = at_;
    if (all) {
      while (const size_t space = PythonSpaceAtBeginning(absl::string_view(source_).substr(end)))
        end += space;
    } else if (newline && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    at_ = end;
    line_begins_ = source_[end - 1] == '\n';
  }

  absl::Status Tag(bool print) {
    const TemplatePosition begin = Here();
    Add(print ? Token::Kind::kPrintBegin : Token::Kind::kTagBegin, "");
    const absl::string_view close = print ? "}}" : "%}";
    int nested = 0;  // a map's braces may stand before the end of a tag
    while (true) {
      while (at_ < source_.size() && absl::ascii_isspace(source_[at_])) ++at_;
      if (at_ >= source_.size()) return TemplateError(begin, "the tag is not closed");
      const char sign = source_[at_];
      const bool signed_end =
          (sign == '-' || (sign == '+' && !print)) && absl::StartsWith(Rest().substr(1), close);
      if (nested == 0 && (signed_end || absl::StartsWith(Rest(), close))) {
        Add(print ? Token::Kind::kPrintEnd : Token::Kind::kTagEnd, "");
        at_ += signed_end ? 3 : 2;
        AfterTag(signed_end && sign == '-', !print && !signed_end);
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(One(&nested));
    }
  }

  absl::Status One(int* nested) {
    const char c = source_[at_];
    if (c == '\'' || c == '"') return Quoted(c);
    if (absl::ascii_isdigit(c)) return Number();
    if (absl::ascii_isalpha(c) || c == '_') {
      size_t end = at_;
      while (end < source_.size() && (absl::ascii_isalnum(source_[end]) || source_[end] == '_'))
        ++end;
      Add(Token::Kind::kName, source_.substr(at_, end - at_));
      at_ = end;
      return absl::OkStatus();
    }
    for (absl::string_view sign :
         {"==", "!=", "<=", ">=", "//", "**", "<", ">", "=", "+", "-", "*", "/",
          "%",  "~",  "|",  ".",  ",",  ":",  "(", ")", "[", "]", "{", "}"}) {
      if (!absl::StartsWith(Rest(), sign)) continue;
      if (sign == "{" || sign == "[" || sign == "(") ++*nested;
      if (sign == "}" || sign == "]" || sign == ")") --*nested;
      if (*nested < 0) return TemplateError(Here(), absl::StrCat("`", sign, "` closes nothing"));
      Add(Token::Kind::kSign, std::string(sign));
      at_ += sign.size();
      return absl::OkStatus();
    }
    return TemplateError(
        Here(), absl::StrCat("`", Rest().substr(0, ScanUtf8(Rest()).length), "` is not expected"));
  }

  absl::Status Number() {
    size_t end = at_;
    bool real = false;
    while (end < source_.size() && (absl::ascii_isdigit(source_[end]) ||
                                    (source_[end] == '.' && !real && end + 1 < source_.size() &&
                                     absl::ascii_isdigit(source_[end + 1])))) {
      real |= source_[end] == '.';
      ++end;
    }
    Token& token =
        Add(real ? Token::Kind::kFloat : Token::Kind::kInt, source_.substr(at_, end - at_));
    const char *first = source_.data() + at_, *last = source_.data() + end;
    const auto read = real ? std::from_chars(first, last, token.number)
                           : std::from_chars(first, last, token.whole);
    if (read.ec != std::errc() || read.ptr != last)
      return TemplateError(token.at, "the number is too large");
    at_ = end;
    return absl::OkStatus();
  }

  absl::Status Quoted(char quote) {
    const TemplatePosition begin = Here();
    std::string text;
    size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\' || i + 1 >= source_.size()) {
        text += source_[i];
        continue;
      }
      static constexpr absl::string_view kFrom = "nrtabfv\\'\"", kTo = "\n\r\t\a\b\f\v\\'\"";
      const char c = source_[++i];
      if (const size_t known = kFrom.find(c); known != kFrom.npos) {
        text += kTo[known];
      } else if (c == 'u' || c == 'x') {
        const size_t digits = c == 'u' ? 4 : 2;
        uint32_t code = 0;
        const char* first = source_.data() + i + 1;
        if (i + digits >= source_.size() ||
            std::from_chars(first, first + digits, code, 16).ptr != first + digits ||
            (code >= 0xD800 && code < 0xE000)) {
          return TemplateError(begin, absl::StrCat("`\\", std::string(1, c),
                                                   "` is not followed by a character's number"));
        }
        AppendUtf8(code, &text);
        i += digits;
      } else if (absl::ascii_isdigit(c) || c == 'U' || c == 'N') {
        return absl::UnimplementedError(absl::StrCat(begin.line, ":", begin.column, ": `\\",
                                                     std::string(1, c), "` is not supported"));
      } else if (c != '\n') {
        text.append({'\\', c});
      }
    }
    if (i >= source_.size()) return TemplateError(begin, "the text is not closed");
    Add(Token::Kind::kText, std::move(text));
    at_ = i + 1;
    return absl::OkStatus();
  }

  const std::string source_;
  size_t at_ = 0, counted_ = 0;
  TemplatePosition position_;
  bool line_begins_ = true;
  std::vector<Token> tokens_;
};

// "\r\n" and "\r" become "\n"; one newline at the end goes.
std::string PlainNewlines(absl::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (absl::EndsWith(out, "\n")) out.pop_back();
  return out;
}

}  // namespace

absl::Status TemplateError(TemplatePosition at, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(at.line, ":", at.column, ": ", what));
}

absl::StatusOr<std::vector<TemplateToken>> TemplateTokens(absl::string_view source) {
  return Lexer(PlainNewlines(source)).Run();
}

}  // namespace tritter
