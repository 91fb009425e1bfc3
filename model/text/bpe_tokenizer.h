// Byte-level BPE (GPT-2, Llama 3, Qwen 2 and their like) from a tokenizer.json; gives the ids and
// texts of PyPI's tokenizers.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/text/tokenizer_definition.h"
#include "model/tokenizer.h"

namespace tritter {

// `end_ids`: in any order. Bytes of a text that are not UTF-8 are encoded as they are, each run of
// them as a piece of its own. Errors: InvalidArgument for a pattern (see TokenPattern) and for an
// end id that is no token.
absl::StatusOr<std::shared_ptr<const Tokenizer>> NewBpeTokenizer(
    const TokenizerDefinition& definition, std::vector<int32_t> end_ids);

}  // namespace tritter
