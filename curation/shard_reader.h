// Reads what curation wrote: a source folder with manifest.json and memory-mapped shards
// (docs/formats/shard.md). A folder has a training part and a held-out part; a document is held out
// when SHA-256(content) mod 1000 < k.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "curation/shard_format.h"

namespace tritter {

enum class Split { kTrain, kHeldOut };

// By DocumentLabel.
using LabelWeights = std::array<std::optional<float>, kDocumentLabels>;

// The concatenated documents of one split of one source, each ended by eos. Sample k at length L is
// tokens [k·L, k·L + L], L + 1 of them. Thread-safe once open.
class TokenSource {
 public:
  // Checks manifest, sizes and header checksums; `verify_hashes` reads every byte and compares
  // SHA-256. Errors: NotFound (folder, manifest, shard), DataLoss (truncated, wrong checksum: file,
  // offset, expected, actual), FailedPrecondition (tokenizer hash differs from `tokenizer_hash`
  // when that is not empty).
  static absl::StatusOr<std::unique_ptr<TokenSource>> Open(Env* env, const std::string& folder,
                                                           Split split,
                                                           const std::string& tokenizer_hash,
                                                           bool verify_hashes = false);
  virtual ~TokenSource() = default;

  virtual uint64_t tokens() const = 0;
  virtual uint64_t documents() const = 0;
  virtual uint64_t raw_bytes() const = 0;  // bytes of the documents' text, for bits per byte
  // Whole samples at length L: floor((tokens - 1) / L); 0 when too short.
  uint64_t Samples(int64_t length) const;
  // Writes tokens [first, first + count) widened to int64. OutOfRange beyond the end; DataLoss when
  // an id does not fit.
  virtual absl::Status Read(uint64_t first, absl::Span<int64_t> out) const = 0;
  // The weight of each token of [first, first + count): that of its document, from `of_label` where
  // that has one for the document's label, else from the shard. OutOfRange beyond the end; DataLoss
  // for a label that is none, or a weight that is not above 0.
  virtual absl::Status ReadWeights(uint64_t first, const LabelWeights& of_label,
                                   absl::Span<float> out) const = 0;
  virtual const std::string& tokenizer_hash() const = 0;
};

}  // namespace tritter
