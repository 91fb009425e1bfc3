// The tokenizer in a GGUF file: tokenizer.ggml.*, as far as byte-level BPE goes. In words:
// docs/formats/gguf.md.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "model/gguf/gguf_file.h"
#include "model/gguf/gguf_writer.h"
#include "model/text/tokenizer_files.h"

namespace tritter {

// The tokenizer of the file, as the files of a Hugging Face folder. The definition is
// tokenizer.huggingface.json where that is there, else it is made of tokens, types and merges.
// Errors: Unimplemented (no tokenizer, one that is no byte-level BPE, a pre-tokenizer that this
// build does not know) naming key and value, and what would do; DataLoss (keys that are missing,
// contradict each other, or are no UTF-8).
absl::StatusOr<TokenizerFiles> TokenizerOfGguf(const GgufFile& file);

// Adds the tokenizer to what describes a model of `vocab` rows. Returns what other programs do not
// get of it, "" when they get all. Errors: InvalidArgument (an id beyond the vocabulary), those of
// ParseTokenizerJson and NamesOf.
absl::StatusOr<std::string> AddTokenizer(const TokenizerFiles& files, int64_t vocab,
                                         GgufMetadata* out);

}  // namespace tritter
