#include "inference/cuda/device_model.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/cuda/ternary_layout.h"
#include "kernels/float_ops.h"
#include "kernels/ternary_gemm.h"

namespace tritter {
namespace {

using cuda::GpuTernaryBuilder;

cuda::RowType TypeOf(TpackType type) {
  return type == TpackType::kBF16      ? cuda::RowType::kBf16
         : type == TpackType::kRowInt8 ? cuda::RowType::kInt8
         : type == TpackType::kRowInt4 ? cuda::RowType::kInt4
                                       : cuda::RowType::kF32;
}

absl::Status UploadRows(const RowMatrix& m, absl::string_view what, DeviceMemory* memory,
                        cuda::RowTable* out) {
  out->type = TypeOf(m.type);
  out->rows = static_cast<int>(m.rows);
  out->cols = static_cast<int>(m.cols);
  out->pitch = cuda::GpuRowPitch(out->type, m.cols);
  out->scales = nullptr;
  if (RowFormatOf(m.type).has_value())
    RETURN_IF_ERROR(memory->Upload(m.scales, m.rows, what, &out->scales));
  if (out->pitch == m.row_bytes())
    return memory->Upload(m.data, m.rows * out->pitch, what, &out->data);
  std::vector<uint8_t> padded(static_cast<size_t>(m.rows * out->pitch), 0);
  for (int64_t r = 0; r < m.rows; ++r)
    std::memcpy(&padded[static_cast<size_t>(r * out->pitch)], m.data + r * m.row_bytes(),
                static_cast<size_t>(m.row_bytes()));
  return memory->Upload(padded.data(), m.rows * out->pitch, what, &out->data);
}

absl::Status UploadFloats(const float* from, int64_t count, DeviceMemory* memory,
                          const float** out) {
  *out = nullptr;
  return from == nullptr ? absl::OkStatus() : memory->Upload(from, count, "norms", out);
}

absl::Status UploadTernary(const GpuTernaryBuilder& builder, int64_t rows, int64_t cols,
                           DeviceMemory* memory, cuda::TernaryWeights* out) {
  out->rows = static_cast<int>(rows);
  out->cols = static_cast<int>(cols);
  RETURN_IF_ERROR(memory->Upload(builder.words().data(),
                                 static_cast<int64_t>(builder.words().size()), "weights",
                                 &out->words));
  return memory->Upload(builder.scales().data(), static_cast<int64_t>(builder.scales().size()),
                        "scales", &out->scales);
}

// Matrices of one input, one below the other.
absl::Status UploadStacked(const std::vector<const TernaryMatrix*>& parts, DeviceMemory* memory,
                           cuda::TernaryWeights* out) {
  int64_t rows = 0, first = 0;
  for (const TernaryMatrix* m : parts) rows += m->rows;
  GpuTernaryBuilder builder(rows, parts[0]->cols);
  for (const TernaryMatrix* m : parts) {
    builder.Add(m->tiled, m->rows, m->scales, m->per_row, first);
    first += m->rows;
  }
  return UploadTernary(builder, rows, parts[0]->cols, memory, out);
}

absl::Status UploadHalves(const TernaryMatrix& gate, const TernaryMatrix& up, DeviceMemory* memory,
                          cuda::TernaryWeights* out) {
  const int64_t rows = cuda::GpuHalvesRows(gate.rows);
  GpuTernaryBuilder builder(rows, gate.cols);
  builder.AddHalf(gate.tiled, gate.rows, gate.scales, gate.per_row, 0);
  builder.AddHalf(up.tiled, up.rows, up.scales, up.per_row, 1);
  return UploadTernary(builder, rows, gate.cols, memory, out);
}

// Rows `row` of the matrix lie at place(row) of the product.
template <typename Place>
absl::Status CheckPart(const TernaryMatrix& m, const std::vector<int8_t>& x,
                       const std::vector<int32_t>& actual, const Place& place,
                       absl::string_view name, absl::string_view kernel) {
  for (const int64_t block : {int64_t{0}, m.blocks() - 1}) {
    int32_t expected[16] = {};
    MultiplyRows(ScalarTernaryKernel(), m.tiled, m.rows, m.cols, x.data(), m.input_stride(), 1,
                 expected, 16, block, block + 1);
    for (int64_t r = 16 * block; r < std::min(m.rows, 16 * block + 16); ++r) {
      const int32_t got = actual[static_cast<size_t>(place(r))];
      if (got == expected[r - 16 * block]) continue;
      return absl::InternalError(absl::StrCat("the GPU's ", kernel, " product gives ", got,
                                              " for row ", r, " of ", name, ", the reference ",
                                              expected[r - 16 * block],
                                              "; serve with --device cpu and report this machine"));
    }
  }
  return absl::OkStatus();
}

using PartOf = std::pair<const TernaryMatrix*, const char*>;

absl::Status CheckProduct(const std::vector<PartOf>& parts, bool halves,
                          const cuda::TernaryWeights& w, const std::string& layer,
                          cudaStream_t stream) {
  constexpr int kRows = 16;  // alike, for the kernel of many rows
  const int64_t stride = DeviceRowStride(w.cols);
  std::vector<int8_t> x(static_cast<size_t>(stride * kRows), 0);
  std::vector<int32_t> sums(kRows, 0);
  for (int64_t c = 0; c < w.cols; ++c) {
    for (int t = 0; t < kRows; ++t)
      x[static_cast<size_t>(t * stride + c)] = static_cast<int8_t>((c * 73 + 41) % 256 - 128);
    for (int t = 0; t < kRows; ++t) sums[t] += x[static_cast<size_t>(c)];
  }
  DeviceMemory memory(stream);
  cuda::QuantisedRows rows = {nullptr, nullptr, nullptr, static_cast<int>(stride), 1};
  RETURN_IF_ERROR(memory.Upload(x.data(), stride * kRows, "the check", &rows.codes));
  RETURN_IF_ERROR(memory.Upload(sums.data(), kRows, "the check", &rows.sums));
  int32_t* out = nullptr;
  RETURN_IF_ERROR(memory.Allocate(int64_t{w.rows} * kRows, "the check", &out));
  for (const bool matrix : {false, true}) {
    const cuda::ProductOutput output = {out, w.rows, cuda::Epilogue::kSums};
    rows.count = matrix ? kRows : 1;
    (matrix ? &cuda::MatrixProduct : &cuda::VectorProduct)(w, rows, output, stream);
    std::vector<int32_t> actual(static_cast<size_t>(w.rows));
    RETURN_IF_ERROR(CudaStatus(cudaGetLastError(), "starting a product"));
    RETURN_IF_ERROR(
        CudaStatus(cudaMemcpyAsync(actual.data(), out + (rows.count - 1) * w.rows,
                                   actual.size() * sizeof(int32_t), cudaMemcpyDeviceToHost, stream),
                   "a product"));
    RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream), "a product"));
    int64_t first = 0, half = 0;
    for (const auto& [m, name] : parts) {
      const auto place = [&](int64_t r) {
        return halves ? r / 8 * 16 + r % 8 + 8 * half : first + r;
      };
      RETURN_IF_ERROR(CheckPart(*m, x, actual, place, absl::StrCat(layer, name, ".weight"),
                                matrix ? "tensor-core" : "dp4a"));
      first += m->rows;
      ++half;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeviceModel> UploadModel(const PackedModel& model, DeviceMemory* memory) {
  const ModelConfig& c = model.config();
  DeviceModel out;
  RETURN_IF_ERROR(UploadRows(model.embedding(), "the embedding", memory, &out.embedding));
  if (model.head().data == model.embedding().data) {
    out.head = out.embedding;
  } else {
    RETURN_IF_ERROR(UploadRows(model.head(), "the head", memory, &out.head));
  }
  RETURN_IF_ERROR(UploadFloats(model.norm(), c.hidden, memory, &out.norm));
  const int64_t half = c.head_dim / 2;
  std::vector<float> cos(static_cast<size_t>(c.context * half)), sin(cos.size());
  RopeTable(c.rope_theta, c.head_dim, 0, c.context, cos.data(), sin.data());
  RETURN_IF_ERROR(memory->Upload(cos.data(), c.context * half, "rotations", &out.cos));
  RETURN_IF_ERROR(memory->Upload(sin.data(), c.context * half, "rotations", &out.sin));
  for (int64_t i = 0; i < c.layers; ++i) {
    const LayerWeights& w = model.layer(i);
    DeviceLayer layer = {};
    RETURN_IF_ERROR(UploadFloats(w.norm_in, c.hidden, memory, &layer.norm_in));
    RETURN_IF_ERROR(UploadFloats(w.q_norm, c.head_dim, memory, &layer.q_norm));
    RETURN_IF_ERROR(UploadFloats(w.k_norm, c.head_dim, memory, &layer.k_norm));
    RETURN_IF_ERROR(
        UploadFloats(w.attn_sub_norm, c.heads * c.head_dim, memory, &layer.attn_sub_norm));
    RETURN_IF_ERROR(UploadFloats(w.norm_post, c.hidden, memory, &layer.norm_post));
    RETURN_IF_ERROR(UploadFloats(w.ffn_sub_norm, c.ffn, memory, &layer.ffn_sub_norm));
    RETURN_IF_ERROR(UploadStacked({&w.q, &w.k, &w.v}, memory, &layer.qkv));
    RETURN_IF_ERROR(UploadStacked({&w.o}, memory, &layer.o));
    RETURN_IF_ERROR(UploadHalves(w.gate, w.up, memory, &layer.gate_up));
    RETURN_IF_ERROR(UploadStacked({&w.down}, memory, &layer.down));
    out.layers.push_back(layer);
  }
  return out;
}

absl::Status CheckProducts(const PackedModel& model, const DeviceModel& device,
                           cudaStream_t stream) {
  const int64_t last = model.config().layers - 1;
  for (const int64_t i : {int64_t{0}, last}) {
    const LayerWeights& w = model.layer(i);
    const DeviceLayer& d = device.layers[static_cast<size_t>(i)];
    const std::string name = absl::StrCat("layers.", i, ".");
    RETURN_IF_ERROR(CheckProduct({{&w.q, "attn.q"}, {&w.k, "attn.k"}, {&w.v, "attn.v"}}, false,
                                 d.qkv, name, stream));
    RETURN_IF_ERROR(CheckProduct({{&w.o, "attn.o"}}, false, d.o, name, stream));
    RETURN_IF_ERROR(
        CheckProduct({{&w.gate, "ffn.gate"}, {&w.up, "ffn.up"}}, true, d.gate_up, name, stream));
    RETURN_IF_ERROR(CheckProduct({{&w.down, "ffn.down"}}, false, d.down, name, stream));
  }
  return absl::OkStatus();
}

}  // namespace tritter
