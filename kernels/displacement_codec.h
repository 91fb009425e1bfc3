// Displacements of weights in eight bits a value, as they travel between workers that synchronise
// seldom, with error feedback (Seide et al. 2014, "1-Bit Stochastic Gradient Descent"; Karimireddy
// et al. 2019, arXiv:1901.09847): what a value loses in one round is added to it in the next.
#pragma once

#include <cstdint>

namespace tritter {

// Values that share a scale.
inline constexpr int64_t kDisplacementChunk = 256;

// Bytes of n encoded values: a float scale for every chunk, then a code for every value.
constexpr int64_t EncodedDisplacementBytes(int64_t n) {
  return (n + kDisplacementChunk - 1) / kDisplacementChunk * static_cast<int64_t>(sizeof(float)) +
         n;
}

// Encodes x[i] + residual[i]: the scale is the largest magnitude of the chunk / 127, a code in
// [-127, 127] the value / scale, rounded to nearest, ties to even. What the codes lack stays in
// `residual`. A chunk whose largest magnitude is below 1e-30 is all zeros. `encoded` has
// EncodedDisplacementBytes(n). The same input gives the same bytes on every machine.
// Returns -1, or the index of the first value that is NaN or infinite; then encoded and residual
// are of no use.
int64_t EncodeDisplacement(const float* x, int64_t n, float* residual, uint8_t* encoded);

// x[i] = scale · code.
void DecodeDisplacement(const uint8_t* encoded, int64_t n, float* x);

}  // namespace tritter
