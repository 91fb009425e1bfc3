#include "model/text/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

namespace tritter {
namespace {

constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
constexpr int kMostOfOne = 32;  // code points that one decomposes to; the longest known is 4

int CombiningClass(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

}  // namespace

std::string Nfc(absl::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; }))
    return std::string(text);
  // utf8proc_map sorts combining marks by exchanging neighbours, which takes quadratic time.
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t c = 0;
    at += utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &c);
    utf8proc_int32_t parts[kMostOfOne];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(c, parts, kMostOfOne, kOptions, &boundary);
    points.insert(points.end(), parts, parts + count);
  }
  for (auto begin = points.begin(); begin != points.end();) {
    const auto marks = std::find_if(begin, points.end(), CombiningClass);
    const auto end =
        std::find_if(marks, points.end(), [](auto c) { return CombiningClass(c) == 0; });
    std::stable_sort(marks, end,
                     [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    begin = end;
  }
  const utf8proc_ssize_t composed = utf8proc_normalize_utf32(
      points.data(), static_cast<utf8proc_ssize_t>(points.size()), kOptions);
  std::string out;
  for (utf8proc_ssize_t i = 0; i < composed; ++i) {
    utf8proc_uint8_t utf8[4];
    const auto size = utf8proc_encode_char(points[i], utf8);
    out.append(reinterpret_cast<const char*>(utf8), size);
  }
  return out;
}

}  // namespace tritter
