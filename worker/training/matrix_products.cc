#include "worker/training/matrix_products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "kernels/training_ops.h"

namespace tritter {
namespace {

at::Tensor Stored(const float* values, int64_t rows, int64_t columns, int64_t stride) {
  return at::from_blob(const_cast<float*>(values), {rows, columns}, {stride, 1});
}

void MultiplyOnThisThread(const MatrixProduct& p) {
  OneLibTorchThread();
  const c10::NoGradGuard no_grad;
  const at::Tensor a = p.a.transposed ? Stored(p.a.f32, p.k, p.m, p.a.stride).t()
                                      : Stored(p.a.f32, p.m, p.k, p.a.stride);
  const at::Tensor b = p.b.transposed ? Stored(p.b.f32, p.n, p.k, p.b.stride).t()
                                      : Stored(p.b.f32, p.k, p.n, p.b.stride);
  at::Tensor c = Stored(p.c, p.m, p.n, p.c_stride);
  if (p.accumulate) {
    c.addmm_(a, b);
  } else {
    at::mm_out(c, a, b);
  }
}

}  // namespace

void OneLibTorchThread() {
  thread_local const bool once = (at::set_num_threads(1), true);
  (void)once;
}

MatrixProducts::MatrixProducts(GemmType type, ParallelRows* parallel)
    : type_(type), parallel_(parallel) {
  if (type == GemmType::kBf16) scratch_.Reserve(kGemmScratchFloats * parallel->parts());
}

void MatrixProducts::Run(const MatrixProduct& product) {
  if (type_ == GemmType::kBf16) {
    RunBf16(WithStride(product));
  } else {
    RunFp32(WithStride(product));
  }
}

void MatrixProducts::Divide(const MatrixProduct& p, int64_t row_unit, int64_t column_unit,
                            const std::function<void(int part, const MatrixProduct&)>& multiply) {
  // Where it is longer: what the other operand costs to read is paid by every thread.
  const bool by_rows = p.m >= p.n;
  const int64_t unit = by_rows ? row_unit : column_unit, size = by_rows ? p.m : p.n;
  parallel_->Run((size + unit - 1) / unit, [&](int part, int64_t first, int64_t end) {
    const int64_t at = first * unit, count = std::min(end * unit, size) - at;
    if (count <= 0) return;
    MatrixProduct share = p;
    if (by_rows) {
      share.m = count;
      share.a.f32 += p.a.transposed ? at : at * p.a.stride;
      share.c += at * p.c_stride;
    } else {
      const int64_t offset = p.b.transposed ? at * p.b.stride : at;
      share.n = count;
      if (p.b.i8 != nullptr) share.b.i8 += offset;
      if (p.b.f32 != nullptr) share.b.f32 += offset;
      if (p.n_scale != nullptr) share.n_scale += at;
      share.c += at;
    }
    multiply(part, share);
  });
}

void MatrixProducts::RunBf16(const MatrixProduct& product) {
  Divide(product, GemmTileRows(), GemmTileColumns(), [&](int part, const MatrixProduct& p) {
    GemmOperand a = p.a;
    a.k_scale = p.k_scale;
    Gemm(GemmType::kBf16, p.m, p.n, p.k, a, p.b, {p.c, p.c_stride, p.accumulate, p.n_scale},
         scratch_.data() + part * kGemmScratchFloats);
  });
}

// LibTorch multiplies what lies in memory: codes and factors become one matrix of numbers first.
void MatrixProducts::RunFp32(const MatrixProduct& product) {
  MatrixProduct p = product;
  const int64_t rows = p.b.transposed ? p.n : p.k, columns = p.b.transposed ? p.k : p.n;
  const float* const row_scale = p.b.transposed ? p.n_scale : p.k_scale;
  const float* const column_scale = p.b.transposed ? p.k_scale : p.n_scale;
  if (p.b.i8 != nullptr || row_scale != nullptr || column_scale != nullptr) {
    float* const numbers = scratch_.Reserve(rows * columns);
    parallel_->Run(rows, [&](int, int64_t first, int64_t end) {
      for (int64_t r = first; r < end; ++r) {
        const float scale = row_scale != nullptr ? row_scale[r] : 1.0f;
        float* const out = numbers + r * columns;
        if (p.b.i8 != nullptr) {
          DequantiseCodes(p.b.i8 + r * p.b.stride, &scale, true, 1, columns, out);
        } else {
          for (int64_t i = 0; i < columns; ++i) out[i] = p.b.f32[r * p.b.stride + i] * scale;
        }
        if (column_scale == nullptr) continue;
        for (int64_t i = 0; i < columns; ++i) out[i] *= column_scale[i];
      }
    });
    p.b = {numbers, nullptr, columns, p.b.transposed};
    p.k_scale = p.n_scale = nullptr;
  }
  Divide(p, 16, 16, [](int, const MatrixProduct& share) { MultiplyOnThisThread(share); });
}

}  // namespace tritter
