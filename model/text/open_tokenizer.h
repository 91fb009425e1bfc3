// Finds the tokenizer of a model and checks that it is the one the model was trained with.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env.h"
#include "model/tokenizer.h"

namespace tritter {

struct OpenedTokenizer {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::string path;  // of its tokenizer.json; "" of the byte tokenizer
  // From the tokenizer_config.json and chat_template.jinja beside it; "" where they say nothing.
  std::string chat_template, bos_token, eos_token;
};

// `hash`: what the model says of its tokenizer. That of the byte tokenizer needs no file. Else the
// file is `given` (a file, or a folder with tokenizer.json), or where that is empty the first of
// these with this hash: for a folder its tokenizer.json, for a file NAME.tpack beside it
// NAME.tokenizer.json and tokenizer.json.
// The ids that end a text are those of eos_token_id in generation_config.json and of eos_token in
// tokenizer_config.json (else eos_token_id in config.json) beside a tokenizer.json; where none is
// named, special tokens with a name in use for it (docs/formats/tokenizer.md).
// Errors: FailedPrecondition when no file has the hash, naming it, what was found and where was
// looked; those of ParseTokenizerJson, NewBpeTokenizer and reading the files.
absl::StatusOr<OpenedTokenizer> OpenTokenizer(Env* env, const std::string& model,
                                              const std::string& hash,
                                              const std::string& given = "");

// The hash of the tokenizer that a tokenizer.json describes: the byte tokenizer's for its own,
// TokenizerDefinitionHash of what this build can read, else the SHA-256 of the text.
std::string HashOfTokenizerJson(absl::string_view text);

}  // namespace tritter
