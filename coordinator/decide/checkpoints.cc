#include "coordinator/decide/checkpoints.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace tritter {

std::vector<int64_t> DecideRetention(absl::Span<const RetainedCheckpoint> checkpoints,
                                     const RetentionRule& rule, int64_t newest_verified) {
  int64_t best = -1, extensible = -1;
  double lowest = std::numeric_limits<double>::infinity();
  for (const RetainedCheckpoint& c : checkpoints) {
    if (c.step <= rule.extensible) extensible = c.step;
    if (!rule.keep_best || !c.held_out_loss.has_value() || !(*c.held_out_loss <= lowest)) continue;
    lowest = *c.held_out_loss;
    best = c.step;
  }
  std::vector<int64_t> drop;
  const int64_t excess = static_cast<int64_t>(checkpoints.size()) - std::max<int64_t>(1, rule.keep);
  int64_t multiple = 0;  // the last one that has its checkpoint
  for (int64_t i = 0; i < excess; ++i) {
    const int64_t step = checkpoints[i].step;
    bool keep = step == newest_verified || step == best || step == extensible;
    if (rule.keep_every > 0 && step / rule.keep_every > multiple) {
      multiple = step / rule.keep_every;
      keep = true;
    }
    if (!keep) drop.push_back(step);
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
  bool found = false;
  for (const CheckedCheckpoint& c : checked) {
    if (c.status.ok()) {
      out.step = c.step;
      found = true;
      break;
    }
    if (!absl::IsDataLoss(c.status) && !absl::IsNotFound(c.status)) {
      out.wait = true;
      out.cause = WaitCause::kCheckpointUnreadable;
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
  if (!found && !checked.empty()) {
    out.wait = true;
    out.cause = WaitCause::kCheckpointsDamaged;
    out.skipped.clear();
    out.reason = absl::StrCat("no checkpoint can be used (", skipped, "); put one back", kOrAnew);
    return out;
  }
  out.reason =
      found ? absl::StrCat("from the checkpoint of step ", out.step) : "from the beginning";
  if (!skipped.empty()) absl::StrAppend(&out.reason, " (skipped ", skipped, ")");
  return out;
}

}  // namespace tritter
