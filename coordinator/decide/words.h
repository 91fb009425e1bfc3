// Small pieces of the sentences in which decisions give their reasons.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tritter {

std::string Count(int64_t n, absl::string_view noun);  // "1 worker", "2 workers"
std::string Ago(absl::Duration d);                     // "41 s ago"
std::string Seconds(absl::Duration d);                 // "0.5 s", "41 s", "3 min"
std::string Bytes(int64_t bytes);                      // "3 KiB", "1.5 MiB", "512 MiB", "2.5 GiB"
std::string JoinWords(const std::vector<std::string>& words);  // "a, b and c"
// "worker a", and "worker-0" for one whose name says already what it is.
std::string NamedWorker(absl::string_view name);
std::string NamedWorkers(const std::vector<std::string>& names);  // "workers a and b"
// "tries again in 2.0 s (2 epochs in a row made no progress, it gives up after 5)".
std::string TriesAgain(absl::Duration after, int64_t failures, int64_t budget);
// Without what Ago has put into it: for a text that is kept, in which an age would become untrue.
std::string WithoutAges(absl::string_view text);

}  // namespace tritter
