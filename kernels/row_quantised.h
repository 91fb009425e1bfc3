// Matrices whose rows have one scale each and INT8 or INT4 codes: the output head, which is read
// whole for every token, and the embedding. Their products with activations are exact integers, so
// every instruction set gives the same bits.
//
// INT8: codes -127..127, one a byte. INT4: codes -8..7, stored + 8, in blocks of 128 columns of 64
// bytes: byte j holds column j in its low half and column 64 + j in its high half; a row's last
// block is padded with zeros (8).
//
// Activations are split into two digits, x = (256 hi + lo) * inv, hi and lo of 8 bits: the error is
// at most 2^-16 of a row's largest, so that what is lost is what the weights lost.
#pragma once

#include <cstdint>
#include <vector>

namespace tritter {

enum class RowFormat { kInt8, kInt4 };

int64_t QuantisedRowBytes(RowFormat format, int64_t cols);
// Codes of one row w [cols]; returns its scale. INT8: max|w| / 127. INT4: of sixteen scales up to
// max|w| / 7 the one with the least squared error. NaN or infinity give the scale NaN.
float QuantiseRowCodes(RowFormat format, const float* w, int64_t cols, uint8_t* codes);
// w [cols]: code * scale.
void ExpandRow(RowFormat format, const uint8_t* codes, float scale, int64_t cols, float* w);

// Bytes of one split row: cols padded so that kernels read whole blocks.
inline int64_t SplitStride(int64_t cols) { return (cols + 127) / 128 * 128; }
// x [cols] -> hi, lo [SplitStride(cols)], padding 0; returns inv, NaN when x holds NaN or infinity.
float SplitActivations(const float* x, int64_t cols, int8_t* hi, int8_t* lo);

// y[t, r] = (sum over c of code[r, c] * (256 hi[t, c] + lo[t, c])) * scales[r] * inv[t], the last
// two products in double. codes [rows, QuantisedRowBytes]; hi, lo [tokens, SplitStride(cols)];
// cols <= 65536; y [tokens, y_stride].
struct SplitRows {
  const int8_t* hi;
  const int8_t* lo;
  const float* inv;
  int64_t tokens;
};
void MultiplyQuantisedRows(RowFormat format, const uint8_t* codes, const float* scales,
                           int64_t rows, int64_t cols, const SplitRows& x, float* y,
                           int64_t y_stride);

// The function above for one instruction set.
struct RowQuantisedOps {
  const char* name;  // "baseline", "avx2", "avx512_vnni"
  decltype(&tritter::MultiplyQuantisedRows) multiply;
};
// Those that this CPU can run, slowest first. For tests (all must agree bit for bit).
std::vector<const RowQuantisedOps*> SupportedRowQuantisedOps();

}  // namespace tritter
