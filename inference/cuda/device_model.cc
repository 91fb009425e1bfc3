#include "inference/cuda/device_model.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/cuda/ternary_layout.h"
#include "kernels/float_ops.h"
#include "kernels/ternary_gemm.h"

namespace tritter {
namespace {

using cuda::GpuTernaryBuilder;

absl::Status UploadRows(const RowMatrix& m, absl::string_view what, DeviceMemory* memory,
                        cuda::RowTable* out) {
  out->type = DeviceRowType(m.type);
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

void WriteMatrix(const GpuTernaryBuilder& builder, const DeviceLayerLayout::Matrix& at,
                 uint8_t* to) {
  std::memcpy(to + at.words, builder.words().data(), builder.words().size() * 4);
  std::memcpy(to + at.scales, builder.scales().data(), builder.scales().size() * 4);
}

// Matrices of one input, one below the other.
void WriteStacked(const std::vector<const TernaryMatrix*>& parts,
                  const DeviceLayerLayout::Matrix& at, uint8_t* to) {
  GpuTernaryBuilder builder(at.rows, at.cols);
  int64_t first = 0;
  for (const TernaryMatrix* m : parts) {
    builder.Add(m->tiled, m->rows, m->scales, m->per_row, first);
    first += m->rows;
  }
  WriteMatrix(builder, at, to);
}

void WriteHalves(const TernaryMatrix& gate, const TernaryMatrix& up,
                 const DeviceLayerLayout::Matrix& at, uint8_t* to) {
  GpuTernaryBuilder builder(at.rows, at.cols);
  builder.AddHalf(gate.tiled, gate.rows, gate.scales, gate.per_row, 0);
  builder.AddHalf(up.tiled, up.rows, up.scales, up.per_row, 1);
  WriteMatrix(builder, at, to);
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

DeviceLayer LayerAt(const DeviceLayerLayout& layout, const uint8_t* base) {
  const auto norm = [&](int64_t offset) {
    return offset == DeviceLayerLayout::kNone ? nullptr
                                              : reinterpret_cast<const float*>(base + offset);
  };
  const auto matrix = [&](const DeviceLayerLayout::Matrix& m) {
    return cuda::TernaryWeights{reinterpret_cast<const uint32_t*>(base + m.words),
                                reinterpret_cast<const float*>(base + m.scales),
                                static_cast<int>(m.rows), static_cast<int>(m.cols)};
  };
  return {norm(layout.norm_in),       norm(layout.q_norm),    norm(layout.k_norm),
          norm(layout.attn_sub_norm), norm(layout.norm_post), norm(layout.ffn_sub_norm),
          matrix(layout.qkv),         matrix(layout.o),       matrix(layout.gate_up),
          matrix(layout.down)};
}

void WriteLayer(const LayerWeights& w, const ModelConfig& c, const DeviceLayerLayout& layout,
                uint8_t* to) {
  const auto norm = [&](const float* from, int64_t offset, int64_t count) {
    if (offset != DeviceLayerLayout::kNone)
      std::memcpy(to + offset, from, static_cast<size_t>(count) * sizeof(float));
  };
  norm(w.norm_in, layout.norm_in, c.hidden);
  norm(w.q_norm, layout.q_norm, c.head_dim);
  norm(w.k_norm, layout.k_norm, c.head_dim);
  norm(w.attn_sub_norm, layout.attn_sub_norm, c.heads * c.head_dim);
  norm(w.norm_post, layout.norm_post, c.hidden);
  norm(w.ffn_sub_norm, layout.ffn_sub_norm, c.ffn);
  WriteStacked({&w.q, &w.k, &w.v}, layout.qkv, to);
  WriteStacked({&w.o}, layout.o, to);
  WriteHalves(w.gate, w.up, layout.gate_up, to);
  WriteStacked({&w.down}, layout.down, to);
}

absl::StatusOr<DeviceOuter> UploadOuter(const PackedModel& model, DeviceMemory* memory) {
  const ModelConfig& c = model.config();
  DeviceOuter out;
  RETURN_IF_ERROR(UploadRows(model.embedding(), "the embedding", memory, &out.embedding));
  if (c.tied_embeddings) {
    out.head = out.embedding;
  } else {
    RETURN_IF_ERROR(UploadRows(model.head(), "the head", memory, &out.head));
  }
  RETURN_IF_ERROR(memory->Upload(model.norm(), c.hidden, "norms", &out.norm));
  const int64_t half = c.head_dim / 2;
  std::vector<float> cos(static_cast<size_t>(c.context * half)), sin(cos.size());
  RopeTable(c.rope_theta, c.head_dim, 0, c.context, cos.data(), sin.data());
  RETURN_IF_ERROR(memory->Upload(cos.data(), c.context * half, "rotations", &out.cos));
  RETURN_IF_ERROR(memory->Upload(sin.data(), c.context * half, "rotations", &out.sin));
  return out;
}

absl::Status CheckLayerProducts(const LayerWeights& w, int64_t layer, const DeviceLayer& d,
                                cudaStream_t stream) {
  const std::string name = absl::StrCat("layers.", layer, ".");
  RETURN_IF_ERROR(CheckProduct({{&w.q, "attn.q"}, {&w.k, "attn.k"}, {&w.v, "attn.v"}}, false, d.qkv,
                               name, stream));
  RETURN_IF_ERROR(CheckProduct({{&w.o, "attn.o"}}, false, d.o, name, stream));
  RETURN_IF_ERROR(
      CheckProduct({{&w.gate, "ffn.gate"}, {&w.up, "ffn.up"}}, true, d.gate_up, name, stream));
  return CheckProduct({{&w.down, "ffn.down"}}, false, d.down, name, stream);
}

}  // namespace tritter
