#include "model/tokenizer.h"

#include <algorithm>

#include "common/sha256.h"
#include "model/utf8.h"

namespace tritter {
namespace {

// The definition that the hash stands for. A change of any id needs another text.
constexpr char kByteDefinition[] =
    "tritter byte tokenizer 1: pad 0, bos 1, eos 2, unk 3, text 4, code 5, image 6, audio 7, byte "
    "b is 8 + b";

constexpr absl::string_view kSpecialTokens[kFirstByteId] = {
    "<pad>", "<bos>", "<eos>", "<unk>", "<text>", "<code>", "<image>", "<audio>"};

class ByteTokenizerImpl : public Tokenizer {
 public:
  ByteTokenizerImpl() : hash_(Sha256Hex(kByteDefinition)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const override {
    return ByteIds(text);
  }

  absl::StatusOr<std::vector<int32_t>> EncodePlain(absl::string_view text) const override {
    return ByteIds(text);
  }

  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string text;
    text.reserve(ids.size());
    for (const int32_t id : ids) {
      if (id >= kFirstByteId && id < kByteVocabulary)
        text.push_back(static_cast<char>(id - kFirstByteId));
    }
    return text;
  }

  int32_t vocabulary() const override { return kByteVocabulary; }
  const std::string& hash() const override { return hash_; }

  std::optional<int32_t> bos_id() const override { return kBosId; }
  const std::vector<int32_t>& end_ids() const override { return end_ids_; }

  std::optional<int32_t> SpecialId(absl::string_view text) const override {
    const auto* found = std::find(std::begin(kSpecialTokens), std::end(kSpecialTokens), text);
    if (found == std::end(kSpecialTokens)) return std::nullopt;
    return static_cast<int32_t>(found - std::begin(kSpecialTokens));
  }

  std::string SpecialText(int32_t id) const override {
    return id >= 0 && id < kFirstByteId ? std::string(kSpecialTokens[id]) : "";
  }

 private:
  const std::string hash_;
  const std::vector<int32_t> end_ids_ = {kEosId};
};

}  // namespace

bool Tokenizer::IsEnd(int32_t id) const {
  return std::binary_search(end_ids().begin(), end_ids().end(), id);
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodePrompt(absl::string_view text) const {
  absl::StatusOr<std::vector<int32_t>> ids = Encode(text);
  const std::optional<int32_t> bos = bos_id();
  if (ids.ok() && bos.has_value()) ids->insert(ids->begin(), *bos);
  return ids;
}

std::vector<int32_t> ByteIds(absl::string_view text) {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char c : text) ids.push_back(kFirstByteId + static_cast<uint8_t>(c));
  return ids;
}

const Tokenizer& ByteTokenizer() {
  static const auto* tokenizer = new ByteTokenizerImpl;  // lives as long as the process
  return *tokenizer;
}

std::string StreamingDecoder::Push(int32_t id) {
  pending_ += tokenizer_->Decode({&id, 1});
  std::string out;
  absl::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Prefix prefix = ScanUtf8(rest);
    if (prefix.kind == Utf8Kind::kPartial) break;
    if (prefix.kind == Utf8Kind::kWhole) {
      out.append(rest.data(), prefix.length);
    } else {
      out += kReplacementCharacter;
    }
    rest.remove_prefix(prefix.length);
  }
  pending_ = std::string(rest);
  return out;
}

std::string StreamingDecoder::Finish() {
  if (pending_.empty()) return "";
  pending_.clear();
  return kReplacementCharacter;
}

}  // namespace tritter
