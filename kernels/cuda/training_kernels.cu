#include <cuda_bf16.h>

#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/training_kernels.h"

namespace tritter::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kMaxPairs = 4;  // of a head, a lane: D at most 256

__device__ float Get(float v) { return v; }
__device__ float Get(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ void Set(float* p, float v) { *p = v; }
__device__ void Set(__nv_bfloat16* p, float v) { *p = __float2bfloat16(v); }

// V values that are loaded and stored at once.
template <typename T, int V>
struct alignas(sizeof(T) * V) Pack {
  T v[V];
};
template <int V, typename T>
__device__ Pack<T, V> Load(const T* p) {
  return *reinterpret_cast<const Pack<T, V>*>(p);
}
template <int V, typename T>
__device__ void Store(T* p, const Pack<T, V>& pack) {
  *reinterpret_cast<Pack<T, V>*>(p) = pack;
}

struct Add {
  static __device__ float Of(float a, float b) { return a + b; }
};
struct Max {
  static __device__ float Of(float a, float b) { return fmaxf(a, b); }
};
template <typename Op>
__device__ float ReduceWarp(float v) {
  for (int step = 16; step > 0; step /= 2) v = Op::Of(v, __shfl_xor_sync(0xffffffffu, v, step));
  return v;
}
// The same value in every thread of the block. kThreads threads.
template <typename Op>
__device__ float ReduceBlock(float v) {
  __shared__ float warps[kWarps];
  v = ReduceWarp<Op>(v);
  __syncthreads();  // of the last reduction's reads
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  v = warps[0];
  for (int i = 1; i < kWarps; ++i) v = Op::Of(v, warps[i]);
  return v;
}

template <typename T, int V>
__global__ void QuantiseRowsKernel(const T* x, const float* norm, float eps, int64_t n,
                                   int8_t* codes, float* factor) {
  const T* row = x + blockIdx.x * n;
  float squares = 0, largest = 0;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(row + i);
    for (int j = 0; j < V; ++j) {
      const float v = Get(pack.v[j]);
      squares += v * v;
      largest = fmaxf(largest, fabsf(norm == nullptr ? v : v * norm[i + j]));
    }
  }
  squares = ReduceBlock<Add>(squares);
  const float inverse =
      norm == nullptr ? 1.0f : 1.0f / sqrtf(squares / static_cast<float>(n) + eps);
  largest = fmaxf(ReduceBlock<Max>(largest) * inverse, 1e-5f);
  const float a = 127.0f / largest;
  // A maximum passes over NaN: it must not vanish here.
  if (threadIdx.x == 0) factor[blockIdx.x] = squares < INFINITY ? largest / 127.0f : NAN;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(row + i);
    Pack<int8_t, V> out;
    for (int j = 0; j < V; ++j) {
      float v = Get(pack.v[j]);
      if (norm != nullptr) v = v * inverse * norm[i + j];
      out.v[j] = static_cast<int8_t>(max(-128, min(127, __float2int_rn(v * a))));
    }
    Store<V>(codes + blockIdx.x * n + i, out);
  }
}

template <int V>
__global__ void MeanMagnitudeKernel(const float* w, int64_t n, float* mean) {
  const float* row = w + blockIdx.x * n;
  float sum = 0;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(row + i);
    for (int j = 0; j < V; ++j) sum += fabsf(pack.v[j]);
  }
  sum = ReduceBlock<Add>(sum);
  if (threadIdx.x == 0) mean[blockIdx.x] = sum / static_cast<float>(n);
}

template <int V>
__global__ void TernaryKernel(const float* w, const float* mean, bool threshold, int64_t n,
                              int8_t* codes) {
  const float limit = mean[blockIdx.x];
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(w + blockIdx.x * n + i);
    Pack<int8_t, V> out;
    for (int j = 0; j < V; ++j) {
      const float v = pack.v[j];
      const int code = threshold ? (fabsf(v) > limit ? (v > 0 ? 1 : -1) : 0)
                                 : max(-1, min(1, __float2int_rn(v / limit)));
      out.v[j] = static_cast<int8_t>(code);
    }
    Store<V>(codes + blockIdx.x * n + i, out);
  }
}

