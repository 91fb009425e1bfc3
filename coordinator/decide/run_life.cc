#include "coordinator/decide/run_life.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

// "paused at step 241; the 19 steps after it are lost: worker b lost".
std::string Stopped(const RunRecord& run, const EpochEnd& end, int64_t committed) {
  const bool cancelled = run.intent == Intent::kCancel;
  std::string out = !cancelled ? "paused" : end.killed ? "killed" : "cancelled";
  if (committed > 0) {
    absl::StrAppend(&out, " at step ", committed);
  } else if (run.total_steps == 0) {
    absl::StrAppend(&out, " before it began");
  } else {
    absl::StrAppend(&out, " before its first ", run.step == 0 ? "step" : "checkpoint");
  }
  // A group that paused has written all it has trained, or leaves that in its members' memory.
  const int64_t lost = run.step - committed;
  if (lost <= 0 || (end.clean && !cancelled && !end.waited)) return out;
  if (!cancelled && !end.holders.empty()) {
    absl::StrAppend(&out, committed > 0 ? " (of its newest checkpoint); the " : "; its ",
                    Count(lost, "step"), committed > 0 ? " after it " : " ",
                    lost == 1 ? "is" : "are", " in the memory of ", JoinWords(end.holders),
                    " alone, until other work comes there");
    return out;
  }
  absl::StrAppend(&out, committed > 0 ? " (of its newest checkpoint); the " : "; its ",
                  Count(lost, "step"), committed > 0 ? " after it " : " ",
                  lost == 1 ? "is lost" : "are lost");
  if (!end.clean && !end.killed) absl::StrAppend(&out, ": ", end.cause);
  return out;
}

absl::Duration RetryDelay(int64_t failures, const RetryOptions& options) {
  if (failures < 2) return absl::ZeroDuration();  // after progress, and the first time without
  absl::Duration delay = options.first_delay;
  for (int64_t i = 2; i < failures && delay < options.longest_delay; ++i) delay *= 2;
  return std::min(delay, options.longest_delay);
}

}  // namespace

RetryOptions RetryOptionsOf(const RunSpec& spec) {
  return {spec.retry_budget, absl::Seconds(spec.retry_delay),
          absl::Seconds(spec.retry_longest_delay)};
}

std::string StateName(v1::RunState state) {
  std::string name = v1::RunState_Name(state);
  constexpr size_t kPrefix = sizeof("RUN_STATE_") - 1;
  return name.size() > kPrefix ? absl::AsciiStrToLower(name.substr(kPrefix))
                               : absl::StrCat("state ", state);
}

bool IsFinal(v1::RunState state) {
  return state == v1::RUN_STATE_COMPLETED || state == v1::RUN_STATE_FAILED ||
         state == v1::RUN_STATE_CANCELLED;
}

bool NeedsWorkers(v1::RunState state) {
  return state == v1::RUN_STATE_QUEUED || state == v1::RUN_STATE_RUNNING;
}

RunVerdict DecideAfterEpoch(const RunRecord& run, const EpochEnd& end, int64_t committed,
                            bool exports, const RetryOptions& options) {
  RunVerdict out;
  if (run.total_steps > 0 && committed >= run.total_steps && run.intent != Intent::kCancel) {
    out.state = exports ? v1::RUN_STATE_EXPORTING : v1::RUN_STATE_COMPLETED;
    out.reason = exports ? absl::StrCat("trained ", run.total_steps, " steps; exporting")
                         : absl::StrCat("trained ", run.total_steps, " steps");
    return out;
  }
  if (end.permanent) {
    out.state = v1::RUN_STATE_FAILED;
    out.reason = end.cause;
    return out;
  }
  if (run.intent == Intent::kCancel) {
    out.state = v1::RUN_STATE_CANCELLED;
    out.reason = Stopped(run, end, committed);
    return out;
  }
  if (run.intent == Intent::kPause) {
    out.state = v1::RUN_STATE_PAUSED;
    out.reason = Stopped(run, end, committed);
    return out;
  }
  if (end.clean) {  // told to stop, and the wish was taken back meanwhile
    out.reason = absl::StrCat("goes on from step ", committed);
    return out;
  }
  out.failures = end.progress ? 0 : run.failures + 1;
  if (out.failures >= options.budget) {
    out.state = v1::RUN_STATE_FAILED;
    out.reason = absl::StrCat("gave up after ", Count(out.failures, "epoch"),
                              " without progress; the last: ", end.cause);
    return out;
  }
  out.retry_after = RetryDelay(out.failures, options);
  out.reason = end.cause;
  if (out.retry_after > absl::ZeroDuration()) {
    absl::StrAppend(&out.reason, "; ", TriesAgain(out.retry_after, out.failures, options.budget));
  }
  return out;
}

}  // namespace tritter
