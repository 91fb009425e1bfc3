#include "worker/training/matrix_products.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/training_ops.h"

namespace tritter {

MatrixProducts::MatrixProducts(GemmType type, ParallelRows* parallel)
    : type_(type), parallel_(parallel) {
  if (type == GemmType::kBf16) scratch_ = FloatBuffer(kGemmScratchFloats * parallel->parts());
}

void MatrixProducts::Run(const MatrixProduct& product) {
  if (type_ == GemmType::kBf16) {
    RunBf16(product);
  } else {
    RunFp32(product);
  }
}

void MatrixProducts::RunBf16(const MatrixProduct& p) {
  // Divided where it is longer: what the other operand costs to pack is paid by every thread.
  const bool by_rows = p.m >= p.n;
  const int64_t tile = by_rows ? GemmTileRows() : GemmTileColumns(), size = by_rows ? p.m : p.n;
  parallel_->Run((size + tile - 1) / tile, [&](int part, int64_t first, int64_t end) {
    const int64_t at = first * tile, count = std::min(end * tile, size) - at;
    if (count <= 0) return;
    GemmOperand a = p.a, b = p.b;
    a.k_scale = p.k_scale;
    GemmOutput c{p.c, p.n, p.accumulate, p.n_scale};
    if (by_rows) {
      a.f32 += a.transposed ? at : at * a.stride;
      c.c += at * p.n;
    } else {
      const int64_t offset = b.transposed ? at * b.stride : at;
      if (b.i8 != nullptr) b.i8 += offset;
      if (b.f32 != nullptr) b.f32 += offset;
      if (c.n_scale != nullptr) c.n_scale += at;
      c.c += at;
    }
    Gemm(GemmType::kBf16, by_rows ? count : p.m, by_rows ? p.n : count, p.k, a, b, c,
         scratch_.data() + part * kGemmScratchFloats);
  });
}

// LibTorch multiplies what lies in memory: codes and factors become one matrix of numbers first.
void MatrixProducts::RunFp32(const MatrixProduct& p) {
  const auto stored = [](const float* values, int64_t rows, int64_t columns, int64_t stride) {
    return at::from_blob(const_cast<float*>(values), {rows, columns}, {stride, 1});
  };
  const int64_t rows = p.b.transposed ? p.n : p.k, columns = p.b.transposed ? p.k : p.n;
  const float* const row_scale = p.b.transposed ? p.n_scale : p.k_scale;
  const float* const column_scale = p.b.transposed ? p.k_scale : p.n_scale;
  at::Tensor b;
  if (p.b.i8 != nullptr) {
    const std::vector<float> ones(row_scale != nullptr ? 0 : rows, 1.0f);
    const float* const scale = row_scale != nullptr ? row_scale : ones.data();
    b = at::empty({rows, columns});
    float* out = b.mutable_data_ptr<float>();
    parallel_->Run(rows, [&](int, int64_t first, int64_t end) {
      for (int64_t r = first; r < end; ++r)
        DequantiseCodes(p.b.i8 + r * p.b.stride, scale + r, true, 1, columns, out + r * columns);
    });
  } else {
    b = stored(p.b.f32, rows, columns, p.b.stride);
    if (row_scale != nullptr) b = b * stored(row_scale, rows, 1, 1);
  }
  if (column_scale != nullptr) b = b * stored(column_scale, 1, columns, columns);
  const at::Tensor a = p.a.transposed ? stored(p.a.f32, p.k, p.m, p.a.stride).t()
                                      : stored(p.a.f32, p.m, p.k, p.a.stride);
  at::Tensor c = at::from_blob(p.c, {p.m, p.n});
  if (p.b.transposed) b = b.t();
  if (p.accumulate) {
    c.addmm_(a, b);
  } else {
    at::mm_out(c, a, b);
  }
}

}  // namespace tritter
