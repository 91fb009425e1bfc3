#include "inference/memory_limit.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace tritter {
namespace {

// The number behind `key` in lines of "key number [unit]"; -1 when there is none.
int64_t NumberOf(Env* env, const std::string& path, absl::string_view key) {
  const absl::StatusOr<std::string> text = env->ReadFile(path);
  if (!text.ok()) return -1;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    const size_t at = key.empty() ? 0 : 1;  // a file of one number has no keys
    int64_t number = 0;
    if (words.size() > at && (key.empty() || words[0] == key) &&
        absl::SimpleAtoi(words[at], &number)) {
      return number;
    }
  }
  return -1;
}

}  // namespace

int64_t AvailableMemoryBytes(Env* env) {
  const std::string group = "/sys/fs/cgroup/";
  int64_t available = std::max<int64_t>(0, NumberOf(env, "/proc/meminfo", "MemAvailable:")) * 1024;
  const int64_t limit = NumberOf(env, group + "memory.max", "");
  const int64_t used = NumberOf(env, group + "memory.current", "");
  if (limit < 0 || used < 0) return available;
  const int64_t files =
      std::max<int64_t>(0, NumberOf(env, group + "memory.stat", "inactive_file")) +
      std::max<int64_t>(0, NumberOf(env, group + "memory.stat", "active_file"));
  const int64_t left = std::clamp<int64_t>(limit - used + files, 0, limit);
  return available == 0 ? left : std::min(available, left);
}

}  // namespace tritter
