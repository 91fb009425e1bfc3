// What the inference engine serves, whatever container it comes from: a configuration and tensors
// whose ternary matrices are packed. A .tpack gives views of the file (model/tpack.h), other
// containers are packed when they are opened (model/serving/open_model.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/row_quantised.h"
#include "model/config.h"

namespace tritter {

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

// Opened and checked: every parameter of ParameterTable(config()) is there with its shape.
// Thread-safe; spans live as long as the object.
class PackedModelFile {
 public:
  virtual ~PackedModelFile() = default;
  virtual const ModelConfig& config() const = 0;
  // ByteTokenizer().hash(), or the SHA-256 of a foreign tokenizer's definition.
  virtual const std::string& tokenizer_hash() const = 0;
  virtual const TpackProvenance& provenance() const = 0;
  virtual std::vector<std::string> names() const = 0;
  // Ternary codes are valid, scales finite: nobody has to look again. Errors: NotFound; DataLoss
  // (the tensor's bytes are damaged), FailedPrecondition (NaN or infinity in it).
  virtual absl::StatusOr<TpackTensor> Get(const std::string& name) = 0;
  virtual absl::Status VerifyAll() = 0;     // all that the container lets one check of every tensor
  virtual uint64_t file_bytes() const = 0;  // of all files that belong to the model
};

}  // namespace tritter
