// The file formats that others hand us, as fuzz targets: good files made from seeds, and a reader
// that takes any bytes in the place of one of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tritter {

// One model in memory. Reading it to its end is good; with `mutated` replaced by anything it must
// give a status that says what is wrong and where.
struct FuzzCase {
  std::map<std::string, std::string> files;  // by path
  std::string mutated;                       // one of them
  std::string opened;                        // what is read: a file or a folder

  const std::string& good() const { return files.at(mutated); }
};

struct FuzzFormat {
  std::string name;
  std::vector<FuzzCase> cases;
};

// tpack, safetensors, gguf, and of a Hugging Face folder hf_config, hf_index and hf_weights.
std::vector<FuzzFormat> FuzzFormats();

// Opens the model with `bytes` as the file that is mutated, and reads every tensor.
absl::Status ReadFuzzed(const FuzzCase& input, absl::string_view bytes);

}  // namespace tritter
