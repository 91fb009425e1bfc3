// JSON of files that others wrote (config.json, an index of shards): a key given twice, bytes that
// are not UTF-8, nesting deeper than 100 and text behind the end are refused; any input gives a
// status.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env.h"

namespace tritter {

// Errors: DataLoss naming `path` and what is wrong.
absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text, absl::string_view path);
// Also those of the file; DataLoss when it is larger than `max_bytes`.
absl::StatusOr<nlohmann::json> ReadStrictJson(Env* env, const std::string& path,
                                              uint64_t max_bytes);

}  // namespace tritter
