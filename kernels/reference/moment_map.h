// Dynamic 8-bit quantisation of optimiser moments in blocks (Dettmers et al. 2022,
// arXiv:2110.02861): the maps, and plain forms of what kernels/optimizer_ops computes, bit for bit.
#pragma once

#include <cstdint>

namespace tritter {

// Values of one parameter that share a scale, the largest magnitude among them; the last block may
// be shorter.
inline constexpr int64_t kMomentBlock = 256;
inline int64_t MomentBlocks(int64_t n) { return (n + kMomentBlock - 1) / kMomentBlock; }

// Steps of the dynamic map in increasing order: 0, then for every decade 10^(i-6), i = 0 … 6, the
// middles of `2^i` (signed) or `2^(i+1)` (unsigned) equal parts of [0.1, 1], then 1. So seven
// decades are covered, the upper ones finer.
struct MomentMap {
  // For i in [0, steps): the magnitude, and half the way to the next one.
  int steps;  // 129 signed, 256 unsigned
  float step[256];
  float middle[256];  // infinity after the last
  // First guess for the magnitudes whose top 16 bits are kFirstTop + i: never too high, at most one
  // too low.
  static constexpr int32_t kFirstTop = (127 - 24) << 7;  // 2^-24, below every middle
  static constexpr int32_t kLastTop = 127 << 7;          // 1
  uint8_t guess[kLastTop - kFirstTop + 1];
};

// A signed code c means step[c - 127] (c >= 127) or -step[127 - c]: 1 has no negative. An unsigned
// code is the index of its step.
const MomentMap& SignedMomentMap();
const MomentMap& UnsignedMomentMap();

// x [n] -> codes [n], scales [blocks]: scale = max |x| of the block, code of the step nearest to
// |x| / scale (ties: the smaller). Unsigned: x >= 0, and what is not 0 never becomes 0.
void QuantiseMomentsReference(const float* x, int64_t n, bool is_signed, uint8_t* codes,
                              float* scales);
// x = step · scale.
void DequantiseMomentsReference(const uint8_t* codes, const float* scales, int64_t n,
                                bool is_signed, float* x);

}  // namespace tritter
