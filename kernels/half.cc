#include "kernels/half.h"

#include <cmath>
#include <cstring>

namespace tritter {
namespace {

constexpr uint16_t kSign = 0x8000, kLargest = 0x7bff, kNan = 0x7e00;

// Of a magnitude: the largest half that is not above it.
uint16_t TowardsZero(float magnitude) {
  if (magnitude >= 65504.0f) return kLargest;
  if (magnitude < 6.103515625e-05f)  // below the smallest normal half: units of 2^-24
    return static_cast<uint16_t>(magnitude * 16777216.0f);
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof(bits));
  return static_cast<uint16_t>((bits >> 13) - ((127 - 15) << 10));
}

// The neighbour that is further from zero; the largest stays.
uint16_t Outwards(uint16_t magnitude) {
  return magnitude == kLargest ? magnitude : static_cast<uint16_t>(magnitude + 1);
}

}  // namespace

uint16_t HalfDown(float x) {
  if (std::isnan(x)) return kNan;
  const float magnitude = std::fabs(x);
  const uint16_t inner = TowardsZero(magnitude);
  if (!std::signbit(x)) return inner;
  const uint16_t outer = HalfToFloat(inner) < magnitude ? Outwards(inner) : inner;
  return static_cast<uint16_t>(outer | kSign);
}

uint16_t HalfUp(float x) {
  return static_cast<uint16_t>(HalfDown(-x) ^ (std::isnan(x) ? 0 : kSign));
}

uint16_t HalfNearest(float x) {
  if (std::isnan(x)) return kNan;
  const float magnitude = std::fabs(x);
  const uint16_t inner = TowardsZero(magnitude), outer = Outwards(inner);
  const float below = magnitude - HalfToFloat(inner), above = HalfToFloat(outer) - magnitude;
  const bool out = below > above || (below == above && (inner & 1) != 0);
  return static_cast<uint16_t>((out ? outer : inner) | (std::signbit(x) ? kSign : 0));
}

}  // namespace tritter
