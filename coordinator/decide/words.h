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
// "it goes on from step 462, which w1 holds in memory (newest checkpoint: step 400)"; without
// holders "it goes on from its checkpoint of step 400". `committed` 0: there is none.
std::string GoesOnWords(const std::vector<std::string>& holders, int64_t step, int64_t committed);
// "w1 goes to run el (r-1), and with it the state of step 400 in its memory: steps 1 to 400 are
// trained again when the run goes on (newest checkpoint: none)". `left`: of the newest state that
// remains, there or in a memory.
std::string GivenUpWords(const std::vector<std::string>& workers, const std::string& to,
                         int64_t step, int64_t left, int64_t committed);
// Without what Ago has put into it: for a text that is kept, in which an age would become untrue.
std::string WithoutAges(absl::string_view text);

}  // namespace tritter
