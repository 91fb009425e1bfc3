// Answers questions about a tokenizer.json, one a line of JSON, for hf_tokenizers.py:
//   {"encode": TEXT}, {"plain": TEXT}, {"prompt": TEXT} → ids; {"encode_hex": HEX} → ids;
//   {"decode": [ID…]} → text, as a stream gives it; {"hash": 0} → the tokenizer's hash.
// --bench FILE prints how fast the file is encoded and decoded instead.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/escaping.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/flags.h"
#include "common/status_macros.h"
#include "model/text/bpe_tokenizer.h"
#include "model/text/tokenizer_definition.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

using nlohmann::json;

std::string Streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamingDecoder decoder(&tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.Push(id);
  return text + decoder.Finish();
}

json Answer(const Tokenizer& tokenizer, const json& question) {
  const std::string kind = question.begin().key();
  const json& value = question.begin().value();
  if (kind == "encode") return *tokenizer.Encode(value.get<std::string>());
  if (kind == "plain") return *tokenizer.EncodePlain(value.get<std::string>());
  if (kind == "prompt") return *tokenizer.EncodePrompt(value.get<std::string>());
  if (kind == "encode_hex")
    return *tokenizer.Encode(absl::HexStringToBytes(value.get<std::string>()));
  if (kind == "decode") return Streamed(tokenizer, value.get<std::vector<int32_t>>());
  return tokenizer.hash();
}

double Seconds(absl::Duration begin) {
  return absl::ToDoubleSeconds(Clock::Real()->Monotonic() - begin);
}

absl::Status Bench(const std::string& path, const std::string& file, int repeat) {
  ASSIGN_OR_RETURN(const std::string text, Env::Real()->ReadFile(file));
  const double mb = static_cast<double>(text.size()) / 1e6;
  absl::Duration begin = Clock::Real()->Monotonic();
  ASSIGN_OR_RETURN(const std::string source, Env::Real()->ReadFile(path));
  ASSIGN_OR_RETURN(const TokenizerDefinition definition, ParseTokenizerJson(source, path));
  ASSIGN_OR_RETURN(const auto tokenizer, NewBpeTokenizer(definition, {}));
  const double load = Seconds(begin);
  double encode = 1e9, decode = 1e9;
  size_t tokens = 0;
  for (int i = 0; i < repeat; ++i) {
    begin = Clock::Real()->Monotonic();
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->EncodePlain(text));
    encode = std::min(encode, Seconds(begin));
    tokens = ids.size();
    begin = Clock::Real()->Monotonic();
    const std::string back = tokenizer->Decode(ids);
    decode = std::min(decode, Seconds(begin));
    if (!definition.nfc && back != text) return absl::InternalError("the text did not come back");
  }
  std::printf(
      "{\"load_ms\": %.1f, \"tokens\": %zu, \"encode_mb_s\": %.1f, \"decode_mb_s\": %.1f}\n",
      load * 1e3, tokens, mb / encode, mb / decode);
  return absl::OkStatus();
}

absl::Status Run(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string source, Env::Real()->ReadFile(path));
  ASSIGN_OR_RETURN(const TokenizerDefinition definition, ParseTokenizerJson(source, path));
  ASSIGN_OR_RETURN(const auto tokenizer, NewBpeTokenizer(definition, {}));
  for (std::string line; std::getline(std::cin, line);)
    std::cout << Answer(*tokenizer, json::parse(line)).dump() << std::endl;
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CommandLine app("Answers questions about a tokenizer.json.");
  std::string path, bench;
  int repeat = 5;
  app.AddFlag("--tokenizer", &path, "tokenizer.json").Required();
  app.AddFlag("--bench", &bench, "text file to measure with");
  app.AddFlag("--repeat", &repeat, "times; the best counts");
  if (std::optional<int> code = ParseFlags(&app, argc, argv)) return *code;
  const absl::Status status = bench.empty() ? Run(path) : Bench(path, bench, repeat);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { return tritter::Main(argc, argv); }
