#include "model/hf_text.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/text/byte_level.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

std::vector<std::string> HfByteTokens() {
  std::vector<std::string> tokens;
  for (int32_t id = 0; id < kFirstByteId; ++id) tokens.push_back(ByteTokenizer().SpecialText(id));
  for (const std::string& character : ByteLevelCharacters()) tokens.push_back(character);
  return tokens;
}

std::string HfByteTokenizerJson() {
  Json vocabulary = Json::object();
  int32_t id = 0;
  for (const std::string& token : HfByteTokens()) vocabulary[token] = id++;
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", false},
                           {"use_regex", false}};
  Json root;
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  root["added_tokens"] = Json::array();
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = byte_level;
  root["post_processor"] = nullptr;
  root["decoder"] = byte_level;
  root["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", std::move(vocabulary)},
                   {"merges", Json::array()}};
  return root.dump(2) + "\n";
}

std::string HfByteTokenizerConfigJson(const ModelConfig& config) {
  Json root;
  root["tokenizer_class"] = "PreTrainedTokenizerFast";
  root["pad_token"] = ByteTokenizer().SpecialText(kPadId);
  root["bos_token"] = ByteTokenizer().SpecialText(kBosId);
  root["eos_token"] = ByteTokenizer().SpecialText(kEosId);
  root["unk_token"] = ByteTokenizer().SpecialText(kUnkId);
  root["split_special_tokens"] = true;
  root["clean_up_tokenization_spaces"] = false;
  root["add_prefix_space"] = false;
  root["model_max_length"] = config.context;
  return root.dump(2) + "\n";
}

std::string HfGenerationConfigJson(bool byte_tokenizer) {
  Json root = Json::object();
  if (byte_tokenizer) {
    root["bos_token_id"] = kBosId;
    root["eos_token_id"] = kEosId;
    root["pad_token_id"] = kPadId;
  }
  return root.dump(2) + "\n";
}

std::string HfModelCard(const HfConfig& config, const WeightOrigin& origin) {
  const ModelConfig& c = config.model;
  const bool plain = config.weights == HfWeights::kPlain, ours = c.family == Family::kTritter;
  const char* const scales =
      c.granularity == ScaleGranularity::kTensor ? "one scale a matrix" : "one scale a row";
  std::string out = absl::StrCat(
      "---\n"
      "library_name: ",
      ours ? "tritter" : "transformers",
      "\n"
      "pipeline_tag: text-generation\n"
      "tags:\n- bitnet\n- ternary\n- tritter\n"
      "---\n\n"
      "# Ternary language model\n\n");
  absl::StrAppend(&out, "Family ", FamilyName(c.family), ours ? ", " : " (b1.58), ",
                  ParameterCount(c), " parameters: ", c.layers, " layers of width ", c.hidden, ", ",
                  c.heads, " query and ", c.kv_heads, " key/value heads of ", c.head_dim,
                  ", inner width ", c.ffn, ", vocabulary ", c.vocab, ", context ", c.context,
                  ".\n\n");
  absl::StrAppend(&out, "- Training run: ", origin.run_id, ", step ", origin.step, ", ",
                  origin.weights, " weights.\n");
  absl::StrAppend(&out,
                  plain ? "- Weights: FP32 masters; quantised to -1, 0, +1 ("
                        : "- Weights: packed ternary codes, four to a byte, with ",
                  scales, plain ? ") when used" : "",
                  ".\n- Activations: 8-bit, one scale a token.\n");
  absl::StrAppend(&out, "- Tokenizer: ",
                  config.byte_tokenizer ? "bytes; byte b has id 8 + b, ids 0 to 7 are special.\n"
                  : config.tokenizer_beside
                      ? absl::StrCat("in this folder (hash ", origin.tokenizer_hash, ").\n")
                      : absl::StrCat("not in this folder; the model was made with another one "
                                     "(SHA-256 of its tokenizer.json: ",
                                     origin.tokenizer_hash, ").\n"));
  if (ours) return out;  // the library does not know the family
  absl::StrAppend(&out,
                  "\n```python\n"
                  "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
                  "model = AutoModelForCausalLM.from_pretrained(\".\", dtype=\"float32\")\n",
                  config.byte_tokenizer || config.tokenizer_beside
                      ? "tokenizer = AutoTokenizer.from_pretrained(\".\")\n"
                        "ids = tokenizer(\"Once upon a time\", return_tensors=\"pt\").input_ids\n"
                        "print(tokenizer.decode(model.generate(ids, max_new_tokens=64)[0]))\n"
                      : "",
                  "```\n");
  return out;
}

}  // namespace tritter
