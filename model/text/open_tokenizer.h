// Finds the tokenizer of a model and checks that it is the one the model was trained with.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/text/tokenizer_files.h"
#include "model/tokenizer.h"

namespace tritter {

struct OpenedTokenizer {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::string path;  // as FoundTokenizer::path; "" of the byte tokenizer
  // From the tokenizer_config.json and chat_template.jinja beside it; "" where they say nothing.
  std::string chat_template, bos_token, eos_token;
};

struct FoundTokenizer {
  TokenizerFiles files;
  TokenizerDefinition definition;
  std::string path;  // of its tokenizer.json, or of the GGUF that holds it
};
// Finds the tokenizer whose hash is `hash`, what the model says of its tokenizer: `given` (a file,
// or a folder with tokenizer.json), or where that is empty the first of these with this hash: of a
// GGUF what it holds; for a folder its tokenizer.json, for a file NAME.tpack beside it
// NAME.tokenizer.json and tokenizer.json. What stands beside it is read with it
// (tokenizer_files.h).
// Errors: FailedPrecondition when none has the hash, naming it, what was found and where was
// looked; those of ParseTokenizerJson, TokenizerOfGguf and reading the files.
absl::StatusOr<FoundTokenizer> FindTokenizer(Env* env, const std::string& model,
                                             const std::string& hash,
                                             const std::string& given = "");

// As FindTokenizer, to be used; the byte tokenizer needs no file. Errors: also those of
// NewBpeTokenizer and NamesOf.
absl::StatusOr<OpenedTokenizer> OpenTokenizer(Env* env, const std::string& model,
                                              const std::string& hash,
                                              const std::string& given = "");

}  // namespace tritter
