// What others hand us, files and texts, as fuzz targets: good ones, and a reader that takes any
// bytes in the place of one of them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/env.h"

namespace tritter {

// Files in memory. Reading them to their end is good; with `mutated` replaced by anything it must
// give a status that says what is wrong and where.
struct FuzzCase {
  std::map<std::string, std::string> files;  // by path
  std::string mutated;                       // one of them
  std::string opened;                        // what is read: a file or a folder
  std::function<absl::Status(Env* env, const std::string& opened)> read;
  std::string named;  // what messages must name

  const std::string& good() const { return files.at(mutated); }
};

struct FuzzFormat {
  std::string name;
  std::vector<FuzzCase> cases;
  bool beginnings = false;  // what a good one begins with may be good too
};

// Of models: tpack, safetensors, gguf, of a Hugging Face folder hf_config, hf_index and hf_weights;
// of tokenizers tokenizer (tokenizer.json) and gguf_tokenizer (the keys of a GGUF).
std::vector<FuzzFormat> FuzzFormats();
// Those among them that are read as text, whose good ones are tests/fuzz/corpus/<name>/ok_*: beside
// a tokenizer tokenizer_config, generation_config and chat_template (parsed, and rendered); of
// requests json_schema (compiled, and a text written that it allows) and openai_request; run_yaml;
// checkpoint_manifest.
std::vector<FuzzFormat> TextFuzzFormats();
// The files of tests/fuzz/corpus/<format>: name, bytes. Those named ok_* are good, others are not.
std::map<std::string, std::string> FuzzCorpus(const std::string& format);

// Writes the files with `bytes` as the one that is mutated, and reads.
absl::Status ReadFuzzed(const FuzzCase& input, absl::string_view bytes);

}  // namespace tritter
