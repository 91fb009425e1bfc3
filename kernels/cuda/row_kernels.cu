#include "kernels/cuda/row_kernels.h"

namespace tritter::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ int Thread() { return static_cast<int>(threadIdx.x); }

// The largest value, or the sum, in every thread. kThreads threads.
__device__ __forceinline__ float BlockMax(float v) {
  __shared__ float warps[kWarps];
  v = WarpMax(v);
  __syncthreads();  // of the last call's reads
  if (Thread() % 32 == 0) warps[Thread() / 32] = v;
  __syncthreads();
  for (int i = 0; i < kWarps; ++i) v = warps[i] > v ? warps[i] : v;
  return v;
}
__device__ __forceinline__ int BlockSum(int v) {
  __shared__ int warps[kWarps];
  v = WarpSum(v);
  __syncthreads();
  if (Thread() % 32 == 0) warps[Thread() / 32] = v;
  __syncthreads();
  v = 0;
  for (int i = 0; i < kWarps; ++i) v += warps[i];
  return v;
}
// Of one row, in every thread.
__device__ __forceinline__ float BlockInverseRms(const float* x, int n, float eps) {
  __shared__ float shared;
  __syncthreads();  // x is there; the last call's reads are over
  if (Thread() < 32) {
    const float scale = InverseRms(x, n, eps);
    if (Thread() == 0) shared = scale;
  }
  __syncthreads();
  return shared;
}

__device__ __forceinline__ float Element(const RowTable& table, int64_t row, int i) {
  const uint8_t* const from = table.data + row * table.pitch;
  if (table.type == RowType::kF32) return reinterpret_cast<const float*>(from)[i];
  if (table.type == RowType::kBf16)
    return __uint_as_float(uint32_t{reinterpret_cast<const uint16_t*>(from)[i]} << 16);
  const int code = table.type == RowType::kInt8
                       ? static_cast<int8_t>(from[i])
                       : (from[i / 128 * 64 + i % 64] >> (i % 128 < 64 ? 0 : 4) & 15) - 8;
  return static_cast<float>(code) * table.scales[row];
}

__global__ void EmbedKernel(RowTable table, const int32_t* tokens, float* x) {
  const int64_t row = tokens[blockIdx.x];
  for (int i = Thread(); i < table.cols; i += kThreads)
    x[static_cast<int64_t>(blockIdx.x) * table.cols + i] = Element(table, row, i);
}

__global__ void __launch_bounds__(kThreads) QuantiseKernel(float* x, int n, Quantisation q) {
  const int t = static_cast<int>(blockIdx.x);
  float* const row = x + static_cast<int64_t>(t) * n;
  if (q.first != nullptr) {
    const float scale = BlockInverseRms(row, n, q.eps);
    for (int i = Thread(); i < n; i += kThreads) row[i] = (row[i] * scale) * q.first[i];
  }
  const float scale = q.norm != nullptr ? BlockInverseRms(row, n, q.eps) : 1.0f;
  const auto value = [&](int i) {
    return q.norm != nullptr ? (row[i] * scale) * q.norm[i] : row[i];
  };
  float largest = 1e-5f;
  for (int i = Thread(); i < n; i += kThreads) {
    const float magnitude = fabsf(value(i));
    largest = magnitude > largest ? magnitude : largest;
  }
  largest = BlockMax(largest);
  const float a = 127.0f / largest;
  int8_t* const codes = q.codes + static_cast<int64_t>(t) * q.stride;
  int sum = 0;
  for (int i = Thread(); i < q.stride; i += kThreads) {
    int code = 0;
    if (i < n) {
      float r = (value(i) * a + 12582912.0f) - 12582912.0f;  // half to even
      r = r < 127.0f ? r : 127.0f;                           // NaN too
      r = r > -128.0f ? r : -128.0f;
      code = static_cast<int>(r);
    }
    codes[i] = static_cast<int8_t>(code);
    sum += code;
  }
  sum = BlockSum(sum);
  if (Thread() == 0) {
    q.sums[t] = sum;
    q.inv[t] = largest / 127.0f;
  }
}

