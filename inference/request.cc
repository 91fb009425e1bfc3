#include "inference/request.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "inference/json_grammar.h"

namespace tritter {
namespace {

absl::Status CheckIds(absl::string_view field, absl::Span<const int32_t> ids, int64_t vocabulary) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, "[", i, "] is ", ids[i], ", the model's token ids are 0 to ", vocabulary - 1));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCandidates(absl::string_view field, int64_t count) {
  if (count >= 0 && count <= kMaxCandidates) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", count, ", allowed are 0 to ", kMaxCandidates));
}

absl::Status CheckContext(absl::string_view name, int64_t count, const RequestLimits& limits) {
  if (count <= limits.context) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(name, " of ", count,
                                            " tokens exceeds the model's context of ",
                                            limits.context, " positions"));
}

absl::Status CheckMemory(int64_t positions, const RequestLimits& limits) {
  const int64_t pages = limits.kv_window.MostPages(positions);
  if (pages <= limits.kv_pages) return absl::OkStatus();
  const bool all = pages == KvPagesFor(positions);
  return absl::FailedPreconditionError(absl::StrCat(
      "the request needs ", positions, " positions = ", pages,
      all ? " pages of " : " pages at a time (those of the window and of one step) of ",
      limits.kv_page_bytes, " bytes = ", pages * limits.kv_page_bytes,
      " bytes of KV cache, the server has ", limits.kv_pages * limits.kv_page_bytes,
      "; ask for fewer tokens or start it with a larger --max-kv-memory",
      all ? "" : " or a smaller --prefill-chunk"));
}

}  // namespace

int64_t LongestRequest(const RequestLimits& limits) {
  if (limits.kv_window.MostPages(limits.context) <= limits.kv_pages) return limits.context;
  return std::min(limits.context, limits.kv_pages * kKvPagePositions);
}

int64_t DefaultMaxTokens(size_t prompt_tokens, const RequestLimits& limits) {
  return std::clamp<int64_t>(limits.context - static_cast<int64_t>(prompt_tokens), 1,
                             kDefaultMaxTokens);
}

absl::Status ValidateGenerate(const GenerateParams& params, const RequestLimits& limits) {
  if (params.prompt.empty())
    return absl::InvalidArgumentError("prompt is empty; give at least one token (bos will do)");
  RETURN_IF_ERROR(CheckIds("tokens.ids", params.prompt, limits.vocabulary));
  if (params.max_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens is ", params.max_tokens, ", allowed are 1 and more"));
  }
  RETURN_IF_ERROR(ValidateSampling(params.sampling, limits.vocabulary));
  RETURN_IF_ERROR(CheckCandidates("logprobs", params.logprobs.value_or(0)));
  if (params.stop.size() > kMaxStopStrings) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stop has ", params.stop.size(), " strings, at most ", kMaxStopStrings, " are allowed"));
  }
  for (size_t i = 0; i < params.stop.size(); ++i) {
    if (params.stop[i].empty() || params.stop[i].size() > kMaxStopBytes) {
      return absl::InvalidArgumentError(absl::StrCat("stop[", i, "] has ", params.stop[i].size(),
                                                     " bytes, allowed are 1 to ", kMaxStopBytes));
    }
  }
  if (params.stop_ids.size() > kMaxStopIds) {
    return absl::InvalidArgumentError(absl::StrCat("stop_ids has ", params.stop_ids.size(),
                                                   " ids, at most ", kMaxStopIds, " are allowed"));
  }
  RETURN_IF_ERROR(CheckIds("stop_ids", params.stop_ids, limits.vocabulary));
  RETURN_IF_ERROR(CheckJsonSchemaSize(params.json_schema));
  const int64_t prompt = static_cast<int64_t>(params.prompt.size());
  if (prompt > limits.context || params.max_tokens > limits.context - prompt) {
    return absl::OutOfRangeError(absl::StrCat("prompt of ", prompt, " tokens and max_tokens ",
                                              params.max_tokens, " exceed the model's context of ",
                                              limits.context, " positions"));
  }
  return CheckMemory(prompt + params.max_tokens, limits);
}

absl::Status ValidateEmbed(const EmbedParams& params, const RequestLimits& limits) {
  if (params.inputs.empty() || params.inputs.size() > kMaxEmbedInputs) {
    return absl::InvalidArgumentError(absl::StrCat("inputs has ", params.inputs.size(),
                                                   " texts, allowed are 1 to ", kMaxEmbedInputs));
  }
  for (size_t i = 0; i < params.inputs.size(); ++i) {
    const std::vector<int32_t>& tokens = params.inputs[i];
    const std::string name = absl::StrCat("inputs[", i, "]");
    const int64_t count = static_cast<int64_t>(tokens.size());
    if (count == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is empty; give at least one token (bos will do)"));
    }
    RETURN_IF_ERROR(CheckIds(absl::StrCat(name, ".tokens.ids"), tokens, limits.vocabulary));
    RETURN_IF_ERROR(CheckContext(name, count, limits));
    RETURN_IF_ERROR(CheckMemory(count, limits));
  }
  return absl::OkStatus();
}

absl::Status ValidateScore(const ScoreParams& params, const RequestLimits& limits) {
  const int64_t count = static_cast<int64_t>(params.tokens.size());
  if (count < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("input has ", count, " tokens, scoring needs at least 2"));
  }
  RETURN_IF_ERROR(CheckIds("tokens.ids", params.tokens, limits.vocabulary));
  RETURN_IF_ERROR(CheckCandidates("top", params.top));
  RETURN_IF_ERROR(CheckContext("input", count, limits));
  return CheckMemory(count, limits);
}

}  // namespace tritter
