#include "tritterctl/travelling_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/text/open_tokenizer.h"
#include "model/tokenizer.h"

namespace tritter {

absl::StatusOr<std::shared_ptr<const TokenizerFiles>> TokenizerToTravel(Env* env,
                                                                        const std::string& model,
                                                                        const std::string& hash,
                                                                        const std::string& given,
                                                                        std::string* why) {
  std::shared_ptr<const TokenizerFiles> out;
  if (hash == ByteTokenizer().hash() && given.empty()) return out;
  absl::StatusOr<FoundTokenizer> found = FindTokenizer(env, model, hash, given);
  if (found.ok()) {
    if (hash != ByteTokenizer().hash())
      out = std::make_shared<const TokenizerFiles>(std::move(found->files));
  } else if (!given.empty()) {
    return found.status();
  } else {
    *why = absl::StrCat("its tokenizer: ", found.status().message());
  }
  return out;
}

}  // namespace tritter
