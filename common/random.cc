#include "common/random.h"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numbers>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"

namespace tritter {

uint64_t MixKey(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  uint64_t h = 0;
  // The golden-ratio step keeps a zero word from being a fixed point, and makes the order count.
  for (uint64_t word : {a, b, c, d}) h = SplitMix64Finalise(h + 0x9e3779b97f4a7c15u + word);
  return h;
}

uint64_t HashString(absl::string_view s) {
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : s) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

double Philox::Normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-Uniform()));  // 1 - u is never zero
  return radius * std::cos(2.0 * std::numbers::pi * Uniform());
}

// Lemire 2019: the high half of a 64 x 64 product, rejecting the few low halves that would bias it.
uint64_t Philox::Below(uint64_t n) {
  absl::uint128 product = absl::uint128(Next64()) * n;
  if (absl::Uint128Low64(product) < n) {
    const uint64_t threshold = (0 - n) % n;
    while (absl::Uint128Low64(product) < threshold) product = absl::uint128(Next64()) * n;
  }
  return absl::Uint128High64(product);
}

Permutation::Permutation(uint64_t key, uint64_t n)
    : n_(n), half_bits_(std::max(1, static_cast<int>((std::bit_width(n - 1) + 1) / 2))) {
  mask_ = (uint64_t{1} << half_bits_) - 1;
  for (int i = 0; i < kRounds; ++i) round_keys_[i] = MixKey(key, n, i);
}

uint64_t RandomBits64() {
  uint64_t bits;
  // Eight bytes never come back short once the pool is initialised; without entropy nothing is
  // safe.
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) abort();
  return bits;
}

std::string RandomId(absl::string_view prefix) {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  uint64_t bits = RandomBits64();  // 36^10 < 2^52: the bias of the remainders is below 1e-3
  std::string id = absl::StrCat(prefix, "-");
  for (int i = 0; i < 10; ++i, bits /= 36) id += kAlphabet[bits % 36];
  return id;
}

}  // namespace tritter
