#include "inference/packed_model.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "kernels/packing.h"
#include "kernels/row_quantised.h"

namespace tritter {
namespace {

// What the forward pass of this engine does not compute is refused here, by name.
absl::Status CheckSupported(const ModelConfig& c) {
  std::string what;
  if (c.norm != NormKind::kRmsNorm) what = "norm: layernorm";
  if (c.bias) what = "bias: true";
  if (c.lm_head_ternary) what = "lm_head: ternary";
  if (c.attention != AttentionMode::kCausal)
    what = absl::StrCat("attention: ", AttentionModeName(c.attention));
  if (c.activations != ActivationRule::kInt8) what = "activations other than int8";
  if (what.empty()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "the model uses ", what,
      ", which this inference engine does not compute; "
      "serve a model with the default switches (rmsnorm, no bias, full head, causal, int8)"));
}

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

float Bf16ToFloat(const uint8_t* p) {
  const uint32_t bits = (uint32_t{p[0]} | uint32_t{p[1]} << 8) << 16;
  float f;
  std::memcpy(&f, &bits, sizeof(f));
  return f;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedModel>> PackedModel::Load(
    std::unique_ptr<PackedModelFile> file, const TernaryKernel& kernel) {
  RETURN_IF_ERROR(ValidateConfig(file->config()));
  RETURN_IF_ERROR(CheckSupported(file->config()));
  std::unique_ptr<PackedModel> model(new PackedModel(std::move(file)));
  RETURN_IF_ERROR(model->LoadTensors());
  const int64_t last = model->config().layers - 1;
  for (int64_t i : {int64_t{0}, last}) {
    const LayerWeights& w = model->layer(i);
    const std::pair<const TernaryMatrix*, const char*> matrices[] = {
        {&w.q, "attn.q"},      {&w.k, "attn.k"},  {&w.v, "attn.v"},     {&w.o, "attn.o"},
        {&w.gate, "ffn.gate"}, {&w.up, "ffn.up"}, {&w.down, "ffn.down"}};
    for (const auto& [matrix, name] : matrices) {
      const int64_t block = i == 0 ? 0 : matrix->blocks() - 1;
      RETURN_IF_ERROR(
          CheckBlock(*matrix, block, kernel, absl::StrCat("layers.", i, ".", name, ".weight")));
    }
  }
  return model;
}

absl::Status PackedModel::LoadTensors() {
  const ModelConfig& c = config();
  const int64_t query = c.heads * c.head_dim, key = c.kv_heads * c.head_dim;
  RETURN_IF_ERROR(LoadRows("embed.weight", c.vocab, c.hidden, &embedding_));
  layers_.resize(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    LayerWeights& w = layers_[static_cast<size_t>(i)];
    const std::string p = absl::StrCat("layers.", i, ".");
    RETURN_IF_ERROR(LoadFloats(p + "norm_in.weight", {c.hidden}, &w.norm_in));
    RETURN_IF_ERROR(LoadTernary(p + "attn.q.weight", query, c.hidden, &w.q));
    RETURN_IF_ERROR(LoadTernary(p + "attn.k.weight", key, c.hidden, &w.k));
    RETURN_IF_ERROR(LoadTernary(p + "attn.v.weight", key, c.hidden, &w.v));
    RETURN_IF_ERROR(LoadTernary(p + "attn.o.weight", c.hidden, query, &w.o));
    if (c.qk_norm()) {
      RETURN_IF_ERROR(LoadFloats(p + "attn.q_norm.weight", {c.head_dim}, &w.q_norm));
      RETURN_IF_ERROR(LoadFloats(p + "attn.k_norm.weight", {c.head_dim}, &w.k_norm));
    }
    RETURN_IF_ERROR(LoadFloats(p + "norm_post.weight", {c.hidden}, &w.norm_post));
    RETURN_IF_ERROR(LoadTernary(p + "ffn.gate.weight", c.ffn, c.hidden, &w.gate));
    RETURN_IF_ERROR(LoadTernary(p + "ffn.up.weight", c.ffn, c.hidden, &w.up));
    RETURN_IF_ERROR(LoadTernary(p + "ffn.down.weight", c.hidden, c.ffn, &w.down));
    if (c.sub_norms()) {
      RETURN_IF_ERROR(LoadFloats(p + "attn.sub_norm.weight", {query}, &w.attn_sub_norm));
      RETURN_IF_ERROR(LoadFloats(p + "ffn.sub_norm.weight", {c.ffn}, &w.ffn_sub_norm));
    }
  }
  RETURN_IF_ERROR(LoadFloats("norm.weight", {c.hidden}, &norm_));
  if (c.tied_embeddings) {
    head_ = embedding_;
    return absl::OkStatus();
  }
  return LoadRows("head.weight", c.vocab, c.hidden, &head_);
}

absl::StatusOr<TpackTensor> PackedModel::Tensor(const std::string& name,
                                                const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(TpackTensor tensor, file_->Get(name));
  if (tensor.shape != shape) {
    return absl::DataLossError(absl::StrCat("tensor ", name, " has shape ", Shape(tensor.shape),
                                            ", the configuration asks for ", Shape(shape),
                                            "; export the model again"));
  }
  return tensor;
}

absl::Status PackedModel::LoadFloats(const std::string& name, const std::vector<int64_t>& shape,
                                     const float** out) {
  ASSIGN_OR_RETURN(const TpackTensor tensor, Tensor(name, shape));
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  const bool f32 = tensor.type == TpackType::kF32;
  if ((!f32 && tensor.type != TpackType::kBF16) ||
      static_cast<int64_t>(tensor.data.size()) != count * (f32 ? 4 : 2)) {
    return absl::DataLossError(absl::StrCat(
        "tensor ", name, " of type ", static_cast<uint32_t>(tensor.type), " has ",
        tensor.data.size(), " bytes, expected ", count, " plain values (F32 or BF16)"));
  }
  const uint8_t* data = tensor.data.data();
  if (f32 && reinterpret_cast<uintptr_t>(data) % alignof(float) == 0) {
    *out = reinterpret_cast<const float*>(data);
    return absl::OkStatus();
  }
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    if (f32) std::memcpy(&values[i], data + i * 4, 4);
    if (!f32) values[i] = Bf16ToFloat(data + i * 2);
  }
  converted_.push_back(std::move(values));
  *out = converted_.back().data();
  return absl::OkStatus();
}

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
  for (int64_t i = 0; i < cols; ++i) out[i] = Bf16ToFloat(from + i * 2);
}

