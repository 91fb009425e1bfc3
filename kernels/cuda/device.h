// What inference's kernels are written in: CUDA or, with TRITTER_CUDA_EMULATION, this CPU
// (emulation/emulated_device.h). The instructions that the language has no word for are here.
#pragma once

#include <cstdint>

#ifdef TRITTER_CUDA_EMULATION
#include "kernels/cuda/emulation/emulated_device.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

namespace tritter::cuda {

// Starts kernel(arguments...) on `stream` with `threads` threads a block.
#ifdef TRITTER_CUDA_EMULATION
template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream,
            Arguments... arguments) {
  EmulateLaunch(grid, threads, stream, [=] { kernel(arguments...); });
}
#elif defined(__CUDACC__)
template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream,
            Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  (void)cudaLaunchKernelEx(&config, kernel, arguments...);  // the caller asks cudaGetLastError
}
#endif

#if defined(TRITTER_CUDA_EMULATION) || defined(__CUDACC__)

// c += a · b of the tensor cores, mma.m16n8k32 with 8-bit integers. Lane 4g + t holds of a rows g
// (a[0], a[2]) and g + 8 (a[1], a[3]), columns 4t … 4t + 3 (a[0], a[1]) and 16 more (a[2], a[3]);
// of b the same columns of token g (b0, then b1); of c rows g (c[0], c[1]) and g + 8, tokens 2t and
// 2t + 1.
__device__ __forceinline__ void MultiplyFragments(int (&c)[4], const unsigned (&a)[4], unsigned b0,
                                                  unsigned b1) {
#ifdef TRITTER_CUDA_EMULATION
  const uint32_t mine[8] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto* all = EmulateExchange(mine, 6);
  const unsigned lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned half = i >> 1, token = 2 * t + (i & 1);  // row g + 8 * half
    for (unsigned k = 0; k < 4; ++k) {
      c[i] = __dp4a(static_cast<int>(all[4 * g + k][half]), static_cast<int>(all[4 * token + k][4]),
                    c[i]);
      c[i] = __dp4a(static_cast<int>(all[4 * g + k][2 + half]),
                    static_cast<int>(all[4 * token + k][5]), c[i]);
    }
  }
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// 16 bytes from global to shared memory, zeros unless `valid`, done when WaitCopies says so.
__device__ __forceinline__ void CopyAsync(void* shared, const void* global, bool valid) {
#ifdef TRITTER_CUDA_EMULATION
  if (valid) {
    std::memcpy(shared, global, 16);
  } else {
    std::memset(shared, 0, 16);
  }
#else
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
#endif
}
__device__ __forceinline__ void CommitCopies() {
#ifndef TRITTER_CUDA_EMULATION
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// All but the last `kPending` groups that this thread has committed.
template <int kPending>
__device__ __forceinline__ void WaitCopies() {
#ifndef TRITTER_CUDA_EMULATION
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// FP16 as kernels/half.h rounds it: never infinite, NaN stays.
#ifdef TRITTER_CUDA_EMULATION
inline uint16_t DeviceHalfNearest(float x) { return HalfNearest(x); }
inline uint16_t DeviceHalfDown(float x) { return HalfDown(x); }
inline uint16_t DeviceHalfUp(float x) { return HalfUp(x); }
inline float DeviceHalfToFloat(uint16_t half) { return HalfToFloat(half); }
#else
__device__ __forceinline__ float InHalfRange(float x) {
  return fminf(fmaxf(x, -65504.0f), 65504.0f);
}
__device__ __forceinline__ uint16_t DeviceHalfNearest(float x) {
  return isnan(x) ? 0x7e00 : __half_as_ushort(__float2half_rn(InHalfRange(x)));
}
__device__ __forceinline__ uint16_t DeviceHalfDown(float x) {
  return isnan(x) ? 0x7e00 : __half_as_ushort(__float2half_rd(InHalfRange(x)));
}
__device__ __forceinline__ uint16_t DeviceHalfUp(float x) {
  return isnan(x) ? 0x7e00 : __half_as_ushort(__float2half_ru(InHalfRange(x)));
}
__device__ __forceinline__ float DeviceHalfToFloat(uint16_t half) {
  return __half2float(__ushort_as_half(half));
}
#endif

// exp of kernels/lanes.inc, operation for operation.
__device__ __forceinline__ float Exp(float x) {
  const float low = -87.3365447505f;
  float c = x > low ? x : low;
  c = c < 88.72f ? c : 88.72f;
  float n = (c * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  n = n < 127.0f ? n : 127.0f;
  const float r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  const float y = p * __uint_as_float(static_cast<uint32_t>(static_cast<int>(n) + 127) << 23);
  return x != x ? x : x < low ? 0.0f : y;
}

constexpr unsigned kWholeWarp = 0xffffffffu;

// Lanes 0 … 15, and 16 … 31, folded in halves as kernels/float_ops.h folds its lanes: the sum in
// every lane.
__device__ __forceinline__ float FoldSixteen(float v) {
  for (int step = 8; step > 0; step /= 2) v = v + __shfl_xor_sync(kWholeWarp, v, step);
  return v;
}
__device__ __forceinline__ float WarpMax(float v) {
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kWholeWarp, v, step);
    v = other > v ? other : v;
  }
  return v;
}
__device__ __forceinline__ float WarpMin(float v) {
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kWholeWarp, v, step);
    v = other < v ? other : v;
  }
  return v;
}
__device__ __forceinline__ int WarpSum(int v) {
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(kWholeWarp, v, step);
  return v;
}

// 1 / sqrt(mean(x²) + eps) of x [n], formed by one warp in the sixteen lanes and the order of
// kernels/float_ops.h; the same in every lane.
__device__ __forceinline__ float InverseRms(const float* x, int n, float eps) {
  const int lane = static_cast<int>(threadIdx.x & 31);
  float sum = 0;
  if (lane < 16) {
#pragma unroll 16
    for (int i = lane; i < n; i += 16) sum = sum + x[i] * x[i];
  }
  sum = FoldSixteen(sum);
  return __shfl_sync(kWholeWarp, 1.0f / sqrtf(sum / static_cast<float>(n) + eps), 0);
}

#endif

}  // namespace tritter::cuda
