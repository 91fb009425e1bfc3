#include "inference/layer_weights.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "kernels/packing.h"
#include "kernels/row_quantised.h"

namespace tritter {
namespace {

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<TpackTensor> Find(TensorLookup lookup, const std::string& name,
                                 const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(TpackTensor tensor, lookup(name));
  if (tensor.shape != shape) {
    return absl::DataLossError(absl::StrCat("tensor ", name, " has shape ", Shape(tensor.shape),
                                            ", the configuration asks for ", Shape(shape),
                                            "; export the model again"));
  }
  return tensor;
}

bool Aligned(const TpackTensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data.data()) % alignof(float) == 0;
}

absl::Status BindFloats(TensorLookup lookup, const std::string& name, int64_t count,
                        const float** out) {
  ASSIGN_OR_RETURN(const TpackTensor tensor, Find(lookup, name, {count}));
  if (tensor.type != TpackType::kF32 || !Aligned(tensor) ||
      static_cast<int64_t>(tensor.data.size()) != count * 4) {
    return absl::DataLossError(absl::StrCat(
        "tensor ", name, " of type ", static_cast<uint32_t>(tensor.type), " has ",
        tensor.data.size(), " bytes, expected ", count, " plain values (F32 or BF16)"));
  }
  *out = reinterpret_cast<const float*>(tensor.data.data());
  return absl::OkStatus();
}

absl::Status BindRows(TensorLookup lookup, const std::string& name, int64_t rows, int64_t cols,
                      RowMatrix* out) {
  ASSIGN_OR_RETURN(const TpackTensor tensor, Find(lookup, name, {rows, cols}));
  *out = {rows, cols, tensor.type, tensor.data.data(), tensor.scales.data()};
  const bool by_row = RowFormatOf(tensor.type).has_value();
  const int64_t scales = by_row ? rows : 0;
  const bool known = by_row || tensor.type == TpackType::kF32 || tensor.type == TpackType::kBF16;
  if (!known || static_cast<int64_t>(tensor.data.size()) != out->bytes() ||
      static_cast<int64_t>(tensor.scales.size()) != scales || !Aligned(tensor)) {
    return absl::DataLossError(
        absl::StrCat("tensor ", name, " of type ", static_cast<uint32_t>(tensor.type), " has ",
                     tensor.data.size(), " bytes and ", tensor.scales.size(),
                     " scales, expected rows in F32, BF16 or row-wise INT8 or INT4, ", rows, " of ",
                     cols, " values"));
  }
  return absl::OkStatus();
}

absl::Status BindTernary(TensorLookup lookup, const std::string& name, int64_t rows, int64_t cols,
                         TernaryMatrix* out) {
  ASSIGN_OR_RETURN(const TpackTensor tensor, Find(lookup, name, {rows, cols}));
  const size_t expected = static_cast<size_t>(TiledBytes(rows, cols));
  if (tensor.type != TpackType::kTernaryTile16x16 || tensor.data.size() != expected) {
    return absl::DataLossError(
        absl::StrCat("tensor ", name, " of type ", static_cast<uint32_t>(tensor.type), " has ",
                     tensor.data.size(), " bytes, expected ternary codes in ", expected, " bytes"));
  }
  const int64_t scales = static_cast<int64_t>(tensor.scales.size());
  if (scales != rows && scales != 1) {
    return absl::DataLossError(absl::StrCat("tensor ", name, " has ", scales, " scales, expected ",
                                            rows, " (one a row) or 1"));
  }
  *out = {rows, cols, tensor.data.data(), tensor.scales.data(), scales == rows && rows > 1};
  return absl::OkStatus();
}

}  // namespace

int64_t RowMatrix::row_bytes() const {
  if (const auto format = RowFormatOf(type)) return QuantisedRowBytes(*format, cols);
  return cols * (type == TpackType::kBF16 ? 2 : 4);
}

