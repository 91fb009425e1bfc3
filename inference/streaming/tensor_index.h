// Tensors of a .tpack by name, wherever a piece of the file has been read to.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "model/tpack_format.h"

namespace tritter {

// The tensor where byte `begin` of the file lies at `at`.
inline TpackTensor TensorAt(const TpackEntry& entry, const uint8_t* at, uint64_t begin) {
  return TensorOf(entry, at + (entry.offset - begin),
                  entry.scale_count == 0 ? nullptr : at + (entry.scale_offset - begin));
}

class TensorIndex {
 public:
  explicit TensorIndex(const TpackHeader& header) {
    for (const TpackEntry& entry : header.entries) entries_[entry.name] = &entry;
  }
  // Errors: NotFound.
  absl::StatusOr<TpackTensor> Find(const std::string& name, const uint8_t* at,
                                   uint64_t begin) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return absl::NotFoundError(absl::StrCat("no tensor ", name));
    return TensorAt(*found->second, at, begin);
  }

 private:
  std::map<std::string, const TpackEntry*> entries_;
};

}  // namespace tritter