absl::Status PackedModel::LoadRows(const std::string& name, int64_t rows, int64_t cols,
                                   RowMatrix* out) {
  ASSIGN_OR_RETURN(const TpackTensor tensor, Tensor(name, {rows, cols}));
  *out = {rows, cols, tensor.type, tensor.data.data(), tensor.scales.data()};
  const bool by_row = RowFormatOf(tensor.type).has_value();
  const int64_t scales = by_row ? rows : 0;
  const bool known = by_row || tensor.type == TpackType::kF32 || tensor.type == TpackType::kBF16;
  if (!known || static_cast<int64_t>(tensor.data.size()) != out->bytes() ||
      static_cast<int64_t>(tensor.scales.size()) != scales ||
      reinterpret_cast<uintptr_t>(tensor.data.data()) % alignof(float) != 0) {
    return absl::DataLossError(
        absl::StrCat("tensor ", name, " of type ", static_cast<uint32_t>(tensor.type), " has ",
                     tensor.data.size(), " bytes and ", tensor.scales.size(),
                     " scales, expected rows in F32, BF16 or row-wise INT8 or INT4, ", rows, " of ",
                     cols, " values"));
  }
  return absl::OkStatus();
}

absl::Status PackedModel::LoadTernary(const std::string& name, int64_t rows, int64_t cols,
                                      TernaryMatrix* out) {
  ASSIGN_OR_RETURN(const TpackTensor tensor, Tensor(name, {rows, cols}));
  const bool tiled = tensor.type == TpackType::kTernaryTile16x16;
  const size_t expected =
      static_cast<size_t>(tiled ? TiledBytes(rows, cols) : rows * LogicalRowBytes(cols));
  if ((!tiled && tensor.type != TpackType::kTernaryLogical) || tensor.data.size() != expected) {
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
  if (!tiled) {
    tiled_copies_.emplace_back(static_cast<size_t>(TiledBytes(rows, cols)));
    LogicalToTiled(tensor.data.data(), rows, cols, tiled_copies_.back().data());
    out->tiled = tiled_copies_.back().data();
  }
  if (const int64_t bad = FindInvalidTiled(out->tiled, rows, cols); bad >= 0) {
    return absl::DataLossError(absl::StrCat(
        "tensor ", name, " has an invalid ternary code at byte ", bad, " of its tiled form"));
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
