#include "tests/load/process_use.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/env.h"
#include "common/status_macros.h"

namespace tritter::load {
namespace {

// The number behind "Name:" in /proc/PID/status; sizes there are in kB.
int64_t Field(absl::string_view status, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    if (!absl::StartsWith(line, name)) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    int64_t value = 0;
    if (words.size() > 1 && absl::SimpleAtoi(words[1], &value)) return value;
  }
  return 0;
}

}  // namespace

absl::StatusOr<ProcessUse> ReadProcessUse(pid_t pid) {
  const std::string folder = absl::StrCat("/proc/", pid);
  ASSIGN_OR_RETURN(const std::string stat, Env::Real()->ReadFile(JoinPath(folder, "stat")));
  ASSIGN_OR_RETURN(const std::string status, Env::Real()->ReadFile(JoinPath(folder, "status")));
  // The name of the program, in brackets, may hold anything: fields are counted behind it.
  const size_t name_end = stat.rfind(')');
  const std::vector<absl::string_view> fields = absl::StrSplit(
      absl::string_view(stat).substr(name_end == std::string::npos ? 0 : name_end + 1), ' ',
      absl::SkipEmpty());
  int64_t user = 0, system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return absl::InternalError(absl::StrCat(folder, "/stat cannot be read: ", stat));
  }
  ProcessUse out;
  out.processor =
      absl::Seconds(static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK)));
  out.resident_bytes = Field(status, "VmRSS:") * 1024;
  out.peak_resident_bytes = Field(status, "VmHWM:") * 1024;
  out.threads = Field(status, "Threads:");
  return out;
}

}  // namespace tritter::load
