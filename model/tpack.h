// The deployable model: one little-endian, memory-mapped file (docs/formats/tpack.md). No LibTorch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "model/config.h"
#include "model/packed_model_file.h"

namespace tritter {

// A file's first 8 bytes; no terminator there.
inline constexpr char kTpackMagic[] = "TRITPACK";

struct TpackHeader;  // model/tpack_format.h

// Open checks magic, version, every length against the file before any allocation, and header and
// table checksums: a flipped bit anywhere in them is DataLoss. Tensor data is checked against its
// checksum on first Get (once) or by VerifyAll. Thread-safe once open; spans live as long as the
// object.
class TpackFile : public PackedModelFile {
 public:
  static absl::StatusOr<std::unique_ptr<TpackFile>> Open(Env* env, const std::string& path);
  // For who reads the file's tensors otherwise than through the mapping.
  virtual const std::string& path() const = 0;
  virtual const TpackHeader& header() const = 0;
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
  virtual absl::Status Add(const TpackTensor& tensor) = 0;
  absl::Status Add(const TpackTensorToWrite& tensor) {
    const absl::Span<const uint8_t> data(reinterpret_cast<const uint8_t*>(tensor.data.data()),
                                         tensor.data.size());
    return Add(TpackTensor{tensor.name, tensor.shape, tensor.type, data, tensor.scales});
  }
  virtual absl::Status Finish() = 0;  // without it nothing is left at `path`
};

}  // namespace tritter
