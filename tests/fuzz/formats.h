// The file formats that others hand us, as fuzz targets: good files made from seeds, and a reader
// that takes any bytes in the place of one of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tritter {

// One model, or tokenizer, in memory. Reading it to its end is good; with `mutated` replaced by
// anything it must give a status that says what is wrong and where.
struct FuzzCase {
  std::map<std::string, std::string> files;  // by path
  std::string mutated;                       // one of them
  std::string opened;                        // what is read: a file or a folder
  bool tokenizer = false;                    // it holds one, and no model

  const std::string& good() const { return files.at(mutated); }
};

struct FuzzFormat {
  std::string name;
  std::vector<FuzzCase> cases;
};

// tpack, safetensors, gguf, of a Hugging Face folder hf_config, hf_index and hf_weights; and of
// tokenizers tokenizer (tokenizer.json) and gguf_tokenizer (the keys of a GGUF).
std::vector<FuzzFormat> FuzzFormats();

// Opens the model with `bytes` as the file that is mutated, and reads every tensor; of a tokenizer
// (FuzzCase::tokenizer) makes it, and turns texts into ids and back.
absl::Status ReadFuzzed(const FuzzCase& input, absl::string_view bytes);

}  // namespace tritter
