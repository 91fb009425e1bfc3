// The weights of a layer as the forward pass wants them: views of packed tensors, wherever those
// lie.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/half.h"
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

inline float Bf16At(const uint8_t* p) { return FromBF16(static_cast<uint16_t>(p[0] | p[1] << 8)); }

// What is not of a layer.
struct OuterWeights {
  RowMatrix embedding;          // [V, H]
  const float* norm = nullptr;  // [H]
  RowMatrix head;               // [V, H]; the embedding when tied
};

// Finds tensors by name, ternary ones tiled and norms in F32.
using TensorLookup = absl::FunctionRef<absl::StatusOr<TpackTensor>(const std::string& name)>;
// Makes views, without touching a byte of the tensors. Errors: DataLoss (another shape, type or
// length than the configuration asks for), those of the lookup.
absl::Status BindOuter(const ModelConfig& config, TensorLookup lookup, OuterWeights* out);
absl::Status BindLayer(const ModelConfig& config, int64_t layer, TensorLookup lookup,
                       LayerWeights* out);

struct NamedMatrix {
  const TernaryMatrix* matrix;
  std::string name;  // of its tensor
};
std::vector<NamedMatrix> MatricesOf(const LayerWeights& weights, int64_t layer);

// Computes rows [16 * block, ...) of `matrix` with the kernel on a fixed int8 vector and compares
// it with a plain loop over the unpacked codes. Internal when they differ, naming kernel, tensor,
// row and both values.
absl::Status CheckBlock(const TernaryMatrix& matrix, int64_t block, const TernaryKernel& kernel,
                        const std::string& name);
// CheckBlock of every matrix of the first layer (its first block) and of the last (its last);
// nothing of the others.
absl::Status CheckLayer(const LayerWeights& weights, int64_t layer, int64_t layers,
                        const TernaryKernel& kernel);

}  // namespace tritter
