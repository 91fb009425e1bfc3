#include "kernels/cuda/attention_kernels.h"
#include "kernels/kv_page.h"

namespace tritter::cuda {
namespace {

__device__ __forceinline__ int Thread() { return static_cast<int>(threadIdx.x); }

// To nearest even; NaN stays NaN.
__device__ __forceinline__ uint16_t ToBf16(float x) {
  const uint32_t bits = __float_as_uint(x);
  if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
__device__ __forceinline__ float FromBf16(uint32_t half) { return __uint_as_float(half << 16); }

__device__ __forceinline__ uint8_t* PageOf(const PagedRows& rows, int row, int page) {
  return rows.pool +
         static_cast<int64_t>(rows.page_ids[rows.first_page[row] + page]) * rows.page_bytes;
}

// --- storing ------------------------------------------------------------------------------------
constexpr int kPlaceWarps = 4;

// One warp: group g of a vector x [d] of one slot, as QuantiseGroup of kernels/kv_cache.cc.
__device__ __forceinline__ void StoreInt4Group(const float* x, int d, int g, int slot, bool keys,
                                               uint8_t* page) {
  const int lane = Thread() % 32;
  const Int4Page at = Int4PageOf(d);
  const int n = min(32, d - 32 * g);
  const float v = x[32 * g + min(lane, n - 1)];
  const bool finite = WarpSum(fabsf(v) < INFINITY ? 0 : 1) == 0;
  const float low = WarpMin(v), high = WarpMax(v);
  uint16_t scale_bits = 0, minimum_bits;
  int code = 0;
  if (!finite) {
    scale_bits = minimum_bits = 0x7e00;
  } else if (low == high) {
    minimum_bits = DeviceHalfNearest(low);
  } else {
    minimum_bits = DeviceHalfDown(low);
    const float minimum = DeviceHalfToFloat(minimum_bits);
    scale_bits = DeviceHalfUp(nextafterf((high - minimum) / 15.0f, INFINITY));
    const float rounded = rintf((v - minimum) / DeviceHalfToFloat(scale_bits));
    code = static_cast<int>(fminf(fmaxf(rounded, 0.0f), 15.0f));
  }
  if (lane == 0) {
    const int64_t number = (g * 16 + slot) * 2;
    *reinterpret_cast<uint16_t*>(page + (keys ? at.key_scales : at.value_scales) + number) =
        scale_bits;
    *reinterpret_cast<uint16_t*>(page + (keys ? at.key_minima : at.value_minima) + number) =
        minimum_bits;
  }
  if (lane >= n) code = 0;
  if (keys) {  // eight lanes' codes are a word
    uint32_t word = static_cast<uint32_t>(code) << 4 * (lane % 8);
    for (int step = 1; step < 8; step *= 2) word |= __shfl_xor_sync(kWholeWarp, word, step);
    if (lane % 8 == 0) reinterpret_cast<uint32_t*>(page)[KeyPlace(32 * g + lane, slot).word] = word;
  } else if (lane < n) {  // eight positions' codes are a word: other blocks may write theirs now
    const NibblePlace place = ValuePlace(32 * g + lane, slot, KvPadded(d));
    unsigned* const word = reinterpret_cast<unsigned*>(page + at.value_codes) + place.word;
    const int shift = static_cast<int>(4 * place.nibble);
    atomicAnd(word, ~(15u << shift));
    atomicOr(word, static_cast<unsigned>(code) << shift);
  }
}

// One warp: k and v [d] into a slot.
__device__ __forceinline__ void StoreSlot(KvFormat format, const float* k, const float* v, int d,
                                          int slot, uint8_t* page) {
  const int lane = Thread() % 32;
  if (format == KvFormat::kInt4) {
    for (int g = 0; g < KvGroups(d); ++g) {
      StoreInt4Group(k, d, g, slot, true, page);
      StoreInt4Group(v, d, g, slot, false, page);
    }
  } else if (format == KvFormat::kBf16) {
    uint16_t* const numbers = reinterpret_cast<uint16_t*>(page);
    const int64_t padded = KvPadded(d);
    for (int i = lane; i < d; i += 32) {
      numbers[Bf16Key(i, slot)] = ToBf16(k[i]);
      numbers[padded * 16 + Bf16Value(i, slot, padded)] = ToBf16(v[i]);
    }
  } else {
    float* const numbers = reinterpret_cast<float*>(page);
    for (int i = lane; i < d; i += 32) {
      numbers[i * 16 + slot] = k[i];
      numbers[16 * d + slot * d + i] = v[i];
    }
  }
}

// A warp for each head of queries and of keys.
__global__ void __launch_bounds__(32 * kPlaceWarps) PlaceKernel(LayerHeads layer, PagedRows rows) {
  __shared__ float vectors[kPlaceWarps][kMaxHeadDim], turned_keys[kPlaceWarps][kMaxHeadDim];
  const int lane = Thread() % 32, warp = Thread() / 32;
  const int row = static_cast<int>(blockIdx.y),
            head = static_cast<int>(blockIdx.x) * kPlaceWarps + warp;
  const HeadShape shape = layer.shape;
  const int position = rows.positions[row];
  if (position < 0 || head >= shape.heads + shape.kv_heads) return;
  const int d = shape.dim;
  float* const from = layer.qkv + static_cast<int64_t>(row) * shape.row() + head * d;
  float* const vector = vectors[warp];
  for (int i = lane; i < d; i += 32) vector[i] = from[i];
  __syncwarp();
  const bool query = head < shape.heads;
  const float* const norm = query ? layer.q_norm : layer.k_norm;
  if (norm != nullptr) {
    const float scale = InverseRms(vector, d, layer.eps);
    __syncwarp();
    for (int i = lane; i < d; i += 32) vector[i] = (vector[i] * scale) * norm[i];
    __syncwarp();
  }
  const int half = d / 2;
  float* const to = query ? from : turned_keys[warp];
  for (int i = lane; i < half; i += 32) {
    const float c = layer.cos[static_cast<int64_t>(position) * half + i],
                s = layer.sin[static_cast<int64_t>(position) * half + i];
    const float a = vector[i], b = vector[half + i];
    to[i] = a * c - b * s;
    to[half + i] = b * c + a * s;
  }
  if (query) return;
  __syncwarp();
  const int kv_head = head - shape.heads;
  uint8_t* const page = PageOf(rows, row, position / static_cast<int>(kKvPagePositions)) +
                        layer.layer_offset + kv_head * layer.head_bytes;
  StoreSlot(layer.format, to, from + shape.kv_heads * d, d,
            position % static_cast<int>(kKvPagePositions), page);
}

// --- attention ----------------------------------------------------------------------------------
constexpr int kThreads = kSplitPositions;  // a thread for each position, then for each dimension
constexpr int kQueries = kBlockQueries;
static_assert(kThreads / 32 >= kQueries, "a warp for the softmax of each query");

// acc[n] += q[n] · key of one slot, dimension by dimension.
template <KvFormat kFormat>
__device__ __forceinline__ void Score(const uint8_t* page, int d, int slot,
                                      const float (*q)[kMaxHeadDim], int count,
                                      float (&acc)[kQueries]) {
  const auto add = [&](int i, float k) {
#pragma unroll
    for (int n = 0; n < kQueries; ++n) {
      if (n < count) acc[n] = fmaf(k, q[n][i], acc[n]);
    }
  };
  const uint32_t* const words = reinterpret_cast<const uint32_t*>(page);
  if constexpr (kFormat == KvFormat::kF32) {
#pragma unroll 8
    for (int i = 0; i < d; ++i) add(i, __uint_as_float(words[i * 16 + slot]));
  } else if constexpr (kFormat == KvFormat::kBf16) {
#pragma unroll 8
    for (int i = 0; i < d; i += 2) {
      const uint32_t pair = words[i / 2 * 16 + slot];
      add(i, FromBf16(pair));
      add(i + 1, __uint_as_float(pair & 0xffff0000u));
    }
  } else {
    const Int4Page at = Int4PageOf(d);
    for (int g = 0; 32 * g < d; ++g) {
      const int64_t number = (g * 16 + slot) * 2;
      const float scale = DeviceHalfToFloat(
                      *reinterpret_cast<const uint16_t*>(page + at.key_scales + number)),
                  minimum = DeviceHalfToFloat(
                      *reinterpret_cast<const uint16_t*>(page + at.key_minima + number));
      for (int i = 32 * g; i < min(d, 32 * g + 32); i += 8) {
        const uint32_t word = words[KeyPlace(i, slot).word];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if (i + j < d) add(i + j, fmaf(scale, static_cast<float>(word >> 4 * j & 15), minimum));
        }
      }
    }
  }
}

// Values of eight positions, those of one half of a page, in dimension i.
template <KvFormat kFormat>
__device__ __forceinline__ void LoadValues(const uint8_t* page, int d, int i, int half,
                                           float (&v)[8]) {
  if constexpr (kFormat == KvFormat::kF32) {
    const float* const values = reinterpret_cast<const float*>(page) + 16 * d + 8 * half * d + i;
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = values[j * d];
  } else if constexpr (kFormat == KvFormat::kBf16) {
    const int64_t padded = KvPadded(d);
    const uint16_t* const values = reinterpret_cast<const uint16_t*>(page) + padded * 16;
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = FromBf16(values[Bf16Value(i, 8 * half + j, padded)]);
  } else {
    const Int4Page at = Int4PageOf(d);
    const int64_t number = (i / 32 * 16 + 8 * half) * 2;
    const uint16_t* const scales =
        reinterpret_cast<const uint16_t*>(page + at.value_scales + number);
    const uint16_t* const minima =
        reinterpret_cast<const uint16_t*>(page + at.value_minima + number);
    const uint32_t word =
        reinterpret_cast<const uint32_t*>(page + at.value_codes)[half * KvPadded(d) + i];
#pragma unroll
    for (int j = 0; j < 8; ++j)
      v[j] = fmaf(DeviceHalfToFloat(scales[j]), static_cast<float>(word >> 4 * j & 15),
                  DeviceHalfToFloat(minima[j]));
  }
}

// A block: one split of the positions, one part of a KV head's group, one bundle of rows.
template <KvFormat kFormat>
__global__ void __launch_bounds__(kThreads)
    AttendKernel(LayerHeads layer, PagedRows rows, AttentionWork work, int parts) {
  __shared__ float q[kQueries][kMaxHeadDim], weights[kQueries][kSplitPositions];
  __shared__ float largest[kQueries], sums[kQueries];
  const HeadShape shape = layer.shape;
  const int d = shape.dim, group = shape.heads / shape.kv_heads;
  const int split = static_cast<int>(blockIdx.x), begin = split * kSplitPositions;
  const int kv_head = static_cast<int>(blockIdx.y) / parts,
            part = static_cast<int>(blockIdx.y) % parts;
  const RowBundle bundle = work.bundles[blockIdx.z];
  const int seen = rows.positions[bundle.first + bundle.count - 1] + 1;  // by the last row
  if (begin >= seen) return;
  const int first_head = kv_head * group + part * group / parts,
            heads = kv_head * group + (part + 1) * group / parts - first_head;
  const int count = bundle.count * heads;
  const auto row_of = [&](int n) { return bundle.first + n / heads; };
  // Positions of this split that query n sees, 0 or less for none.
  const auto seen_here = [&](int n) {
    return min(rows.positions[row_of(n)] + 1 - begin, kSplitPositions);
  };

  for (int item = Thread(); item < count * d; item += kThreads) {
    const int n = item / d, i = item % d;
    q[n][i] =
        layer.qkv[static_cast<int64_t>(row_of(n)) * shape.row() + (first_head + n % heads) * d + i];
  }
  __syncthreads();

  const int position = begin + Thread();
  float acc[kQueries] = {};
  if (position < seen) {
    const uint8_t* const page =
        PageOf(rows, bundle.first, position / static_cast<int>(kKvPagePositions)) +
        layer.layer_offset + kv_head * layer.head_bytes;
    Score<kFormat>(page, d, position % static_cast<int>(kKvPagePositions), q, count, acc);
  }
  const float scale = 1.0f / sqrtf(static_cast<float>(d));
#pragma unroll
  for (int n = 0; n < kQueries; ++n) {
    if (n < count) weights[n][Thread()] = Thread() < seen_here(n) ? acc[n] * scale : -INFINITY;
  }
  __syncthreads();

  const int warp = Thread() / 32, lane = Thread() % 32;
  if (warp < count && seen_here(warp) > 0) {
    float* const row = weights[warp];
    float most = -INFINITY;
    for (int p = lane; p < kSplitPositions; p += 32) most = row[p] > most ? row[p] : most;
    most = WarpMax(most);
    for (int p = lane; p < kSplitPositions; p += 32) row[p] = Exp(row[p] - most);
    __syncwarp();
    float sum = 0;
    if (lane < 16) {
      for (int p = lane; p < kSplitPositions; p += 16) sum = sum + row[p];
    }
    sum = FoldSixteen(sum);
    if (lane == 0) {
      largest[warp] = most;
      sums[warp] = sum;
    }
  }
  __syncthreads();

  // A thread: one dimension of two queries, so that a value is read once for both.
  const int pages = (min(seen - begin, kSplitPositions) + 15) / 16;
  for (int item = Thread(); item < (count + 1) / 2 * d; item += kThreads) {
    const int i = item % d, n = item / d * 2;
    const bool second = n + 1 < count;
    const int limits[2] = {seen_here(n), second ? seen_here(n + 1) : 0};
    float out[2] = {};
    for (int page = 0; page < pages; ++page) {
      const uint8_t* const at =
          PageOf(rows, bundle.first, begin / static_cast<int>(kKvPagePositions) + page) +
          layer.layer_offset + kv_head * layer.head_bytes;
      for (int half = 0; half < 2; ++half) {
        float v[8];
        LoadValues<kFormat>(at, d, i, half, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const int p = 16 * page + 8 * half + j;
          // What is not seen may hold anything.
          if (p < limits[0]) out[0] = fmaf(v[j], weights[n][p], out[0]);
          if (p < limits[1]) out[1] = fmaf(v[j], weights[n + 1][p], out[1]);
        }
      }
    }
    for (int k = 0; k < (second ? 2 : 1); ++k) {
      if (limits[k] <= 0) continue;
      const int row = row_of(n + k), head = first_head + (n + k) % heads;
      if (rows.positions[row] < kSplitPositions) {
        work.out[(static_cast<int64_t>(row) * shape.heads + head) * d + i] =
            out[k] * (1.0f / sums[n + k]);
        continue;
      }
      float* const partial =
          work.partial +
          ((static_cast<int64_t>(row - work.first_row) * shape.heads + head) * work.splits +
           split) *
              (d + 2);
      partial[2 + i] = out[k];
      if (i == 0) {
        partial[0] = largest[n + k];
        partial[1] = sums[n + k];
      }
    }
  }
}

// What several splits have found, put together in their order. A block: one head of one row.
__global__ void CombineKernel(HeadShape shape, PagedRows rows, AttentionWork work) {
  const int head = static_cast<int>(blockIdx.x),
            row = work.first_row + static_cast<int>(blockIdx.y);
  const int position = rows.positions[row];
  if (position < kSplitPositions) return;
  const int splits = position / kSplitPositions + 1, d = shape.dim;
  const float* const partial =
      work.partial +
      (static_cast<int64_t>(blockIdx.y) * shape.heads + head) * work.splits * (d + 2);
  float most = -INFINITY;
  for (int s = 0; s < splits; ++s) {
    const float m = partial[s * (d + 2)];
    most = m > most ? m : most;
  }
  for (int i = Thread(); i < d; i += static_cast<int>(blockDim.x)) {
    float sum = 0, out = 0;
    for (int s = 0; s < splits; ++s) {
      const float* const of = partial + s * (d + 2);
      const float weight = Exp(of[0] - most);
      sum = fmaf(weight, of[1], sum);
      out = fmaf(weight, of[2 + i], out);
    }
    work.out[(static_cast<int64_t>(row) * shape.heads + head) * d + i] = out * (1.0f / sum);
  }
}

}  // namespace

void PlaceAndStore(const LayerHeads& layer, const PagedRows& rows, cudaStream_t stream) {
  const int heads = layer.shape.heads + layer.shape.kv_heads;
  Launch(PlaceKernel,
         dim3(static_cast<unsigned>((heads + kPlaceWarps - 1) / kPlaceWarps),
              static_cast<unsigned>(rows.count)),
         32 * kPlaceWarps, stream, layer, rows);
}

void Attend(const LayerHeads& layer, const PagedRows& rows, const AttentionWork& work,
            cudaStream_t stream) {
  const int parts = BundleShapeOf(layer.shape).parts;
  const dim3 grid(static_cast<unsigned>(work.splits),
                  static_cast<unsigned>(layer.shape.kv_heads * parts),
                  static_cast<unsigned>(work.bundle_count));
  const auto kernel = layer.format == KvFormat::kF32    ? AttendKernel<KvFormat::kF32>
                      : layer.format == KvFormat::kBf16 ? AttendKernel<KvFormat::kBf16>
                                                        : AttendKernel<KvFormat::kInt4>;
  Launch(kernel, grid, kThreads, stream, layer, rows, work, parts);
  if (work.splits > 1) {
    Launch(CombineKernel,
           dim3(static_cast<unsigned>(layer.shape.heads), static_cast<unsigned>(work.rows)), 128,
           stream, layer.shape, rows, work);
  }
}

}  // namespace tritter::cuda
