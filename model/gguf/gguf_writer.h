// Writes GGUF v3: the header is known before any tensor is, so that tensors are made while they are
// written and none is held whole.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "model/byte_cursor.h"
#include "model/gguf/gguf_blocks.h"

namespace tritter {

// Metadata in the order in which it is added; each key once.
class GgufMetadata {
 public:
  void U32(absl::string_view key, uint32_t value);
  void I64(absl::string_view key, int64_t value);
  void F32(absl::string_view key, float value);
  void Bool(absl::string_view key, bool value);
  void Text(absl::string_view key, absl::string_view value);
  void Texts(absl::string_view key, absl::Span<const std::string> values);
  void I32s(absl::string_view key, absl::Span<const int32_t> values);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return out_.bytes(); }

 private:
  void Key(absl::string_view key, uint32_t type);
  void String(absl::string_view text);
  ByteSink out_;
  uint64_t count_ = 0;
};

using GgufAppend = std::function<absl::Status(absl::string_view)>;
struct GgufTensorToWrite {
  std::string name;
  std::vector<int64_t> shape;  // row-major: matrices are [out, in]; rows are whole blocks
  GgufType type;
  // Gives all bytes of the tensor, in pieces; called once, in the order of the tensors.
  std::function<absl::Status(const GgufAppend&)> write;
};

struct WrittenGguf {
  uint64_t bytes;
  std::string sha256;
};
// Writes, syncs and closes the file (not atomic: the caller renames it). Errors: InvalidArgument (a
// row that is no whole number of blocks), Internal (a tensor that gives another number of bytes),
// those of the tensors and of the disk.
absl::StatusOr<WrittenGguf> WriteGguf(Env* env, const std::string& path,
                                      const GgufMetadata& metadata,
                                      absl::Span<const GgufTensorToWrite> tensors);

}  // namespace tritter
