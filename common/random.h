// Seeded randomness. Counter-based (Philox4x32-10, Salmon et al. 2011): the n-th value of a stream
// is a pure function of (key, n), so a state is two integers and resumes bit-exactly.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tritter {

// SplitMix64's finaliser (Stafford's variant 13): a bijection of 64-bit words with full avalanche.
inline uint64_t SplitMix64Finalise(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Mixes words into a well-distributed 64-bit key (SplitMix64 finaliser over each word in turn).
uint64_t MixKey(uint64_t a, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0);
uint64_t HashString(absl::string_view s);  // FNV-1a 64, stable across processes and versions

// Not thread-safe; copyable; (key, counter) is the whole state. Value n is half n % 2 of the Philox
// block whose counter is n / 2 and whose key is `key`.
class Philox {
 public:
  explicit Philox(uint64_t key, uint64_t counter = 0) : key_(key), counter_(counter) {}

  uint64_t Next64() {
    const uint64_t n = counter_++;
    if (n & 1) {
      if (!have_odd_) odd_ = Half(Block(n >> 1), 1);
      have_odd_ = false;
      return odd_;
    }
    const std::array<uint32_t, 4> block = Block(n >> 1);
    odd_ = Half(block, 1);
    have_odd_ = true;
    return Half(block, 0);
  }
  uint32_t Next32() { return static_cast<uint32_t>(Next64() >> 32); }
  double Uniform() { return static_cast<double>(Next64() >> 11) * 0x1p-53; }  // [0, 1), 53 bits
  double Normal();             // Box-Muller, one value per two draws
  uint64_t Below(uint64_t n);  // uniform in [0, n), no modulo bias; n > 0
  uint64_t key() const { return key_; }
  uint64_t counter() const { return counter_; }

  // The published function itself: 128-bit counter and 64-bit key in, 128 bits out.
  static std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                            std::array<uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
      const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
      counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
                 static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
      key[0] += 0x9E3779B9u;
      key[1] += 0xBB67AE85u;
    }
    return counter;
  }

 private:
  std::array<uint32_t, 4> Block(uint64_t n) const {
    return Philox4x32({static_cast<uint32_t>(n), static_cast<uint32_t>(n >> 32), 0, 0},
                      {static_cast<uint32_t>(key_), static_cast<uint32_t>(key_ >> 32)});
  }
  static uint64_t Half(const std::array<uint32_t, 4>& block, int half) {
    return uint64_t{block[2 * half + 1]} << 32 | block[2 * half];
  }

  uint64_t key_, counter_;
  uint64_t odd_ = 0;  // second half of the last block, a cache: follows from (key_, counter_)
  bool have_odd_ = false;
};

// A keyed bijection of [0, n) with O(1) memory: Feistel network over the next even bit width with
// cycle walking (format-preserving encryption, Black and Rogaway 2002). Thread-safe.
class Permutation {
 public:
  Permutation(uint64_t key, uint64_t n);   // n >= 1
  uint64_t operator()(uint64_t i) const {  // i < n
    // The domain is less than 4 n, so under four turns are expected.
    do {
      i = Encrypt(i);
    } while (i >= n_);
    return i;
  }
  uint64_t size() const { return n_; }

 private:
  static constexpr int kRounds = 6;

  uint64_t Encrypt(uint64_t i) const {
    uint64_t left = i >> half_bits_, right = i & mask_;
    for (uint64_t round_key : round_keys_) {
      const uint64_t next = left ^ (SplitMix64Finalise(right + round_key) & mask_);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t n_, mask_;
  int half_bits_;
  std::array<uint64_t, kRounds> round_keys_;
};

// 64 random bits from the system (incarnations, request ids). The one non-reproducible source.
uint64_t RandomBits64();
std::string RandomId(absl::string_view prefix);  // "prefix-" + 10 characters of [a-z0-9]

}  // namespace tritter
