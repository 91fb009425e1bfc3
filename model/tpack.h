// The deployable model: one little-endian, memory-mapped file (docs/formats/tpack.md). No LibTorch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "kernels/row_quantised.h"
#include "model/config.h"

namespace tritter {

// A file's first 8 bytes; no terminator there.
inline constexpr char kTpackMagic[] = "TRITPACK";

struct TpackProvenance {
  std::string run_id;
  int64_t step = 0;
  std::string checkpoint_hash;  // SHA-256 of the checkpoint's manifest.json
  std::string weights;          // "averaged" or "raw"
  std::string code_version;
};

enum class TpackType : uint32_t {
  kF32 = 0,
  kBF16 = 1,
  kTernaryTile16x16 = 2,
  kTernaryLogical = 3,
  kRowInt8 = 4,
  kRowInt4 = 5  // kernels/row_quantised.h
};

// Of a row-wise type; nothing for the others.
inline std::optional<RowFormat> RowFormatOf(TpackType type) {
  if (type == TpackType::kRowInt8) return RowFormat::kInt8;
  if (type == TpackType::kRowInt4) return RowFormat::kInt4;
  return std::nullopt;
}

struct TpackTensor {
  std::string name;            // names of model/config.h ParameterTable
  std::vector<int64_t> shape;  // logical shape; matrices [out, in]
  TpackType type;
  absl::Span<const uint8_t> data;  // codes (tiled form padded) or plain values
  absl::Span<const float> scales;  // ternary: [rows] or [1]; row-wise: [rows]; else empty
};

// Open checks magic, version, every length against the file before any allocation, and header and
// table checksums: a flipped bit anywhere in them is DataLoss. Tensor data is checked against its
// checksum on first Get (once) or by VerifyAll. Thread-safe once open; spans live as long as the
// object.
class TpackFile {
 public:
  static absl::StatusOr<std::unique_ptr<TpackFile>> Open(Env* env, const std::string& path);
  virtual ~TpackFile() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const std::string& tokenizer_hash() const = 0;
  virtual const TpackProvenance& provenance() const = 0;
  virtual std::vector<std::string> names() const = 0;
  virtual absl::StatusOr<TpackTensor> Get(const std::string& name) = 0;  // NotFound, DataLoss
  virtual absl::Status VerifyAll() = 0;  // every tensor's checksum and codes
  virtual uint64_t file_bytes() const = 0;
};

struct TpackTensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  TpackType type;
  std::string data;
  std::vector<float> scales;
};

// Writes atomically (temporary, fsync, rename). Tensors are added one at a time, in the order of
// ParameterTable, so that a model larger than memory can be exported.
class TpackWriter {
 public:
  static absl::StatusOr<std::unique_ptr<TpackWriter>> Create(Env* env, const std::string& path,
                                                             const ModelConfig& config,
                                                             const std::string& tokenizer_hash,
                                                             const TpackProvenance& provenance);
  virtual ~TpackWriter() = default;
  virtual absl::Status Add(const TpackTensorToWrite& tensor) = 0;
  virtual absl::Status Finish() = 0;  // without it nothing is left at `path`
};

}  // namespace tritter
