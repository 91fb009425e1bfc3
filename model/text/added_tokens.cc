#include "model/text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <string>

namespace tritter {
namespace {

uint64_t Edge(uint32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

// The code point at the beginning of valid UTF-8 that is not empty.
int32_t FirstCodePoint(absl::string_view text, size_t* bytes) {
  utf8proc_int32_t c = 0;
  *bytes =
      static_cast<size_t>(utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                           static_cast<utf8proc_ssize_t>(text.size()), &c));
  return c;
}

int32_t LastCodePoint(absl::string_view text, size_t* bytes) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return FirstCodePoint(text.substr(begin), bytes);
}

// Unicode's White_Space.
bool IsSpace(int32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

// \w of Unicode's technical standard 18, annex C.
bool IsWord(int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      // Circled and squared letters are alphabetic symbols; then the two joiners.
      return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
             (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C ||
             c == 0x200D;
  }
}

bool EndsWithWord(absl::string_view text) {
  size_t bytes = 0;
  return !text.empty() && IsWord(LastCodePoint(text, &bytes));
}
bool BeginsWithWord(absl::string_view text) {
  size_t bytes = 0;
  return !text.empty() && IsWord(FirstCodePoint(text, &bytes));
}

size_t SpaceAtEnd(absl::string_view text) {  // bytes
  const size_t size = text.size();
  size_t bytes = 0;
  while (!text.empty() && IsSpace(LastCodePoint(text, &bytes))) text.remove_suffix(bytes);
  return size - text.size();
}
size_t SpaceAtBeginning(absl::string_view text) {
  const size_t size = text.size();
  size_t bytes = 0;
  while (!text.empty() && IsSpace(FirstCodePoint(text, &bytes))) text.remove_prefix(bytes);
  return size - text.size();
}

}  // namespace

void AddedTokenFinder::Add(const AddedToken& token) {
  first_[static_cast<uint8_t>(token.content[0])] = true;
  uint32_t node = 0;
  for (const char byte : token.content) {
    const auto [child, made] =
        children_.emplace(Edge(node, byte), static_cast<uint32_t>(ends_.size()));
    if (made) ends_.push_back(-1);
    node = child->second;
  }
  ends_[node] = static_cast<int>(tokens_.size());
  tokens_.push_back(token);
}

int AddedTokenFinder::LongestAt(absl::string_view text) const {
  int longest = -1;
  uint32_t node = 0;
  for (const char byte : text) {
    const auto child = children_.find(Edge(node, byte));
    if (child == children_.end()) break;
    node = child->second;
    if (ends_[node] >= 0) longest = ends_[node];
  }
  return longest;
}

std::vector<TextSection> AddedTokenFinder::Split(absl::string_view text, bool plain) const {
  if (tokens_.empty()) return {{-1, text}};
  std::vector<TextSection> out;
  size_t done = 0;      // what is before belongs to `out`
  size_t stripped = 0;  // whitespace was last taken up to here
  for (size_t at = 0; at < text.size();) {
    if (!first_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    const int found = LongestAt(text.substr(at));
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[found];
    size_t begin = at, end = at + token.content.size();
    at = end;  // also behind one that is not taken: nothing is looked for inside it
    if (plain && token.special) continue;
    if (token.single_word &&
        (EndsWithWord(text.substr(0, begin)) || BeginsWithWord(text.substr(end)))) {
      continue;
    }
    // Whitespace that the token before has taken is not taken again.
    if (token.lstrip) {
      const size_t taken = std::min(done, begin);
      begin = std::max(begin - SpaceAtEnd(text.substr(taken, begin - taken)), done);
    }
    if (token.rstrip) {
      end = end < stripped ? stripped : end + SpaceAtBeginning(text.substr(end));
      stripped = end;
    }
    if (done < begin) out.push_back({-1, text.substr(done, begin - done)});
    out.push_back({token.id, {}});
    done = end;
  }
  if (done < text.size()) out.push_back({-1, text.substr(done)});
  return out;
}

}  // namespace tritter
