// The tokenizer that goes with a converted model.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/text/tokenizer_files.h"

namespace tritter {

// Null of the byte tokenizer, which needs no files, and where no files have the hash and none were
// given: then `why` gets a sentence. Errors: those of FindTokenizer when `given` is not empty.
absl::StatusOr<std::shared_ptr<const TokenizerFiles>> TokenizerToTravel(Env* env,
                                                                        const std::string& model,
                                                                        const std::string& hash,
                                                                        const std::string& given,
                                                                        std::string* why);

}  // namespace tritter
