#include "kernels/cuda/ternary_layout.h"
#include "kernels/cuda/ternary_products.h"

namespace tritter::cuda {
namespace {

constexpr unsigned kCodes = 0x03030303;

// The codes of columns 4m … 4m + 3 of a word, a byte each.
__device__ __forceinline__ unsigned Codes(unsigned word, int m) { return word >> 2 * m & kCodes; }

// Results of rows r and r + 8 (r % 16 < 8) for one token. Codes are 0, 1, 2: what is one too much
// in each is the sum of the activations.
__device__ __forceinline__ void Finish(const TernaryWeights& w, const QuantisedRows& x,
                                       const ProductOutput& out, int r, int token, int low,
                                       int high) {
  const int sum = x.sums[token];
  low -= sum;
  high -= sum;
  const int64_t at = static_cast<int64_t>(token) * out.stride + r;
  if (out.epilogue == Epilogue::kSums) {
    int32_t* const y = static_cast<int32_t*>(out.data);
    if (r < w.rows) y[at] = low;
    if (r + 8 < w.rows) y[at + 8] = high;
    return;
  }
  const float inv = x.inv[token];
  const float a = (static_cast<float>(low) * w.scales[r]) * inv,
              b = (static_cast<float>(high) * w.scales[r + 8]) * inv;
  float* const y = static_cast<float*>(out.data);
  if (out.epilogue == Epilogue::kGated || out.epilogue == Epilogue::kSiluGated) {
    const int i = r / 16 * 8 + r % 16;
    const float positive = a > 0.0f ? a : 0.0f;
    const float gate =
        out.epilogue == Epilogue::kGated ? positive * positive : a / (Exp(-a) + 1.0f);
    if (i < out.stride) y[static_cast<int64_t>(token) * out.stride + i] = gate * b;
  } else if (out.epilogue == Epilogue::kAdd) {
    if (r < w.rows) y[at] = y[at] + a;
    if (r + 8 < w.rows) y[at + 8] = y[at + 8] + b;
  } else {
    if (r < w.rows) y[at] = a;
    if (r + 8 < w.rows) y[at + 8] = b;
  }
}

// --- dp4a ---------------------------------------------------------------------------------------
constexpr int kVectorWarps = 8;  // of a block; they share its 16 rows, each some of the columns
constexpr int kAhead = 4;        // tiles that a warp has asked for at a time

// acc[row half][token] += tile · activations; x: columns 32t … of each token.
template <int kTokens>
__device__ __forceinline__ void MultiplyTile(const uint4& tile, const int8_t* const (&x)[kTokens],
                                             int (&acc)[2][kTokens]) {
  unsigned low[8], high[8];
  for (int m = 0; m < 4; ++m) {
    low[m] = Codes(tile.x, m);
    low[4 + m] = Codes(tile.y, m);
    high[m] = Codes(tile.z, m);
    high[4 + m] = Codes(tile.w, m);
  }
#pragma unroll
  for (int n = 0; n < kTokens; ++n) {
    const int4 a = __ldg(reinterpret_cast<const int4*>(x[n])),
               b = __ldg(reinterpret_cast<const int4*>(x[n]) + 1);
    const int words[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    for (int m = 0; m < 8; ++m) {
      acc[0][n] = __dp4a(static_cast<int>(low[m]), words[m], acc[0][n]);
      acc[1][n] = __dp4a(static_cast<int>(high[m]), words[m], acc[1][n]);
    }
  }
}

// One block: 16 rows of weights.
template <int kTokens>
__global__ void __launch_bounds__(32 * kVectorWarps)
    VectorKernel(TernaryWeights w, QuantisedRows x, ProductOutput out) {
  __shared__ int partial[kVectorWarps][16][kTokens];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  const int tiles = static_cast<int>(GpuColTiles(w.cols));
  const uint4* const from = reinterpret_cast<const uint4*>(w.words) +
                            static_cast<int64_t>(blockIdx.x) * tiles * 32 + lane;
  int acc[2][kTokens] = {};
  for (int first = warp; first < tiles; first += kVectorWarps * kAhead) {
    uint4 ahead[kAhead] = {};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int tile = first + i * kVectorWarps;
      if (tile < tiles) ahead[i] = __ldg(from + tile * 32);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int tile = first + i * kVectorWarps;
      if (tile >= tiles) break;
      const int8_t* at[kTokens];
      for (int n = 0; n < kTokens; ++n) {
        const int token = n < x.count ? n : x.count - 1;
        at[n] = x.codes + static_cast<int64_t>(token) * x.stride + tile * kGpuTileCols + 32 * t;
      }
      MultiplyTile<kTokens>(ahead[i], at, acc);
    }
  }
  for (int n = 0; n < kTokens; ++n) {
    for (int half = 0; half < 2; ++half) {
      int sum = acc[half][n];
      sum += __shfl_xor_sync(kWholeWarp, sum, 1);
      sum += __shfl_xor_sync(kWholeWarp, sum, 2);
      if (t == 0) partial[warp][8 * half + g][n] = sum;
    }
  }
  __syncthreads();
  const int row = static_cast<int>(threadIdx.x) % 8, token = static_cast<int>(threadIdx.x) / 8;
  if (token >= kTokens || token >= x.count) return;
  int low = 0, high = 0;
  for (int i = 0; i < kVectorWarps; ++i) {
    low += partial[i][row][token];
    high += partial[i][row + 8][token];
  }
  Finish(w, x, out, static_cast<int>(blockIdx.x) * 16 + row, token, low, high);
}

// --- tensor cores -------------------------------------------------------------------------------
// A block of four warps: 128 rows of weights times 64 tokens; a warp 64 x 32. Weights go from
// memory to registers as they lie, activations through shared memory, kStages - 1 tiles ahead.
constexpr int kMatrixThreads = 128, kBlockTokens = 64, kBlockRowBlocks = 8;
constexpr int kWarpRowBlocks = 4, kWarpTokenGroups = 4, kStages = 4;

// Chunks of 16 bytes of odd tokens change places in pairs, so that the lanes of a load meet all
// banks.
__device__ __forceinline__ int Chunk(int token, int chunk) {
  return token * 8 + (chunk ^ (token & 1));
}

__device__ __forceinline__ void LoadActivations(const QuantisedRows& x, int first_token, int tile,
                                                uint4* stage) {
  for (int i = static_cast<int>(threadIdx.x); i < kBlockTokens * 8; i += kMatrixThreads) {
    const int token = i / 8, chunk = i % 8;
    const bool valid = first_token + token < x.count;
    const int8_t* from = x.codes +
                         static_cast<int64_t>(valid ? first_token + token : 0) * x.stride +
                         tile * kGpuTileCols + chunk * 16;
    CopyAsync(stage + Chunk(token, chunk), from, valid);
  }
}

__global__ void __launch_bounds__(kMatrixThreads)
    MatrixKernel(TernaryWeights w, QuantisedRows x, ProductOutput out) {
  __shared__ uint4 stages[kStages][kBlockTokens * 8];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  const int tiles = static_cast<int>(GpuColTiles(w.cols)),
            row_blocks = static_cast<int>(GpuRowBlocks(w.rows));
  const int first_token = static_cast<int>(blockIdx.x) * kBlockTokens;
  const int first_block =
      static_cast<int>(blockIdx.y) * kBlockRowBlocks + warp / 2 * kWarpRowBlocks;
  const int warp_token = warp % 2 * kWarpTokenGroups * 8;
  const uint4* const from = reinterpret_cast<const uint4*>(w.words) + lane;
  const auto load_weights = [&](int tile, uint4(&to)[kWarpRowBlocks]) {
    for (int i = 0; i < kWarpRowBlocks; ++i) {
      if (first_block + i < row_blocks)
        to[i] = __ldg(from + (static_cast<int64_t>(first_block + i) * tiles + tile) * 32);
    }
  };

  int acc[kWarpRowBlocks][kWarpTokenGroups][4] = {};
  uint4 weights[kWarpRowBlocks] = {}, next[kWarpRowBlocks] = {};
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < tiles) LoadActivations(x, first_token, stage, stages[stage]);
    CommitCopies();
  }
  load_weights(0, next);
  for (int tile = 0; tile < tiles; ++tile) {
    WaitCopies<kStages - 2>();
    __syncthreads();  // the tile is there for all, and nobody reads the one before any more
    if (tile + kStages - 1 < tiles) {
      LoadActivations(x, first_token, tile + kStages - 1, stages[(tile + kStages - 1) % kStages]);
    }
    CommitCopies();
    for (int i = 0; i < kWarpRowBlocks; ++i) weights[i] = next[i];
    if (tile + 1 < tiles) load_weights(tile + 1, next);

    const uint4* const stage = stages[tile % kStages];
    unsigned b[kWarpTokenGroups][8];
    for (int j = 0; j < kWarpTokenGroups; ++j) {
      const int token = warp_token + 8 * j + g;
      const uint4 low = stage[Chunk(token, 2 * t)], high = stage[Chunk(token, 2 * t + 1)];
      b[j][0] = low.x, b[j][1] = low.y, b[j][2] = low.z, b[j][3] = low.w;
      b[j][4] = high.x, b[j][5] = high.y, b[j][6] = high.z, b[j][7] = high.w;
    }
#pragma unroll
    for (int i = 0; i < kWarpRowBlocks; ++i) {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const unsigned a[4] = {Codes(weights[i].x, m), Codes(weights[i].z, m),
                               Codes(weights[i].y, m), Codes(weights[i].w, m)};
        for (int j = 0; j < kWarpTokenGroups; ++j)
          MultiplyFragments(acc[i][j], a, b[j][m], b[j][4 + m]);
      }
    }
  }
  // Unrolled, or the sums would have to leave their registers.
