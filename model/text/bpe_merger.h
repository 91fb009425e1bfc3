// Byte-pair merges: bytes to tokens, the merge of lowest rank first and the leftmost of these.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {

// Immutable, thread-safe.
class BpeMerger {
 public:
  explicit BpeMerger(const TokenizerDefinition& definition);

  // Appends the ids of `piece`, any bytes, in time O(n log n).
  void Encode(absl::string_view piece, std::vector<int32_t>* ids) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t merged;
  };
  // Whether the merges make exactly this token of its own bytes: found out when it first matters.
  enum Whole : uint8_t { kUnknown, kYes, kNo };

  const Merge* Find(int32_t left, int32_t right) const;
  void Symbols(absl::string_view piece, std::vector<int32_t>* symbols) const;
  void MergeShort(std::vector<int32_t>* symbols) const;
  void MergeLong(std::vector<int32_t>* symbols) const;

  const bool ignore_merges_;
  const int32_t unk_;  // -1: none
  const bool fuse_unk_;
  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<std::string, int32_t> tokens_;       // by their bytes
  absl::flat_hash_map<uint64_t, Merge> merges_;            // by (left, right)
  size_t longest_ = 0;                                     // bytes of a token
  mutable std::unique_ptr<std::atomic<uint8_t>[]> whole_;  // by id
};

}  // namespace tritter
