// Small pieces of the sentences in which decisions give their reasons.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tritter {

std::string Count(int64_t n, absl::string_view noun);          // "1 worker", "2 workers"
std::string Ago(absl::Duration d);                             // "41 s ago"
std::string Seconds(absl::Duration d);                         // "0.5 s", "41 s", "3 min"
std::string Bytes(int64_t bytes);                              // "512 MiB", "2.5 GiB"
std::string JoinWords(const std::vector<std::string>& words);  // "a, b and c"

}  // namespace tritter
