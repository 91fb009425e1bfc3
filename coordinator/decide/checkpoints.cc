#include "coordinator/decide/checkpoints.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tritter {

std::vector<int64_t> DecideRetention(absl::Span<const int64_t> steps, int64_t keep,
                                     int64_t newest_verified) {
  std::vector<int64_t> drop;
  keep = std::max<int64_t>(1, keep);
  const int64_t excess = static_cast<int64_t>(steps.size()) - keep;
  for (int64_t i = 0; i < excess; ++i) {
    if (steps[i] != newest_verified) drop.push_back(steps[i]);
  }
  return drop;
}

namespace {
constexpr char kOrAnew[] =
    "; to train from the beginning cancel the run and submit it again (tritterctl local: with "
    "another --dir)";
}  // namespace

ResumeDecision DecideResume(absl::Span<const CheckedCheckpoint> checked) {
  ResumeDecision out;
  std::string skipped;
  for (const CheckedCheckpoint& c : checked) {
    if (c.status.ok()) {
      out.step = c.step;
      break;
    }
    if (!absl::IsDataLoss(c.status) && !absl::IsNotFound(c.status)) {
      out.wait = true;
      out.skipped.clear();
      out.reason = absl::StrCat("the checkpoint of step ", c.step,
                                " cannot be read now: ", std::string(c.status.message()), "; ",
                                &c != &checked.back()
                                    ? "make it readable, or remove its folder to go on without it"
                                    : "make it readable",
                                kOrAnew);
      return out;
    }
    out.skipped.push_back(c.step);
    absl::StrAppend(&skipped, skipped.empty() ? "" : "; ", "step ", c.step, ": ",
                    std::string(c.status.message()));
  }
  if (out.step == 0 && !checked.empty()) {
    out.wait = true;
    out.skipped.clear();
    out.reason = absl::StrCat("no checkpoint can be used (", skipped, "); put one back", kOrAnew);
    return out;
  }
  out.reason =
      out.step > 0 ? absl::StrCat("from the checkpoint of step ", out.step) : "from the beginning";
  if (!skipped.empty()) absl::StrAppend(&out.reason, " (skipped ", skipped, ")");
  return out;
}

}  // namespace tritter
