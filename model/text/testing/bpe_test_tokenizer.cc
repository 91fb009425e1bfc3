#include "model/text/testing/bpe_test_tokenizer.h"

#include <string>
#include <utility>
#include <vector>

#include "model/text/byte_level.h"

namespace tritter {

using nlohmann::json;

json BpeTestTokenizer(const std::vector<std::pair<std::string, std::string>>& merges) {
  json vocab = json::object(), list = json::array();
  int32_t id = 0;
  for (const std::string& character : ByteLevelCharacters()) vocab[character] = id++;
  for (const auto& [left, right] : merges) {
    const std::string l = ToByteLevel(left), r = ToByteLevel(right);
    if (!vocab.contains(l + r)) vocab[l + r] = id++;
    list.push_back({l, r});
  }
  const auto added = [&](const char* content, bool special) {
    return json{{"id", id++},      {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", special}};
  };
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  json out;
  out["version"] = "1.0";
  out["added_tokens"] = {added("<|end|>", true), added("<tool>", false)};
  out["normalizer"] = nullptr;
  out["pre_tokenizer"] = byte_level;
  out["post_processor"] = nullptr;
  out["decoder"] = byte_level;
  out["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}};
  return out;
}

json BpeTestTokenizer() {
  return BpeTestTokenizer({{"h", "e"},
                           {"l", "l"},
                           {"he", "ll"},
                           {"hell", "o"},
                           {" ", "w"},
                           {"o", "r"},
                           {" w", "or"},
                           {"l", "d"},
                           {" wor", "ld"},
                           {"\xC3", "\xA9"}});
}

}  // namespace tritter
