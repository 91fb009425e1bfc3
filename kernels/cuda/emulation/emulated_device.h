// The part of CUDA that inference's kernels and their host code use, on this CPU: the same sources
// compiled as plain C++ run every thread of every block with the index arithmetic, barriers, warp
// exchanges and tensor-core fragments of a GPU. What a stream is given runs when the host waits for
// it, or for another that has to wait for it. For tests on machines without a GPU; no emulation of
// timing, caches or weak memory order. One host thread at a time.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "kernels/half.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one after the other.
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct int2 {
  int x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

using cudaStream_t = struct EmulatedStream*;

namespace tritter::cuda {

// kernel() in every thread of grid, on the stream or in the graph that is being captured.
void EmulateLaunch(dim3 grid, int threads, cudaStream_t stream, std::function<void()> kernel);
void EmulateBlockBarrier();
void EmulateWarpBarrier();
// What the other streams have done while the host waits for one: as little as the events between
// them allow (as at the start of a program), or as much. What a test sees in both is ordered.
enum class OtherStreams { kLast, kFirst };
void SetOtherStreams(OtherStreams order);
// cudaHostRegister fails from now on, or no longer.
void RefusePageLocking(bool refuse);

// The 32 words that the threads of this warp give, in order; valid until the next exchange.
const uint32_t (*EmulateExchange(const uint32_t (&mine)[8], int words))[8];

}  // namespace tritter::cuda

inline void __syncthreads() { tritter::cuda::EmulateBlockBarrier(); }
inline void __syncwarp() { tritter::cuda::EmulateWarpBarrier(); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  static_assert(sizeof(T) == 4);
  uint32_t words[8] = {};
  std::memcpy(words, &value, 4);
  const auto* all = tritter::cuda::EmulateExchange(words, 1);
  T other;
  std::memcpy(&other, all[(threadIdx.x & 31) ^ mask], 4);
  return other;
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  static_assert(sizeof(T) == 4);
  uint32_t words[8] = {};
  std::memcpy(words, &value, 4);
  const auto* all = tritter::cuda::EmulateExchange(words, 1);
  T other;
  std::memcpy(&other, all[lane & 31], 4);
  return other;
}

inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i)
    sum += static_cast<int8_t>(static_cast<unsigned>(a) >> 8 * i) *
           static_cast<int8_t>(static_cast<unsigned>(b) >> 8 * i);
  return sum;
}
template <typename T>
T __ldg(const T* p) {
  return *p;
}
inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline unsigned atomicAnd(unsigned* p, unsigned v) {
  const unsigned old = *p;
  *p &= v;
  return old;
}
inline unsigned atomicOr(unsigned* p, unsigned v) {
  const unsigned old = *p;
  *p |= v;
  return old;
}
template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}

// --- runtime ------------------------------------------------------------------------------------
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDefault = 0, cudaEventDisableTiming = 2;
constexpr unsigned cudaHostRegisterDefault = 0;
using cudaEvent_t = struct EmulatedEvent*;
using cudaGraph_t = struct EmulatedGraph*;
using cudaGraphExec_t = struct EmulatedGraph*;

const char* cudaGetErrorString(cudaError_t error);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
// More than 1 GB at a time is refused, so that this can be tested.
cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);  // waits for every stream
inline cudaError_t cudaMallocHost(void** p, size_t bytes) { return cudaMalloc(p, bytes); }
inline cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }
cudaError_t cudaHostRegister(void* p, size_t bytes, unsigned flags);
inline cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
// A millisecond for everything that any stream did in between.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