template <typename S, typename T, int V>
__global__ void ScaleProductKernel(const S* sums, const float* column, const float* row, int64_t n,
                                   T* y) {
  const float factor = row[blockIdx.x];
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(sums + blockIdx.x * n + i);
    Pack<T, V> out;
    for (int j = 0; j < V; ++j)
      Set(&out.v[j], static_cast<float>(pack.v[j]) * column[i + j] * factor);
    Store<V>(y + blockIdx.x * n + i, out);
  }
}

template <typename T, int V>
__global__ void DequantiseKernel(const int8_t* codes, const float* factor, int64_t n, T* y) {
  const float f = factor[blockIdx.x];
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(codes + blockIdx.x * n + i);
    Pack<T, V> out;
    for (int j = 0; j < V; ++j) Set(&out.v[j], static_cast<float>(pack.v[j]) * f);
    Store<V>(y + blockIdx.x * n + i, out);
  }
}

template <typename T, int V>
__global__ void RmsNormKernel(const T* x, const float* weight, float eps, int64_t n, T* y) {
  const T* row = x + blockIdx.x * n;
  float squares = 0;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(row + i);
    for (int j = 0; j < V; ++j) squares += Get(pack.v[j]) * Get(pack.v[j]);
  }
  const float inverse = 1.0f / sqrtf(ReduceBlock<Add>(squares) / static_cast<float>(n) + eps);
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pack = Load<V>(row + i);
    Pack<T, V> out;
    for (int j = 0; j < V; ++j) Set(&out.v[j], Get(pack.v[j]) * inverse * weight[i + j]);
    Store<V>(y + blockIdx.x * n + i, out);
  }
}

// The gradient of the weight is summed over the block's rows where the column's thread finds it:
// in shared memory while it fits, else in the partial row itself.
template <typename T, int V>
__global__ void RmsNormBackwardKernel(const T* x, const float* weight, float eps, const T* dy,
                                      int64_t rows, int64_t n, T* dx, float* partial,
                                      bool in_shared) {
  extern __shared__ float shared[];
  float* sum = in_shared ? shared : partial + blockIdx.x * n;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V)
    for (int j = 0; j < V; ++j) sum[i + j] = 0;
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    float squares = 0, dot = 0;
    for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
      const auto px = Load<V>(x + r * n + i);
      const auto pd = Load<V>(dy + r * n + i);
      for (int j = 0; j < V; ++j) {
        const float v = Get(px.v[j]);
        squares += v * v;
        dot += Get(pd.v[j]) * weight[i + j] * v;
      }
    }
    const float inverse = 1.0f / sqrtf(ReduceBlock<Add>(squares) / static_cast<float>(n) + eps);
    const float mean = ReduceBlock<Add>(dot) * inverse / static_cast<float>(n);
    for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
      const auto px = Load<V>(x + r * n + i);
      const auto pd = Load<V>(dy + r * n + i);
      Pack<T, V> out;
      for (int j = 0; j < V; ++j) {
        const float hat = Get(px.v[j]) * inverse, d = Get(pd.v[j]);
        Set(&out.v[j], (d * weight[i + j] - hat * mean) * inverse);
        sum[i + j] += d * hat;
      }
      Store<V>(dx + r * n + i, out);
    }
  }
  if (!in_shared) return;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V)
    for (int j = 0; j < V; ++j) partial[blockIdx.x * n + i + j] = sum[i + j];
}

