// A small tokenizer.json for tests.
#pragma once

#include <nlohmann/json.hpp>

namespace tritter {

// Bytes b: id b; then the tokens of `merges` ("h e" gives "he"), ids from 256 on; then
// "<|end|>" (special) and "<tool>" (not special). ByteLevel with GPT-2's pattern.
nlohmann::json BpeTestTokenizer(const std::vector<std::pair<std::string, std::string>>& merges);
nlohmann::json BpeTestTokenizer();  // with some merges of English

}  // namespace tritter
