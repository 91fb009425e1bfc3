#include "model/text/bpe_tokenizer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/text/added_tokens.h"
#include "model/text/bpe_merger.h"
#include "model/text/byte_level.h"
#include "model/text/nfc.h"
#include "model/text/pre_tokenizer.h"
#include "model/utf8.h"

namespace tritter {
namespace {

// What is known of an id: the bytes that it stands for, and whether they go into a text.
struct TokenText {
  std::string bytes;
  bool special = false;
};

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(const TokenizerDefinition& d, PreTokenizer pre_tokenizer,
               std::vector<int32_t> end_ids)
      : hash_(TokenizerDefinitionHash(d)),
        nfc_(d.nfc),
        prefix_(d.prefix),
        suffix_(d.suffix),
        end_ids_(std::move(end_ids)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        merger_(d) {
    const auto text = [this](int32_t id) -> TokenText& {
      if (static_cast<size_t>(id) >= texts_.size()) texts_.resize(id + 1);
      return texts_[id];
    };
    for (const auto& [token, id] : d.vocab) text(id).bytes = FromByteLevel(token).value_or(token);
    for (const AddedToken& token : d.added) {
      AddedToken found = token;
      if (token.normalized && nfc_) found.content = Nfc(token.content);
      // As the ByteLevel decoder reads it, whoever made the token; a special one keeps its name.
      text(token.id) = {
          token.special ? token.content : FromByteLevel(found.content).value_or(found.content),
          token.special};
      if (token.special) special_ids_.emplace(token.content, token.id);
      (token.normalized ? after_ : before_).Add(found);
    }
  }

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const override {
    return Encode(text, /*plain=*/false);
  }
  absl::StatusOr<std::vector<int32_t>> EncodePlain(absl::string_view text) const override {
    return Encode(text, /*plain=*/true);
  }
  absl::StatusOr<std::vector<int32_t>> EncodePrompt(absl::string_view text) const override {
    std::vector<int32_t> ids = prefix_;
    RETURN_IF_ERROR(Append(text, /*plain=*/false, &ids));
    ids.insert(ids.end(), suffix_.begin(), suffix_.end());
    return ids;
  }

  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string out;
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocabulary() || texts_[id].special) continue;
      out += texts_[id].bytes;
    }
    return out;
  }

  int32_t vocabulary() const override { return static_cast<int32_t>(texts_.size()); }
  const std::string& hash() const override { return hash_; }
  std::optional<int32_t> bos_id() const override {
    return prefix_.empty() ? std::nullopt : std::optional<int32_t>(prefix_[0]);
  }
  const std::vector<int32_t>& end_ids() const override { return end_ids_; }

  std::optional<int32_t> SpecialId(absl::string_view text) const override {
    const auto found = special_ids_.find(text);
    if (found == special_ids_.end()) return std::nullopt;
    return found->second;
  }
  std::string SpecialText(int32_t id) const override {
    if (id < 0 || id >= vocabulary() || !texts_[id].special) return "";
    return texts_[id].bytes;
  }

 private:
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text, bool plain) const {
    std::vector<int32_t> ids;
    RETURN_IF_ERROR(Append(text, plain, &ids));
    return ids;
  }

  // Runs of UTF-8 and of bytes that are not, in turn.
  absl::Status Append(absl::string_view text, bool plain, std::vector<int32_t>* ids) const {
    ids->reserve(ids->size() + text.size() / 3);
    TokenPattern::Scratch scratch;
    const size_t bytes = text.size();
    while (!text.empty()) {
      size_t whole = 0, broken = 0;
      while (whole < text.size()) {
        const Utf8Prefix next = ScanUtf8(text.substr(whole));
        if (next.kind != Utf8Kind::kWhole) break;
        whole += next.length;
      }
      if (whole > 0) {
        RETURN_IF_ERROR(
            AppendUtf8(text.substr(0, whole), bytes - text.size(), plain, &scratch, ids));
      }
      text.remove_prefix(whole);
      while (broken < text.size()) {
        const Utf8Prefix next = ScanUtf8(text.substr(broken));
        if (next.kind == Utf8Kind::kWhole) break;
        broken += next.length;
      }
      if (broken > 0) merger_.Encode(text.substr(0, broken), ids);
      text.remove_prefix(broken);
    }
    return absl::OkStatus();
  }

  // `begin`: where `text` stands in what is encoded.
  absl::Status AppendUtf8(absl::string_view text, size_t begin, bool plain,
                          TokenPattern::Scratch* scratch, std::vector<int32_t>* ids) const {
    for (const TextSection& section : before_.Split(text, plain)) {
      if (section.id >= 0) {
        ids->push_back(section.id);
        continue;
      }
      const absl::Status status = nfc_ ? AppendNormalized(Nfc(section.text), plain, scratch, ids)
                                       : AppendNormalized(section.text, plain, scratch, ids);
      if (!status.ok()) {
        return Annotate(status, absl::StrCat("the text from byte ",
                                             begin + (section.text.data() - text.data()), " on"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status AppendNormalized(absl::string_view text, bool plain, TokenPattern::Scratch* scratch,
                                std::vector<int32_t>* ids) const {
    for (const TextSection& section : after_.Split(text, plain)) {
      if (section.id >= 0) {
        ids->push_back(section.id);
        continue;
      }
      RETURN_IF_ERROR(pre_tokenizer_.Split(
          section.text, scratch, [&](absl::string_view piece) { merger_.Encode(piece, ids); }));
    }
    return absl::OkStatus();
  }

  const std::string hash_;
  const bool nfc_;
  const std::vector<int32_t> prefix_, suffix_, end_ids_;
  const PreTokenizer pre_tokenizer_;
  const BpeMerger merger_;
  AddedTokenFinder before_, after_;  // normalisation
  std::vector<TokenText> texts_;     // by id
  absl::flat_hash_map<std::string, int32_t> special_ids_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Tokenizer>> NewBpeTokenizer(const TokenizerDefinition& d,
                                                                 std::vector<int32_t> end_ids) {
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(d.steps));
  std::sort(end_ids.begin(), end_ids.end());
  end_ids.erase(std::unique(end_ids.begin(), end_ids.end()), end_ids.end());
  for (const int32_t id : end_ids) {
    const auto added = std::any_of(d.added.begin(), d.added.end(),
                                   [id](const AddedToken& t) { return t.id == id; });
    const auto known = std::any_of(d.vocab.begin(), d.vocab.end(),
                                   [id](const auto& token) { return token.second == id; });
    if (!added && !known) {
      return absl::InvalidArgumentError(
          absl::StrCat("the end of a text is id ", id, ", expected an id of the tokenizer"));
    }
  }
  return std::make_shared<BpeTokenizer>(d, std::move(pre_tokenizer), std::move(end_ids));
}

}  // namespace tritter
