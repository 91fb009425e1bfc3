// Cuts plain text into documents at blank lines. Works on a view of the whole (memory-mapped) text,
// so that a file larger than memory costs no memory.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace tritter {

// A document is a run of lines that are not blank; a line is blank when nothing, or only a carriage
// return, stands on it. The line break after the last line is not part of the document.
class BlankLineSplitter {
 public:
  explicit BlankLineSplitter(absl::string_view text) : text_(text) {}
  // The next document and the number (from 1) of its first line; false at the end.
  bool Next(absl::string_view* document, uint64_t* line);
  // Bytes of the text behind the last document.
  uint64_t position() const { return position_; }

 private:
  const absl::string_view text_;
  uint64_t position_ = 0;
  uint64_t line_ = 1;  // number of the line at position_
};

}  // namespace tritter