// One warp a head of one token; a lane has the pairs (i, i + D/2), i = lane, lane + 32, …
template <typename T>
__global__ void PlaceHeadsKernel(HeadRows s, const T* qkv, T* placed) {
  const int64_t heads = s.heads + s.kv_heads, half = s.dim / 2, lane = threadIdx.x % 32;
  const int64_t item = blockIdx.x * int64_t{kWarps} + threadIdx.x / 32;
  if (item >= s.tokens * heads) return;
  const int64_t t = item / heads, h = item % heads;
  const T* x = qkv + t * (heads + s.kv_heads) * s.dim + h * s.dim;
  T* y = placed + item * s.dim;
  const float* weight = h < s.heads ? s.q_norm : s.k_norm;
  const float *cos = s.cos + t % s.length * half, *sin = s.sin + t % s.length * half;
  float a[kMaxPairs], b[kMaxPairs], squares = 0;
  for (int p = 0; p < kMaxPairs; ++p) {
    const int64_t i = lane + p * 32;
    a[p] = i < half ? Get(x[i]) : 0;
    b[p] = i < half ? Get(x[i + half]) : 0;
    squares += a[p] * a[p] + b[p] * b[p];
  }
  float inverse = 1.0f;
  if (weight != nullptr) {
    inverse = 1.0f / sqrtf(ReduceWarp<Add>(squares) / static_cast<float>(s.dim) + s.eps);
  }
  for (int p = 0; p < kMaxPairs; ++p) {
    const int64_t i = lane + p * 32;
    if (i >= half) continue;
    if (weight != nullptr) {
      a[p] = a[p] * inverse * weight[i];
      b[p] = b[p] * inverse * weight[i + half];
    }
    Set(y + i, a[p] * cos[i] - b[p] * sin[i]);
    Set(y + i + half, b[p] * cos[i] + a[p] * sin[i]);
  }
}

template <typename T>
__global__ void PlaceHeadsBackwardKernel(HeadRows s, const T* qkv, const T* dplaced, T* dqkv,
                                         float* partial) {
  const int64_t heads = s.heads + s.kv_heads, half = s.dim / 2, lane = threadIdx.x % 32;
  const int64_t warp = blockIdx.x * int64_t{kWarps} + threadIdx.x / 32;
  const int64_t warps = gridDim.x * int64_t{kWarps};
  // The warp's part of the gradients of both weights: [q or k][low or high half][pair].
  float sum[2][2][kMaxPairs] = {};
  for (int64_t item = warp; item < s.tokens * heads; item += warps) {
    const int64_t t = item / heads, h = item % heads;
    const int64_t at = t * (heads + s.kv_heads) * s.dim + h * s.dim;
    const float* weight = h < s.heads ? s.q_norm : s.k_norm;
    const float *cos = s.cos + t % s.length * half, *sin = s.sin + t % s.length * half;
    float a[kMaxPairs], b[kMaxPairs], da[kMaxPairs], db[kMaxPairs], squares = 0, dot = 0;
    for (int p = 0; p < kMaxPairs; ++p) {
      const int64_t i = lane + p * 32;
      a[p] = b[p] = da[p] = db[p] = 0;
      if (i >= half) continue;
      const float y1 = Get(dplaced[item * s.dim + i]), y2 = Get(dplaced[item * s.dim + i + half]);
      da[p] = y1 * cos[i] + y2 * sin[i];
      db[p] = y2 * cos[i] - y1 * sin[i];
      if (weight == nullptr) continue;
      a[p] = Get(qkv[at + i]);
      b[p] = Get(qkv[at + i + half]);
      squares += a[p] * a[p] + b[p] * b[p];
      dot += da[p] * weight[i] * a[p] + db[p] * weight[i + half] * b[p];
    }
    float inverse = 1.0f, mean = 0.0f;
    if (weight != nullptr) {
      inverse = 1.0f / sqrtf(ReduceWarp<Add>(squares) / static_cast<float>(s.dim) + s.eps);
      mean = ReduceWarp<Add>(dot) * inverse / static_cast<float>(s.dim);
    }
    const bool key = h >= s.heads;
    for (int p = 0; p < kMaxPairs; ++p) {
      const int64_t i = lane + p * 32;
      if (i >= half) continue;
      if (weight != nullptr) {
        const float hat_a = a[p] * inverse, hat_b = b[p] * inverse;
        // Constant indices keep the sums in registers.
        sum[0][0][p] += key ? 0.0f : da[p] * hat_a;
        sum[0][1][p] += key ? 0.0f : db[p] * hat_b;
        sum[1][0][p] += key ? da[p] * hat_a : 0.0f;
        sum[1][1][p] += key ? db[p] * hat_b : 0.0f;
        da[p] = (da[p] * weight[i] - hat_a * mean) * inverse;
        db[p] = (db[p] * weight[i + half] - hat_b * mean) * inverse;
      }
      Set(dqkv + at + i, da[p]);
      Set(dqkv + at + i + half, db[p]);
    }
  }
  if (s.q_norm == nullptr) return;
  for (int p = 0; p < kMaxPairs; ++p) {
    const int64_t i = lane + p * 32;
    if (i >= half) continue;
    for (int k = 0; k < 2; ++k) {
      partial[(warp * 2 + k) * s.dim + i] = sum[k][0][p];
      partial[(warp * 2 + k) * s.dim + i + half] = sum[k][1][p];
    }
  }
}

