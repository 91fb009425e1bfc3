// GGUF v3, the container of llama.cpp: metadata and tensors of any meaning. What the metadata and
// tensors of a model are: gguf_model.h. Layout: docs/formats/gguf.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "model/gguf/gguf_blocks.h"

namespace tritter {

inline constexpr char kGgufMagic[] = "GGUF";  // 4 bytes, no terminator in the file
inline constexpr uint32_t kGgufVersion = 3;
inline constexpr uint64_t kGgufAlignment = 32;  // what we write

enum class GgufValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

struct GgufValue {
  GgufValueType type;  // of an array: of its elements
  bool array = false;
  uint64_t count = 1;
  uint64_t offset = 0;              // in the file
  absl::Span<const uint8_t> bytes;  // strings with their lengths
};

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // ours, row-major: matrices are [out, in]; in the file reversed
  GgufType type;
  uint64_t offset = 0;  // in the file
  absl::Span<const uint8_t> bytes;
};

// A whole file, memory-mapped and checked: nothing is allocated for what is only announced, every
// length lies inside the file, tensors follow each other without gap or overlap, nothing is left
// over. Immutable once open; thread-safe.
class GgufFile {
 public:
  // Errors: DataLoss for damage, with path, offset, expected and actual; Unimplemented for another
  // version or byte order, and for a tensor type that we do not have.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(Env* env, const std::string& path);
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(std::unique_ptr<MappedFile> file,
                                                        const std::string& path);

  const std::string& path() const { return path_; }
  uint64_t bytes() const { return file_->bytes().size(); }
  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  bool Has(const std::string& key) const { return metadata_.count(key) != 0; }
  // One value; any type that holds such a one. Errors: DataLoss naming key, expected and actual
  // type (or that it is missing).
  absl::StatusOr<int64_t> Integer(const std::string& key) const;
  absl::StatusOr<double> Number(const std::string& key) const;
  absl::StatusOr<std::string> Text(const std::string& key) const;
  absl::StatusOr<std::vector<std::string>> Texts(const std::string& key) const;
  absl::StatusOr<bool> Boolean(const std::string& key) const;
  // An array of whole numbers of any type.
  absl::StatusOr<std::vector<int64_t>> Integers(const std::string& key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in the file's order
  const GgufTensor* Find(const std::string& name) const;               // null when it is not there

 private:
  friend class GgufParser;
  GgufFile() = default;
  absl::StatusOr<const GgufValue*> One(const std::string& key, const char* expected) const;

  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t> index_;
};

}  // namespace tritter
