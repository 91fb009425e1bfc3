#include "curation/shard_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "curation/shard_format.h"
#include "curation/shard_manifest.h"

namespace tritter {
namespace {

// One mapped and checked shard.
struct Shard {
  std::string path;
  std::unique_ptr<MappedFile> file;
  ShardHeader header;
  uint64_t first_token = 0;  // of the source

  const uint8_t* tokens() const { return file->bytes().data() + header.tokens_offset(); }
  uint64_t DocumentStart(uint64_t d) const {
    return LoadLittle64(file->bytes().data() + header.offsets_offset() + 8 * d);
  }
};

class MappedTokenSource final : public TokenSource {
 public:
  MappedTokenSource(SplitEntry split, std::string hash, std::vector<Shard> shards)
      : split_(std::move(split)), hash_(std::move(hash)), shards_(std::move(shards)) {}

  uint64_t tokens() const override { return split_.tokens; }
  uint64_t documents() const override { return split_.documents; }
  uint64_t raw_bytes() const override { return split_.raw_bytes; }
  const std::string& tokenizer_hash() const override { return hash_; }

  absl::Status Read(uint64_t first, absl::Span<int64_t> out) const override {
    RETURN_IF_ERROR(CheckRange(first, out.size()));
    size_t done = 0;
    while (done < out.size()) {
      const Shard& shard = ShardOf(first + done);
      const uint64_t begin = first + done - shard.first_token;
      const uint64_t count = std::min<uint64_t>(out.size() - done, shard.header.tokens - begin);
      RETURN_IF_ERROR(Widen(shard, begin, out.subspan(done, count)));
      done += count;
    }
    return absl::OkStatus();
  }