template <typename T, int V>
__global__ void GateKernel(const T* gate_up, int64_t n, T* y) {
  const T *gate = gate_up + blockIdx.x * 2 * n, *up = gate + n;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pg = Load<V>(gate + i), pu = Load<V>(up + i);
    Pack<T, V> out;
    for (int j = 0; j < V; ++j) {
      const float g = fmaxf(Get(pg.v[j]), 0.0f);
      Set(&out.v[j], g * g * Get(pu.v[j]));
    }
    Store<V>(y + blockIdx.x * n + i, out);
  }
}

template <typename T, int V>
__global__ void GateBackwardKernel(const T* gate_up, const T* dy, int64_t n, T* dgate_up) {
  const T *gate = gate_up + blockIdx.x * 2 * n, *up = gate + n;
  T* out = dgate_up + blockIdx.x * 2 * n;
  for (int64_t i = threadIdx.x * V; i < n; i += kThreads * V) {
    const auto pg = Load<V>(gate + i), pu = Load<V>(up + i), pd = Load<V>(dy + blockIdx.x * n + i);
    Pack<T, V> dgate, dup;
    for (int j = 0; j < V; ++j) {
      const float g = fmaxf(Get(pg.v[j]), 0.0f), d = Get(pd.v[j]);
      Set(&dgate.v[j], d * Get(pu.v[j]) * 2.0f * g);
      Set(&dup.v[j], d * g * g);
    }
    Store<V>(out + i, dgate);
    Store<V>(out + n + i, dup);
  }
}

template <typename T>
__global__ void CrossEntropyKernel(const float* logits, const int64_t* targets,
                                   const float* weights, float scale, double z_loss, int64_t n,
                                   double* loss, T* gradient) {
  const float* row = logits + blockIdx.x * n;
  T* out = gradient + blockIdx.x * n;
  const int64_t target = targets[blockIdx.x];
  if (target < 0) {
    if (threadIdx.x == 0) loss[blockIdx.x] = 0;
    for (int64_t i = threadIdx.x; i < n; i += kThreads) Set(out + i, 0.0f);
    return;
  }
  // Each thread's sum is relative to its own running maximum.
  float largest = -INFINITY, sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    const float v = row[i];
    if (v > largest) {
      sum *= expf(largest - v);
      largest = v;
    }
    sum += expf(v - largest);
  }
  const float top = ReduceBlock<Max>(largest);
  // A thread without an element has sum 0 and maximum −∞.
  const float total = ReduceBlock<Add>(sum == 0.0f ? 0.0f : sum * expf(largest - top));
  const double log_z = static_cast<double>(top) + log(static_cast<double>(total));
  const float w = weights[blockIdx.x], g = w * scale;
  const float p = g * (1.0f + static_cast<float>(2.0 * z_loss * log_z)) / total;
  if (threadIdx.x == 0) {
    loss[blockIdx.x] = static_cast<double>(w) *
                       (log_z - static_cast<double>(row[target]) + z_loss * log_z * log_z);
  }
  for (int64_t i = threadIdx.x; i < n; i += kThreads)
    Set(out + i, expf(row[i] - top) * p - (i == target ? g : 0.0f));
}

__global__ void AdamWKernel(AdamWStep a, const float* gradient, int64_t n, float* w, float* m,
                            float* v, float* average) {
  const int64_t step = gridDim.x * int64_t{kThreads};
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < n; i += step) {
    const float g = gradient[i] * a.gradient_scale;
    const float mi = a.beta1 * m[i] + (1.0f - a.beta1) * g;
    const float vi = a.beta2 * v[i] + (1.0f - a.beta2) * (g * g);
    float wi = w[i];
    wi -= a.learning_rate * a.weight_decay * wi;
    wi -= a.learning_rate * (mi / a.correction1) / (sqrtf(vi / a.correction2) + a.epsilon);
    m[i] = mi;
    v[i] = vi;
    w[i] = wi;
    average[i] += (1.0f - a.average_decay) * (wi - average[i]);
  }
}