void RowMatrix::Row(int64_t row, float* out) const {
  const uint8_t* from = data + row * row_bytes();
  if (const auto format = RowFormatOf(type))
    return ExpandRow(*format, from, scales[row], cols, out);
  if (type == TpackType::kF32) {
    std::memcpy(out, from, static_cast<size_t>(cols) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < cols; ++i) out[i] = Bf16At(from + i * 2);
}

absl::Status BindOuter(const ModelConfig& c, TensorLookup lookup, OuterWeights* out) {
  RETURN_IF_ERROR(BindRows(lookup, "embed.weight", c.vocab, c.hidden, &out->embedding));
  RETURN_IF_ERROR(BindFloats(lookup, "norm.weight", c.hidden, &out->norm));
  out->head = out->embedding;
  if (c.tied_embeddings) return absl::OkStatus();
  return BindRows(lookup, "head.weight", c.vocab, c.hidden, &out->head);
}

absl::Status BindLayer(const ModelConfig& c, int64_t layer, TensorLookup lookup, LayerWeights* w) {
  const int64_t query = c.heads * c.head_dim, key = c.kv_heads * c.head_dim;
  const std::string p = absl::StrCat("layers.", layer, ".");
  RETURN_IF_ERROR(BindFloats(lookup, p + "norm_in.weight", c.hidden, &w->norm_in));
  RETURN_IF_ERROR(BindTernary(lookup, p + "attn.q.weight", query, c.hidden, &w->q));
  RETURN_IF_ERROR(BindTernary(lookup, p + "attn.k.weight", key, c.hidden, &w->k));
  RETURN_IF_ERROR(BindTernary(lookup, p + "attn.v.weight", key, c.hidden, &w->v));
  RETURN_IF_ERROR(BindTernary(lookup, p + "attn.o.weight", c.hidden, query, &w->o));
  if (c.qk_norm()) {
    RETURN_IF_ERROR(BindFloats(lookup, p + "attn.q_norm.weight", c.head_dim, &w->q_norm));
    RETURN_IF_ERROR(BindFloats(lookup, p + "attn.k_norm.weight", c.head_dim, &w->k_norm));
  }
  RETURN_IF_ERROR(BindFloats(lookup, p + "norm_post.weight", c.hidden, &w->norm_post));
  RETURN_IF_ERROR(BindTernary(lookup, p + "ffn.gate.weight", c.ffn, c.hidden, &w->gate));
  RETURN_IF_ERROR(BindTernary(lookup, p + "ffn.up.weight", c.ffn, c.hidden, &w->up));
  RETURN_IF_ERROR(BindTernary(lookup, p + "ffn.down.weight", c.hidden, c.ffn, &w->down));
  if (!c.sub_norms()) return absl::OkStatus();
  RETURN_IF_ERROR(BindFloats(lookup, p + "attn.sub_norm.weight", query, &w->attn_sub_norm));
  return BindFloats(lookup, p + "ffn.sub_norm.weight", c.ffn, &w->ffn_sub_norm);
}

std::vector<NamedMatrix> MatricesOf(const LayerWeights& w, int64_t layer) {
  const auto name = [&](const char* matrix) {
    return absl::StrCat("layers.", layer, ".", matrix, ".weight");
  };
  return {{&w.q, name("attn.q")},     {&w.k, name("attn.k")},      {&w.v, name("attn.v")},
          {&w.o, name("attn.o")},     {&w.gate, name("ffn.gate")}, {&w.up, name("ffn.up")},
          {&w.down, name("ffn.down")}};
}

absl::Status CheckLayer(const LayerWeights& weights, int64_t layer, int64_t layers,
                        const TernaryKernel& kernel) {
  if (layer != 0 && layer != layers - 1) return absl::OkStatus();
  for (const NamedMatrix& m : MatricesOf(weights, layer)) {
    const int64_t block = layer == 0 ? 0 : m.matrix->blocks() - 1;
    RETURN_IF_ERROR(CheckBlock(*m.matrix, block, kernel, m.name));
  }
  return absl::OkStatus();
}

absl::Status CheckBlock(const TernaryMatrix& matrix, int64_t block, const TernaryKernel& kernel,
                        const std::string& name) {
  const int64_t stride = matrix.input_stride(), first = block * kTileRows;
  const int64_t rows = std::min<int64_t>(kTileRows, matrix.rows - first);
  const uint8_t* tiled =
      matrix.tiled + block * (stride / kTileCols) * static_cast<int64_t>(kTileBytes);
  std::vector<int8_t> x(static_cast<size_t>(stride), 0);
  for (int64_t c = 0; c < matrix.cols; ++c) x[c] = static_cast<int8_t>((c * 73 + 41) % 256 - 128);
  std::vector<int32_t> actual(kTileRows, 0);
  MultiplyRows(kernel, tiled, rows, matrix.cols, x.data(), stride, 1, actual.data(), kTileRows, 0,
               1);

  std::vector<uint8_t> logical(static_cast<size_t>(rows * LogicalRowBytes(matrix.cols)));
  std::vector<int8_t> codes(static_cast<size_t>(rows * matrix.cols));
  int64_t bad = 0;
  TiledToLogical(tiled, rows, matrix.cols, logical.data());
  if (!UnpackLogical(logical.data(), rows, matrix.cols, codes.data(), &bad)) {
    return absl::DataLossError(absl::StrCat(
        "tensor ", name, " has an invalid ternary code in rows ", first, " to ", first + rows - 1));
  }
  for (int64_t r = 0; r < rows; ++r) {
    int32_t expected = 0;
    for (int64_t c = 0; c < matrix.cols; ++c) expected += codes[r * matrix.cols + c] * x[c];
    if (actual[r] != expected) {
      return absl::InternalError(absl::StrCat(
          "kernel ", kernel.name, " gives ", actual[r], " for row ", first + r, " of ", name,
          ", the reference ", expected, "; set TRITTER_KERNEL=scalar and report this machine"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tritter