  absl::Status ReadWeights(uint64_t first, const LabelWeights& of_label,
                           absl::Span<float> out) const override {
    RETURN_IF_ERROR(CheckRange(first, out.size()));
    size_t done = 0;
    while (done < out.size()) {
      const Shard& shard = ShardOf(first + done);
      uint64_t token = first + done - shard.first_token;
      const uint64_t end = std::min<uint64_t>(token + out.size() - done, shard.header.tokens);
      for (uint64_t d = DocumentOf(shard, token); token < end; ++d) {
        ASSIGN_OR_RETURN(const float weight, WeightOf(shard, d, of_label));
        const uint64_t stop = std::min(shard.DocumentStart(d + 1), end);
        for (; token < stop; ++token) out[done++] = weight;
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CheckRange(uint64_t first, uint64_t count) const {
    if (first <= split_.tokens && count <= split_.tokens - first) return absl::OkStatus();
    return absl::OutOfRangeError(absl::StrCat("tokens [", first, ", ", first, " + ", count,
                                              ") asked of a source of ", split_.tokens));
  }

  // The document d with start(d) <= token < start(d + 1).
  static uint64_t DocumentOf(const Shard& shard, uint64_t token) {
    uint64_t low = 0, high = shard.header.documents;
    while (high - low > 1) {
      const uint64_t middle = low + (high - low) / 2;
      (shard.DocumentStart(middle) <= token ? low : high) = middle;
    }
    return low;
  }

  static absl::StatusOr<float> WeightOf(const Shard& shard, uint64_t document,
                                        const LabelWeights& of_label) {
    const auto damaged = [&](uint64_t offset, const std::string& what) {
      return absl::DataLossError(
          absl::StrCat(shard.path, ": offset ", offset, ": ", what, "; run curation again"));
    };
    if (document >= shard.header.documents) {
      return damaged(shard.header.offsets_offset(),
                     "document starts: expected to rise to the end, actual not");
    }
    const uint64_t place = shard.header.records_offset() + kShardRecordBytes * document;
    const uint32_t label = LoadLittle32(shard.file->bytes().data() + place);
    if (label >= kDocumentLabels) {
      return damaged(place,
                     absl::StrCat("label: expected below ", kDocumentLabels, ", actual ", label));
    }
    if (of_label[label].has_value()) return *of_label[label];
    const uint32_t bits = LoadLittle32(shard.file->bytes().data() + place + 4);
    float weight;
    std::memcpy(&weight, &bits, sizeof(weight));
    if (!(weight > 0) || !std::isfinite(weight))
      return damaged(place + 4, absl::StrCat("weight: expected more than 0, actual ", weight));
    return weight;
  }

  const Shard& ShardOf(uint64_t token) const {
    auto after = std::upper_bound(shards_.begin(), shards_.end(), token,
                                  [](uint64_t t, const Shard& s) { return t < s.first_token; });
    return *(after - 1);
  }

  static absl::Status Widen(const Shard& shard, uint64_t begin, absl::Span<int64_t> out) {
    const uint32_t width = shard.header.token_width;
    const uint8_t* p = shard.tokens() + begin * width;
    for (size_t i = 0; i < out.size(); ++i, p += width) {
      const uint32_t id = width == 2 ? LoadLittle16(p) : LoadLittle32(p);
      if (id >= shard.header.vocabulary) {
        return absl::DataLossError(absl::StrCat(
            shard.path, ": offset ", shard.header.tokens_offset() + (begin + i) * width,
            ": token id: expected below ", shard.header.vocabulary, ", actual ", id,
            "; run curation again"));
      }
      out[i] = id;
    }
    return absl::OkStatus();
  }

  const SplitEntry split_;
  const std::string hash_;
  const std::vector<Shard> shards_;
};

absl::Status Mismatch(const std::string& path, absl::string_view what,
                      const absl::AlphaNum& expected, const absl::AlphaNum& actual) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, ": expected ", expected,
                                          " (manifest), actual ", actual, "; run curation again"));
}

// Every document start in order: what a hash cannot say about a shard that was written wrongly.
absl::Status CheckDocumentStarts(const Shard& shard, bool all) {
  const uint64_t documents = shard.header.documents;
  const uint64_t place = shard.header.offsets_offset();
  if (const uint64_t first = shard.DocumentStart(0); first != 0) {
    return absl::DataLossError(absl::StrCat(shard.path, ": offset ", place,
                                            ": first document start: expected 0, actual ", first));
  }
  if (const uint64_t end = shard.DocumentStart(documents); end != shard.header.tokens) {
    return absl::DataLossError(absl::StrCat(shard.path, ": offset ", place + 8 * documents,
                                            ": end of the last document: expected ",
                                            shard.header.tokens, ", actual ", end));
  }
  for (uint64_t d = 0; all && d < documents; ++d) {
    if (shard.DocumentStart(d) >= shard.DocumentStart(d + 1)) {
      return absl::DataLossError(
          absl::StrCat(shard.path, ": offset ", place + 8 * d, ": document start: expected below ",
                       shard.DocumentStart(d + 1), ", actual ", shard.DocumentStart(d)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Shard> OpenShard(Env* env, const std::string& folder, const ShardEntry& entry,
                                const ShardManifest& manifest, bool verify_hashes) {
  Shard shard;
  shard.path = JoinPath(folder, entry.file);
  if (!env->Exists(shard.path)) {
    return absl::NotFoundError(
        absl::StrCat(shard.path, ": shard is missing (the manifest lists it with ", entry.bytes,
                     " bytes); restore it or run curation again"));
  }
  ASSIGN_OR_RETURN(const uint64_t size, env->FileSize(shard.path));
  if (size != entry.bytes)
    return Mismatch(shard.path, absl::StrCat("offset ", size, ": size in bytes"), entry.bytes,
                    size);
  ASSIGN_OR_RETURN(shard.file, env->MapFile(shard.path));
  ASSIGN_OR_RETURN(shard.header, DecodeShardHeader(shard.file->bytes(), shard.path));
  const ShardHeader& h = shard.header;
  if (h.tokens != entry.tokens)
    return Mismatch(shard.path, "offset 24: tokens", entry.tokens, h.tokens);
  if (h.documents != entry.documents)
    return Mismatch(shard.path, "offset 32: documents", entry.documents, h.documents);
  if (h.raw_bytes != entry.raw_bytes)
    return Mismatch(shard.path, "offset 40: raw bytes", entry.raw_bytes, h.raw_bytes);
  const std::string hash = absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(h.tokenizer_hash.data()), h.tokenizer_hash.size()));
  if (hash != manifest.tokenizer_hash) {
    return Mismatch(shard.path, "offset 72: tokenizer hash", manifest.tokenizer_hash, hash);
  }
  if (verify_hashes) {
    const absl::Span<const uint8_t> bytes = shard.file->bytes();
    const std::string actual =
        Sha256Hex(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    if (actual != entry.sha256) {
      return Mismatch(shard.path, absl::StrCat("bytes 0 to ", bytes.size(), ": SHA-256"),
                      entry.sha256, actual);
    }
  }
  RETURN_IF_ERROR(CheckDocumentStarts(shard, verify_hashes));
  return shard;
}

}  // namespace

uint64_t TokenSource::Samples(int64_t length) const {
  if (length <= 0 || tokens() == 0) return 0;
  return (tokens() - 1) / static_cast<uint64_t>(length);
}

absl::StatusOr<std::unique_ptr<TokenSource>> TokenSource::Open(Env* env, const std::string& folder,
                                                               Split split,
                                                               const std::string& tokenizer_hash,
                                                               bool verify_hashes) {
  ASSIGN_OR_RETURN(const ShardManifest manifest, ReadShardManifest(env, folder));
  if (!tokenizer_hash.empty() && tokenizer_hash != manifest.tokenizer_hash) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, ": tokenizer hash: expected ", tokenizer_hash, " (the run's), actual ",
                     manifest.tokenizer_hash, " ('", manifest.tokenizer,
                     "'); curate the text again with the run's tokenizer"));
  }
  const SplitEntry& entry = split == Split::kTrain ? manifest.train : manifest.heldout;
  std::vector<Shard> shards;
  uint64_t first_token = 0;
  for (const ShardEntry& e : entry.shards) {
    ASSIGN_OR_RETURN(Shard shard, OpenShard(env, folder, e, manifest, verify_hashes));
    shard.first_token = first_token;
    first_token += shard.header.tokens;
    // An empty shard would make two shards begin at the same token.
    if (shard.header.tokens > 0) shards.push_back(std::move(shard));
  }
  return std::unique_ptr<TokenSource>(
      std::make_unique<MappedTokenSource>(entry, manifest.tokenizer_hash, std::move(shards)));
}

}  // namespace tritter
