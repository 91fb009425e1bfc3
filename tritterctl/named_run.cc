#include "tritterctl/named_run.h"

#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tritter {
namespace {
constexpr size_t kLongestName = 63;
}  // namespace

std::string RunTitle(const v1::Run& run) {
  return absl::StrCat(run.name(), " (", run.run_id(), ")");
}

std::string TakenNote(const v1::Run& run) {
  if (run.runs_of_name() < 2) return "";
  return absl::StrCat(run.runs_of_name(), " runs are named ", run.name(), "; this is the newest, ",
                      run.run_id());
}

absl::StatusOr<v1::Run> GetRunToRead(RunApi* client, const std::string& run) {
  absl::StatusOr<v1::Run> out = client->GetRun(run);
  if (!out.ok()) return out;
  if (const std::string note = TakenNote(*out); !note.empty())
    std::fprintf(stderr, "%s\n", note.c_str());
  return out;
}

std::string DerivedName(const std::string& name, absl::string_view how) {
  const std::string suffix = absl::StrCat("-", how);
  size_t end = name.size();
  while (end > 0 && absl::ascii_isdigit(static_cast<unsigned char>(name[end - 1]))) --end;
  const bool numbered = end < name.size() && end > 0 && name[end - 1] == '-';
  absl::string_view stem(name.data(), numbered ? end - 1 : name.size());
  if (!absl::EndsWith(stem, suffix) || stem.size() == suffix.size()) {
    stem = name;
  } else {
    stem.remove_suffix(suffix.size());
  }
  return absl::StrCat(stem.substr(0, kLongestName - suffix.size()), suffix);
}

void PrintWarning(const v1::SubmitRunResponse& answer) {
  if (!answer.warning().empty()) std::fprintf(stderr, "warning: %s\n", answer.warning().c_str());
}

}  // namespace tritter
