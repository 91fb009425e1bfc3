// A tokenizer whose id i stands for the i-th of given byte strings. It encodes nothing, or refuses
// to.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/tokenizer.h"

namespace tritter {

class ListTokenizer : public Tokenizer {
 public:
  ListTokenizer(std::vector<std::string> tokens, std::vector<int32_t> end_ids,
                absl::StatusOr<std::vector<int32_t>> encodes = std::vector<int32_t>())
      : tokens_(std::move(tokens)), end_ids_(std::move(end_ids)), encodes_(std::move(encodes)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view) const override { return encodes_; }
  absl::StatusOr<std::vector<int32_t>> EncodePlain(absl::string_view) const override {
    return encodes_;
  }
  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) text += tokens_[static_cast<size_t>(id)];
    return text;
  }
  int32_t vocabulary() const override { return static_cast<int32_t>(tokens_.size()); }
  const std::string& hash() const override { return hash_; }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  const std::vector<int32_t>& end_ids() const override { return end_ids_; }
  std::optional<int32_t> SpecialId(absl::string_view) const override { return std::nullopt; }
  std::string SpecialText(int32_t) const override { return ""; }

 private:
  const std::vector<std::string> tokens_;
  const std::vector<int32_t> end_ids_;
  const absl::StatusOr<std::vector<int32_t>> encodes_;
  const std::string hash_ = "list";
};

}  // namespace tritter
