// IEEE half precision with a chosen direction of rounding, for scales that must not be too small
// and minima that must not be too large.
#pragma once

#include <cstdint>

namespace tritter {

// Exact.
float HalfToFloat(uint16_t half);
// Beyond +-65504: +-65504 (never infinity). NaN stays NaN.
uint16_t HalfNearest(float x);  // ties to even
uint16_t HalfDown(float x);     // the largest that is <= x
uint16_t HalfUp(float x);       // the smallest that is >= x

}  // namespace tritter
