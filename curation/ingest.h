// Plain text in, byte-token shards with a manifest out: one pass, one document in memory at a time.
// A document is held out when SHA-256(its text) mod 1000 < k, so the split depends on nothing but
// the text.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "curation/shard_format.h"
#include "curation/shard_manifest.h"

namespace tritter {

enum class SplitBy {
  kBlankLine,  // documents stand between blank lines
  kFile,       // a document per file
  kJsonLine,   // a JSON object a line: `text`, and `label` where it has one
};
// "blank-line", "file", "jsonl".
absl::string_view SplitByName(SplitBy split);

struct IngestOptions {
  std::string source;  // name of the data set; empty: the output folder's name
  SplitBy split_by = SplitBy::kBlankLine;
  DocumentLabel label = DocumentLabel::kPositive;  // of documents that carry none themselves
  uint32_t heldout_per_mille = 100;                // k, 0 to 1000
  std::string heldout_text;  // also write the held-out text here, exactly the bytes that raw_bytes
                             // counts; empty: no
  uint64_t max_document_bytes = uint64_t{16} << 20;
  uint64_t shard_tokens = uint64_t{32} << 20;
  double max_reject_ratio = 0.1;  // of all documents; more is an error
  // Called now and then with bytes read and bytes in all; may be empty.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

struct IngestReport {
  ShardManifest manifest;
  uint64_t documents_seen = 0;
  std::string
      rejects_file;  // file, line and reason of each document left out; empty when there are none
};

// `input` is a file, or a folder that is read whole, in order of names, hidden names left out.
// Documents that are not UTF-8, hold a NUL byte, are too long, are not the JSON object that was
// expected or carry a label that is none are left out, counted, and listed in <out>/rejects.jsonl;
// empty ones are nothing. Errors: NotFound (input), InvalidArgument
// (options, an output among the inputs, no document at all, too many rejects), FailedPrecondition
// (the output folder holds something else), ResourceExhausted before anything is written (the disk
// is too small), those of Env. After an error an earlier data set in the folder, and an earlier
// held-out text, are what they were; after too many rejects rejects.jsonl lists those of this pass.
absl::StatusOr<IngestReport> Ingest(Env* env, const std::string& input, const std::string& out,
                                    const IngestOptions& options);

}  // namespace tritter
