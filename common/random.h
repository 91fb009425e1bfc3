// Seeded randomness. Counter-based (Philox4x32-10, Salmon et al. 2011): the n-th value of a stream is
// a pure function of (key, n), so a state is two integers and resumes bit-exactly.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tritter {

// Mixes words into a well-distributed 64-bit key (SplitMix64 finaliser over each word in turn).
uint64_t MixKey(uint64_t a, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0);
uint64_t HashString(absl::string_view s);  // FNV-1a 64, stable across processes and versions

// Not thread-safe; copyable; (key, counter) is the whole state.
class Philox {
 public:
  explicit Philox(uint64_t key, uint64_t counter = 0) : key_(key), counter_(counter) {}
  uint64_t Next64();
  uint32_t Next32() { return static_cast<uint32_t>(Next64() >> 32); }
  double Uniform();  // [0, 1), 53 bits
  double Normal();   // Box-Muller, one value per two draws
  uint64_t Below(uint64_t n);  // uniform in [0, n), no modulo bias; n > 0
  uint64_t key() const { return key_; }
  uint64_t counter() const { return counter_; }

 private:
  uint64_t key_, counter_;
};

// A keyed bijection of [0, n) with O(1) memory: Feistel network over the next even bit width with
// cycle walking (format-preserving encryption, Black and Rogaway 2002).
class Permutation {
 public:
  Permutation(uint64_t key, uint64_t n);  // n >= 1
  uint64_t operator()(uint64_t i) const;  // i < n
  uint64_t size() const { return n_; }

 private:
  uint64_t key_, n_;
  int half_bits_;
};

// 64 random bits from the system (incarnations, request ids). The one non-reproducible source.
uint64_t RandomBits64();
std::string RandomId(absl::string_view prefix);  // "prefix-" + 10 characters of [a-z0-9]

}  // namespace tritter
