// The weights of a packed model as the forward pass wants them: views into the memory-mapped file,
// checked once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/ternary_gemm.h"
#include "model/packed_model_file.h"

namespace tritter {

// Ternary matrix [rows, cols] in form tile16x16-v1.
struct TernaryMatrix {
  int64_t rows = 0, cols = 0;
  const uint8_t* tiled = nullptr;
  const float* scales = nullptr;  // [rows], or [1] when !per_row
  bool per_row = true;

  int64_t blocks() const { return (rows + 15) / 16; }             // of 16 rows
  int64_t input_stride() const { return (cols + 15) / 16 * 16; }  // int8 row, padded
};

// Embedding or output head [rows, cols]: F32, BF16 or row-wise INT8 or INT4, as the file has it.
struct RowMatrix {
  int64_t rows = 0, cols = 0;
  TpackType type = TpackType::kF32;
  const uint8_t* data = nullptr;
  const float* scales = nullptr;  // [rows] of a row-wise type

  int64_t row_bytes() const;
  int64_t bytes() const { return rows * row_bytes(); }
  void Row(int64_t row, float* out) const;  // out [cols]
};

struct LayerWeights {
  const float* norm_in = nullptr;        // [H]
  TernaryMatrix q, k, v, o;              // [N·D, H], [K·D, H], [K·D, H], [H, N·D]
  const float* q_norm = nullptr;         // [D]; family tritter
  const float* k_norm = nullptr;         // [D]; family tritter
  const float* attn_sub_norm = nullptr;  // [N·D]; family bitnet
  const float* norm_post = nullptr;      // [H]
  TernaryMatrix gate, up, down;          // [I, H], [I, H], [H, I]
  const float* ffn_sub_norm = nullptr;   // [I]; family bitnet
};

// Immutable and thread-safe once loaded. Owned by the engine; owns the file.
class PackedModel {
 public:
  // Checks that the configuration is one this engine computes, that every tensor is there with its
  // shape, that codes are valid, and recomputes one block of rows of every matrix of the first and
  // last layer against the scalar reference. Errors: Unimplemented (a switch of the configuration,
  // named), DataLoss (tensors), Internal (kernel disagrees).
  static absl::StatusOr<std::unique_ptr<PackedModel>> Load(std::unique_ptr<PackedModelFile> file,
                                                           const TernaryKernel& kernel);

  const ModelConfig& config() const { return file_->config(); }
  PackedModelFile& file() const { return *file_; }
  const LayerWeights& layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }
  const RowMatrix& embedding() const { return embedding_; }  // [V, H]
  const float* norm() const { return norm_; }                // [H]
  const RowMatrix& head() const { return head_; }            // [V, H]; the embedding when tied

 private:
  explicit PackedModel(std::unique_ptr<PackedModelFile> file) : file_(std::move(file)) {}
  absl::Status LoadTensors();
  absl::StatusOr<TpackTensor> Tensor(const std::string& name, const std::vector<int64_t>& shape);
  absl::Status LoadFloats(const std::string& name, const std::vector<int64_t>& shape,
                          const float** out);
  absl::Status LoadRows(const std::string& name, int64_t rows, int64_t cols, RowMatrix* out);
  absl::Status LoadTernary(const std::string& name, int64_t rows, int64_t cols, TernaryMatrix* out);

  std::unique_ptr<PackedModelFile> file_;
  std::vector<LayerWeights> layers_;
  RowMatrix embedding_, head_;
  const float* norm_ = nullptr;
  std::vector<std::vector<float>> converted_;  // norms the file stores in another type than F32
  std::vector<std::vector<uint8_t>> tiled_copies_;  // tensors the file stores in the logical form
};

// Computes rows [16 * block, ...) of `matrix` with the kernel on a fixed int8 vector and compares
// it with a plain loop over the unpacked codes. Internal when they differ, naming kernel, tensor,
// row and both values.
absl::Status CheckBlock(const TernaryMatrix& matrix, int64_t block, const TernaryKernel& kernel,
                        const std::string& name);

}  // namespace tritter