// Calls body(std::integral_constant width) with the widest pack of at most 16 bytes an element of
// `bytes` may have: 1 unless rows of n elements keep every pointer aligned.
template <typename Body>
void WithPack(int64_t n, int bytes, std::initializer_list<const void*> pointers, const Body& body) {
  const int width = 16 / bytes;
  bool aligned = n % width == 0;
  for (const void* p : pointers) aligned = aligned && reinterpret_cast<uintptr_t>(p) % 16 == 0;
  if (!aligned) {
    body(std::integral_constant<int, 1>());
  } else if (width == 8) {
    body(std::integral_constant<int, 8>());
  } else {
    body(std::integral_constant<int, 4>());
  }
}
// Calls body(pointer of the values' type).
template <typename Body>
void WithType(Values values, const Body& body) {
  if (values.type == Type::kBf16) {
    body(static_cast<__nv_bfloat16*>(values.data));
  } else {
    body(static_cast<float*>(values.data));
  }
}
template <typename T>
T* As(Values values, T*) {
  return static_cast<T*>(values.data);
}

unsigned Blocks(int64_t rows) { return static_cast<unsigned>(rows); }

}  // namespace

int PartialRows(int64_t rows) { return static_cast<int>(rows < 512 ? rows : 512); }

void QuantiseRows(Values x, const float* norm, float eps, int64_t rows, int64_t n, int8_t* codes,
                  float* factor, cudaStream_t stream) {
  if (rows == 0) return;
  WithType(x, [&](auto* in) {
    WithPack(n, sizeof(*in), {in, codes}, [&](auto width) {
      QuantiseRowsKernel<std::remove_pointer_t<decltype(in)>, width.value>
          <<<Blocks(rows), kThreads, 0, stream>>>(in, norm, eps, n, codes, factor);
    });
  });
}

void MeanMagnitudeRows(const float* w, int64_t rows, int64_t n, float* mean, cudaStream_t stream) {
  WithPack(n, 4, {w}, [&](auto width) {
    MeanMagnitudeKernel<width.value><<<Blocks(rows), kThreads, 0, stream>>>(w, n, mean);
  });
}

void TernaryRows(const float* w, const float* mean, bool threshold, int64_t rows, int64_t n,
                 int8_t* codes, cudaStream_t stream) {
  WithPack(n, 4, {w, codes}, [&](auto width) {
    TernaryKernel<width.value><<<Blocks(rows), kThreads, 0, stream>>>(w, mean, threshold, n, codes);
  });
}

void ScaleProduct(const void* sums, bool float_sums, const float* column, const float* row,
                  int64_t rows, int64_t n, Values y, cudaStream_t stream) {
  if (rows == 0) return;
  WithType(y, [&](auto* out) {
    using T = std::remove_pointer_t<decltype(out)>;
    WithPack(n, 4, {sums, out}, [&](auto width) {
      if (float_sums) {
        ScaleProductKernel<float, T, width.value><<<Blocks(rows), kThreads, 0, stream>>>(
            static_cast<const float*>(sums), column, row, n, out);
      } else {
        ScaleProductKernel<int32_t, T, width.value><<<Blocks(rows), kThreads, 0, stream>>>(
            static_cast<const int32_t*>(sums), column, row, n, out);
      }
    });
  });
}

void DequantiseRows(const int8_t* codes, const float* factor, int64_t rows, int64_t n, Values y,
                    cudaStream_t stream) {
  if (rows == 0) return;
  WithType(y, [&](auto* out) {
    WithPack(n, sizeof(*out), {codes, out}, [&](auto width) {
      DequantiseKernel<std::remove_pointer_t<decltype(out)>, width.value>
          <<<Blocks(rows), kThreads, 0, stream>>>(codes, factor, n, out);
    });
  });
}