__global__ void __launch_bounds__(kThreads) FinalKernel(const float* x, int n, FinalRows out) {
  const int t = static_cast<int>(blockIdx.x);
  const float* const row = x + static_cast<int64_t>(out.from[t]) * n;
  float* const to = out.final_x + static_cast<int64_t>(t) * out.pitch;
  if (out.first != nullptr) {
    const float scale = BlockInverseRms(row, n, out.eps);
    for (int i = Thread(); i < n; i += kThreads) to[i] = (row[i] * scale) * out.first[i];
  } else {
    for (int i = Thread(); i < n; i += kThreads) to[i] = row[i];
  }
  const float scale = BlockInverseRms(to, n, out.eps);
  float largest = 1e-30f;
  int infinite = 0;
  for (int i = Thread(); i < out.pitch; i += kThreads) {
    const float v = i < n ? (to[i] * scale) * out.norm[i] : 0.0f;
    to[i] = v;
    const float magnitude = fabsf(v);
    infinite += !(magnitude < INFINITY);
    largest = magnitude > largest ? magnitude : largest;
  }
  if (out.hi == nullptr) return;
  largest = BlockMax(largest);
  infinite = BlockSum(infinite);
  const float a = 32512.0f / largest;  // 127 · 256
  const int64_t at = static_cast<int64_t>(t) * out.digits;
  int2 sums = {0, 0};
  for (int i = Thread(); i < out.digits; i += kThreads) {
    // Each thread reads what it has written itself: pitch and digits start at the same threads.
    const int digits = i < n && infinite == 0 ? static_cast<int>(rintf(to[i] * a)) : 0;
    const int high = (digits + 128) >> 8, low = digits - 256 * high;
    out.hi[at + i] = static_cast<int8_t>(high);
    out.lo[at + i] = static_cast<int8_t>(low);
    sums.x += high;
    sums.y += low;
  }
  sums.x = BlockSum(sums.x);
  sums.y = BlockSum(sums.y);
  if (Thread() == 0) {
    out.inv[t] = infinite == 0 ? largest / 32512.0f : NAN;
    out.digit_sums[t] = sums;
  }
}

// --- head ---------------------------------------------------------------------------------------
constexpr int kHeadTokens = 8;  // at most at a time

// A value of 16 bytes holds kLanes of the sixteen lanes in which DotRow sums: 16 / kLanes threads
// share a row of the head.
template <bool kHalf, int kTokens>
__global__ void __launch_bounds__(kThreads)
    DotKernel(RowTable head, const float* x, int pitch, int count, float* logits) {
  constexpr int kLanes = kHalf ? 8 : 4, kParts = 16 / kLanes;
  const int part = Thread() % kParts,
            row = static_cast<int>(blockIdx.x) * (kThreads / kParts) + Thread() / kParts;
  const uint8_t* const from =
      head.data + static_cast<int64_t>(row < head.rows ? row : 0) * head.pitch + 16 * part;
  const float* at[kTokens];
  for (int n = 0; n < kTokens; ++n)
    at[n] = x + static_cast<int64_t>(n < count ? n : count - 1) * pitch + kLanes * part;
  float acc[kTokens][kLanes] = {};
#pragma unroll 4
  for (int i = 0; i < pitch; i += 16) {
    float w[kLanes];
    if constexpr (kHalf) {
      const uint4 words = __ldg(reinterpret_cast<const uint4*>(from + i * 2));
      const unsigned pairs[4] = {words.x, words.y, words.z, words.w};
      for (int k = 0; k < 4; ++k) {
        w[2 * k] = __uint_as_float(pairs[k] << 16);
        w[2 * k + 1] = __uint_as_float(pairs[k] & 0xffff0000u);
      }
    } else {
      const float4 values = __ldg(reinterpret_cast<const float4*>(from + i * 4));
      w[0] = values.x, w[1] = values.y, w[2] = values.z, w[3] = values.w;
    }
    for (int n = 0; n < kTokens; ++n) {
      for (int k = 0; k < kLanes; ++k) acc[n][k] = acc[n][k] + w[k] * at[n][i + k];
    }
  }
  for (int n = 0; n < kTokens; ++n) {
    float* const v = acc[n];
    // Lane k with lane k + 8, then with k + 4.
    if constexpr (kHalf) {
      for (int k = 0; k < 8; ++k) v[k] = v[k] + __shfl_xor_sync(kWholeWarp, v[k], 1);
      for (int k = 0; k < 4; ++k) v[k] = v[k] + v[k + 4];
    } else {
      for (int k = 0; k < 4; ++k) v[k] = v[k] + __shfl_xor_sync(kWholeWarp, v[k], 2);
      for (int k = 0; k < 4; ++k) v[k] = v[k] + __shfl_xor_sync(kWholeWarp, v[k], 1);
    }
    const float sum = (v[0] + v[2]) + (v[1] + v[3]);
    if (part == 0 && row < head.rows && n < count)
      logits[static_cast<int64_t>(n) * head.rows + row] = sum;
  }
}

struct Digits {
  const int8_t *hi, *lo;
  const float* inv;
  const int2* sums;
  int stride;
};