#pragma unroll
  for (int i = 0; i < kWarpRowBlocks; ++i) {
    const int row = (first_block + i) * 16 + g;
#pragma unroll
    for (int j = 0; j < kWarpTokenGroups; ++j) {
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        const int token = first_token + warp_token + 8 * j + 2 * t + side;
        if (first_block + i < row_blocks && token < x.count)
          Finish(w, x, out, row, token, acc[i][j][side], acc[i][j][2 + side]);
      }
    }
  }
}

}  // namespace

void VectorProduct(const TernaryWeights& w, const QuantisedRows& x, const ProductOutput& out,
                   cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(GpuRowBlocks(w.rows)));
  constexpr int kThreads = 32 * kVectorWarps;
  if (x.count == 1) {
    Launch(VectorKernel<1>, grid, kThreads, stream, w, x, out);
  } else if (x.count == 2) {
    Launch(VectorKernel<2>, grid, kThreads, stream, w, x, out);
  } else if (x.count <= 4) {
    Launch(VectorKernel<4>, grid, kThreads, stream, w, x, out);
  } else {
    Launch(VectorKernel<kVectorRows>, grid, kThreads, stream, w, x, out);
  }
}

void MatrixProduct(const TernaryWeights& w, const QuantisedRows& x, const ProductOutput& out,
                   cudaStream_t stream) {
  const dim3 grid(
      static_cast<unsigned>((x.count + kBlockTokens - 1) / kBlockTokens),
      static_cast<unsigned>((GpuRowBlocks(w.rows) + kBlockRowBlocks - 1) / kBlockRowBlocks));
  Launch(MatrixKernel, grid, kMatrixThreads, stream, w, x, out);
}

void TernaryProduct(const TernaryWeights& w, const QuantisedRows& x, const ProductOutput& out,
                    cudaStream_t stream) {
  if (x.count <= kVectorRows) {
    VectorProduct(w, x, out, stream);
  } else {
    MatrixProduct(w, x, out, stream);
  }
}

}  // namespace tritter::cuda