void RmsNormRows(Values x, const float* weight, float eps, int64_t rows, int64_t n, Values y,
                 cudaStream_t stream) {
  if (rows == 0) return;
  WithType(x, [&](auto* in) {
    WithPack(n, sizeof(*in), {in, y.data}, [&](auto width) {
      RmsNormKernel<std::remove_pointer_t<decltype(in)>, width.value>
          <<<Blocks(rows), kThreads, 0, stream>>>(in, weight, eps, n, As(y, in));
    });
  });
}

void RmsNormBackwardRows(Values x, const float* weight, float eps, Values dy, int64_t rows,
                         int64_t n, Values dx, float* partial, cudaStream_t stream) {
  if (rows == 0) return;
  const bool in_shared = n <= 12 * 1024;  // 48 KiB need no permission
  WithType(x, [&](auto* in) {
    WithPack(n, sizeof(*in), {in, dy.data, dx.data}, [&](auto width) {
      RmsNormBackwardKernel<std::remove_pointer_t<decltype(in)>, width.value>
          <<<PartialRows(rows), kThreads, in_shared ? n * sizeof(float) : 0, stream>>>(
              in, weight, eps, As(dy, in), rows, n, As(dx, in), partial, in_shared);
    });
  });
}

void PlaceHeads(const HeadRows& shape, Values qkv, Values placed, cudaStream_t stream) {
  const int64_t items = shape.tokens * (shape.heads + shape.kv_heads);
  if (items == 0) return;
  WithType(qkv, [&](auto* in) {
    PlaceHeadsKernel<<<Blocks((items + kWarps - 1) / kWarps), kThreads, 0, stream>>>(
        shape, in, As(placed, in));
  });
}

int PlacePartialRows(const HeadRows& shape) {
  const int64_t items = shape.tokens * (shape.heads + shape.kv_heads);
  return PartialRows((items + kWarps - 1) / kWarps) * kWarps;
}

void PlaceHeadsBackward(const HeadRows& shape, Values qkv, Values dplaced, Values dqkv,
                        float* partial, cudaStream_t stream) {
  if (shape.tokens == 0) return;
  WithType(qkv, [&](auto* in) {
    PlaceHeadsBackwardKernel<<<PlacePartialRows(shape) / kWarps, kThreads, 0, stream>>>(
        shape, in, As(dplaced, in), As(dqkv, in), partial);
  });
}

void GateRows(Values gate_up, int64_t rows, int64_t n, Values y, cudaStream_t stream) {
  if (rows == 0) return;
  WithType(gate_up, [&](auto* in) {
    WithPack(n, sizeof(*in), {in, y.data}, [&](auto width) {
      GateKernel<std::remove_pointer_t<decltype(in)>, width.value>
          <<<Blocks(rows), kThreads, 0, stream>>>(in, n, As(y, in));
    });
  });
}

void GateBackwardRows(Values gate_up, Values dy, int64_t rows, int64_t n, Values dgate_up,
                      cudaStream_t stream) {
  if (rows == 0) return;
  WithType(gate_up, [&](auto* in) {
    WithPack(n, sizeof(*in), {in, dy.data, dgate_up.data}, [&](auto width) {
      GateBackwardKernel<std::remove_pointer_t<decltype(in)>, width.value>
          <<<Blocks(rows), kThreads, 0, stream>>>(in, As(dy, in), n, As(dgate_up, in));
    });
  });
}

void CrossEntropyRows(const float* logits, const int64_t* targets, const float* weights,
                      float scale, double z_loss, int64_t rows, int64_t vocabulary, double* loss,
                      Values gradient, cudaStream_t stream) {
  if (rows == 0) return;
  WithType(gradient, [&](auto* out) {
    CrossEntropyKernel<<<Blocks(rows), kThreads, 0, stream>>>(logits, targets, weights, scale,
                                                              z_loss, vocabulary, loss, out);
  });
}

void AdamW(const AdamWStep& step, const float* gradient, int64_t n, float* w, float* m, float* v,
           float* average, cudaStream_t stream) {
  if (n == 0) return;
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  AdamWKernel<<<static_cast<unsigned>(blocks < 4096 ? blocks : 4096), kThreads, 0, stream>>>(
      step, gradient, n, w, m, v, average);
}

}  // namespace tritter::cuda