// 16 bytes of codes a thread; 128 columns are 8 threads of INT8, 4 of INT4.
template <bool kInt4, int kTokens>
__global__ void __launch_bounds__(kThreads)
    DigitsKernel(RowTable head, Digits x, int count, float* logits) {
  constexpr int kParts = kInt4 ? 4 : 8, kBlockBytes = kInt4 ? 64 : 128;
  const int part = Thread() % kParts,
            row = static_cast<int>(blockIdx.x) * (kThreads / kParts) + Thread() / kParts;
  const int64_t real = row < head.rows ? row : 0;
  const uint8_t* const from = head.data + real * head.pitch + 16 * part;
  int hi[kTokens] = {}, lo[kTokens] = {};
  for (int block = 0; block < x.stride / 128; ++block) {
    const uint4 codes =
        __ldg(reinterpret_cast<const uint4*>(from + static_cast<int64_t>(block) * kBlockBytes));
    const unsigned words[4] = {codes.x, codes.y, codes.z, codes.w};
    for (int n = 0; n < kTokens; ++n) {
      const int64_t at =
          static_cast<int64_t>(n < count ? n : count - 1) * x.stride + block * 128 + 16 * part;
      for (int half = 0; half < (kInt4 ? 2 : 1); ++half) {
        const int4 h = __ldg(reinterpret_cast<const int4*>(x.hi + at + 64 * half)),
                   l = __ldg(reinterpret_cast<const int4*>(x.lo + at + 64 * half));
        const int high[4] = {h.x, h.y, h.z, h.w}, low[4] = {l.x, l.y, l.z, l.w};
        for (int k = 0; k < 4; ++k) {
          const int w = static_cast<int>(kInt4 ? words[k] >> 4 * half & 0x0f0f0f0fu : words[k]);
          hi[n] = __dp4a(w, high[k], hi[n]);
          lo[n] = __dp4a(w, low[k], lo[n]);
        }
      }
    }
  }
  for (int n = 0; n < kTokens; ++n) {
    for (int step = 1; step < kParts; step *= 2) {
      hi[n] += __shfl_xor_sync(kWholeWarp, hi[n], step);
      lo[n] += __shfl_xor_sync(kWholeWarp, lo[n], step);
    }
    if (part != 0 || row >= head.rows || n >= count) continue;
    // INT4 codes are stored + 8.
    const int2 more = x.sums[n];
    const int high = kInt4 ? hi[n] - 8 * more.x : hi[n], low = kInt4 ? lo[n] - 8 * more.y : lo[n];
    const double dot = 256.0 * high + low;
    logits[static_cast<int64_t>(n) * head.rows + row] = static_cast<float>(
        dot * static_cast<double>(head.scales[row]) * static_cast<double>(x.inv[n]));
  }
}

template <int kTokens>
void HeadOf(const RowTable& head, const FinalRows& x, int first, int count, float* logits,
            cudaStream_t stream) {
  const auto blocks = [&](int parts) {
    const int rows = kThreads / parts;
    return dim3(static_cast<unsigned>((head.rows + rows - 1) / rows));
  };
  const float* const from = x.final_x + static_cast<int64_t>(first) * x.pitch;
  const int64_t at = static_cast<int64_t>(first) * x.digits;
  const Digits digits = {x.hi + at, x.lo + at, x.inv + first, x.digit_sums + first, x.digits};
  if (head.type == RowType::kF32) {
    Launch(DotKernel<false, kTokens>, blocks(4), kThreads, stream, head, from, x.pitch, count,
           logits);
  } else if (head.type == RowType::kBf16) {
    Launch(DotKernel<true, kTokens>, blocks(2), kThreads, stream, head, from, x.pitch, count,
           logits);
  } else if (head.type == RowType::kInt8) {
    Launch(DigitsKernel<false, kTokens>, blocks(8), kThreads, stream, head, digits, count, logits);
  } else {
    Launch(DigitsKernel<true, kTokens>, blocks(4), kThreads, stream, head, digits, count, logits);
  }
}

}  // namespace

void EmbedRows(const RowTable& table, const int32_t* tokens, int count, float* x,
               cudaStream_t stream) {
  Launch(EmbedKernel, dim3(static_cast<unsigned>(count)), kThreads, stream, table, tokens, x);
}

void NormQuantiseRows(float* x, int count, int n, const Quantisation& q, cudaStream_t stream) {
  Launch(QuantiseKernel, dim3(static_cast<unsigned>(count)), kThreads, stream, x, n, q);
}

void NormFinalRows(const float* x, int count, int n, const FinalRows& out, cudaStream_t stream) {
  Launch(FinalKernel, dim3(static_cast<unsigned>(count)), kThreads, stream, x, n, out);
}

void HeadRows(const RowTable& head, const FinalRows& x, int first, int count, float* logits,
              cudaStream_t stream) {
  while (count > 0) {
    const int part = count < kHeadTokens ? count : kHeadTokens;
    if (part == 1) {
      HeadOf<1>(head, x, first, part, logits, stream);
    } else if (part <= 4) {
      HeadOf<4>(head, x, first, part, logits, stream);
    } else {
      HeadOf<kHeadTokens>(head, x, first, part, logits, stream);
    }
    first += part;
    count -= part;
    logits += static_cast<int64_t>(part) * head.rows;
  }
}

}  // namespace tritter::cuda
