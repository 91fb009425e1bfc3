// safetensors (exchange and checkpoint container): 8-byte little-endian header length, JSON header,
// data. Refused with name, offset, expected and actual: header over 100 MB, overlapping or
// non-contiguous offsets, shape/size overflow, duplicate names, non-UTF-8, trailing bytes:
// DataLoss; a dtype we do not have: Unimplemented.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "common/sha256.h"

namespace tritter {

enum class DType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };
int64_t DTypeBytes(DType t);
const char* DTypeName(DType t);  // "F32", …

struct TensorView {
  DType dtype;
  std::vector<int64_t> shape;
  absl::Span<const uint8_t> bytes;
};

// A whole file, memory-mapped and checked. Tensors by name, in file order. Thread-safe once open.
class SafetensorsFile {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(Env* env, const std::string& path);
  // The same of a file that is open already; `path` is for messages.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(std::unique_ptr<MappedFile> file,
                                                               const std::string& path);
  const std::vector<std::string>& names() const { return names_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  absl::StatusOr<TensorView> Get(const std::string& name) const;  // NotFound

 private:
  SafetensorsFile() = default;
  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::vector<std::string> names_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct TensorToWrite {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  absl::Span<const uint8_t> bytes;
  // Instead of `bytes`, for what is made while it is written: called once, in the order of the
  // file; what it gives is valid until the next call for any tensor.
  std::function<absl::StatusOr<absl::Span<const uint8_t>>()> read = nullptr;
};
struct WrittenFile {
  uint64_t bytes;
  std::string sha256;
};
// Tensors are written widest type first, else in the order given, so that each lies aligned to its
// type. Writes, syncs and closes the file (not atomic: checkpoint shares are committed together).
// The hash is computed by a thread of its own while the file is written.
absl::StatusOr<WrittenFile> WriteSafetensors(Env* env, const std::string& path,
                                             absl::Span<const TensorToWrite> tensors,
                                             const std::map<std::string, std::string>& metadata);
// The same into a file that is open; `path` is for messages.
absl::StatusOr<WrittenFile> WriteSafetensors(WritableFile* file, const std::string& path,
                                             absl::Span<const TensorToWrite> tensors,
                                             const std::map<std::string, std::string>& metadata);

}  // namespace tritter
