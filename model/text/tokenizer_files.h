// A tokenizer as it travels with a model, whatever container: the files of a Hugging Face folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {

inline constexpr char kTokenizerJson[] = "tokenizer.json";

// Texts; "" where there is no such file.
struct TokenizerFiles {
  std::string definition;     // tokenizer.json
  std::string config;         // tokenizer_config.json
  std::string generation;     // generation_config.json
  std::string chat_template;  // chat_template.jinja
};

// What stands beside tokenizer.json too, by the same rule of names: F/tokenizer.json has
// F/tokenizer_config.json, F/NAME.tokenizer.json has F/NAME.tokenizer_config.json, and so on; of a
// name that does not end so only the file itself is read, and must be there. Where neither of the
// two names an id that ends a text, `generation` gets the eos_token_id of a config.json there.
// Errors: those of the files; DataLoss (JSON that is none, a file too large).
absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(Env* env, const std::string& path);

// (name, text) of every file there is, as in a folder.
std::vector<std::pair<std::string, std::string>> NamedTexts(const TokenizerFiles& files);

// Puts them beside the model NAME.tpack as NAME.tokenizer.json and so on; those of an older model
// of this name go.
absl::Status WriteTokenizerBeside(Env* env, const std::string& model, const TokenizerFiles& files);

// What the files say beside the definition.
struct TokenizerNames {
  std::string chat_template, bos_token, eos_token;  // "" where they say nothing
  std::vector<int32_t> end_ids;
};
// Ends of a text: eos_token_id of generation_config.json, eos_token of tokenizer_config.json; where
// nothing is named, special tokens with a name in use for it (docs/formats/tokenizer.md). `where`
// stands in messages. Errors: DataLoss.
absl::StatusOr<TokenizerNames> NamesOf(const TokenizerFiles& files,
                                       const TokenizerDefinition& definition,
                                       absl::string_view where);
// Whether a special token of this name ends texts wherever it is in use.
bool IsEndName(absl::string_view token);
std::optional<int32_t> IdOfToken(const TokenizerDefinition& definition, absl::string_view text);

// The hash of the tokenizer that a tokenizer.json describes: the byte tokenizer's for its own,
// TokenizerDefinitionHash of what this build can read, else the SHA-256 of the text.
std::string HashOfTokenizerJson(absl::string_view text);
std::string HashOfTokenizer(const TokenizerDefinition& definition);

}  // namespace tritter
