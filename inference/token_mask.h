// Which token ids may come next.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tritter {

// A set of ids of [0, vocabulary).
class TokenMask {
 public:
  explicit TokenMask(int64_t vocabulary) : words_(static_cast<size_t>(vocabulary + 63) / 64) {}

  void Clear() { std::fill(words_.begin(), words_.end(), uint64_t{0}); }
  void Add(int32_t id) { words_[Word(id)] |= uint64_t{1} << (id % 64); }
  void Add(const TokenMask& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  bool Has(int32_t id) const { return (words_[Word(id)] >> (id % 64) & 1) != 0; }
  bool empty() const {
    return std::all_of(words_.begin(), words_.end(), [](uint64_t word) { return word == 0; });
  }
  // use(id) for every id of the set, ascending.
  template <typename Use>
  void ForEach(const Use& use) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      for (uint64_t word = words_[i]; word != 0; word &= word - 1)
        use(static_cast<int32_t>(i * 64) + std::countr_zero(word));
    }
  }

 private:
  static size_t Word(int32_t id) { return static_cast<size_t>(id) / 64; }
  std::vector<uint64_t> words_;
};

}  // namespace tritter
