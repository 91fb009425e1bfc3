#include "curation/document_splitter.h"

#include <algorithm>

namespace tritter {

bool BlankLineSplitter::Next(absl::string_view* document, uint64_t* line) {
  uint64_t begin = 0, end = 0;
  bool inside = false;
  while (position_ < text_.size()) {
    const uint64_t start = position_;
    const uint64_t line_break = std::min<uint64_t>(text_.find('\n', start), text_.size());
    position_ = std::min<uint64_t>(line_break + 1, text_.size());
    const uint64_t number = line_++;
    uint64_t stop = line_break;
    if (stop > start && text_[stop - 1] == '\r') --stop;
    if (stop > start) {
      if (!inside) {
        begin = start;
        *line = number;
        inside = true;
      }
      end = stop;
    } else if (inside) {
      break;
    }
  }
  if (inside) *document = text_.substr(begin, end - begin);
  return inside;
}

}  // namespace tritter
