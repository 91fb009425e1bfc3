// The small files of a Hugging Face folder beside config.json and the weights.
#pragma once

#include <string>
#include <vector>

#include "model/hf_format.h"
#include "model/weight_source.h"

namespace tritter {

// The tokens of the byte tokenizer by id: the special ones, then each byte as the character of the
// ByteLevel form that stands for it.
std::vector<std::string> HfByteTokens();
// The byte tokenizer as the tokenizers library reads it: a BPE without merges over the 256 bytes
// (written as the characters of its ByteLevel form), so that byte b has id 8 + b. No special token
// is matched in text: "<eos>" in a document is five bytes, as it is with ByteTokenizer().
std::string HfByteTokenizerJson();
// With split_special_tokens, so that AutoTokenizer does not match them either.
std::string HfByteTokenizerConfigJson(const ModelConfig& config);
// bos, eos and pad of the byte tokenizer; without them for a foreign one.
std::string HfGenerationConfigJson(bool byte_tokenizer);
// README.md with YAML front matter.
std::string HfModelCard(const HfConfig& config, const WeightOrigin& origin);

}  // namespace tritter
