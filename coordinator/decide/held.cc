#include "coordinator/decide/held.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "coordinator/decide/devices.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

constexpr int64_t kMostFailures = 1;  // beyond, the state itself may be the reason

}  // namespace

bool HasWholeState(const RunSpec& spec, bool mixed) {
  return !IsOuter(spec) && !spec.shard_optimizer && !mixed;
}

bool MayLeaveInMemory(const RunSpec& spec, bool mixed) {
  return HasWholeState(spec, mixed) && !MayBeMixed(spec);
}

std::optional<HeldChoice> ChooseHeld(absl::Span<const HeldView> held, const HeldInputs& in) {
  if (in.failures > kMostFailures || in.mixed) return std::nullopt;
  const auto usable = [&](const HeldView& h) {
    const bool newest = h.epoch == in.newest_epoch;
    const uint64_t oldest = in.oldest_origin > 0 ? in.oldest_origin : in.origin_epoch;
    const bool origin = in.origin_epoch > 0 && h.epoch >= oldest && h.epoch <= in.origin_epoch &&
                        h.step == in.origin_step;
    return (newest || origin) && h.step > in.committed_step && h.step <= in.total_steps;
  };
  HeldChoice best;
  for (const HeldView& h : held) {
    if (usable(h) && std::tie(h.step, h.epoch) > std::tie(best.step, best.epoch)) {
      best.step = h.step;
      best.epoch = h.epoch;
    }
  }
  if (best.step == 0) return std::nullopt;
  for (const HeldView& h : held) {
    if (h.epoch == best.epoch && h.step == best.step) best.holders.push_back(h.worker);
  }
  std::sort(best.holders.begin(), best.holders.end());
  return best;
}

std::vector<std::string> YetToTell(absl::Span<const FormerMember> members, const HeldInputs& in,
                                   bool whole) {
  std::vector<std::string> out;
  if (!whole || in.mixed || in.failures > kMostFailures) return out;
  for (const FormerMember& m : members) {
    if (!m.gone && !m.told) out.push_back(m.worker);
  }
  return out;
}

std::string WhyRepeated(const HeldInputs& in, bool whole, const std::vector<std::string>& silent) {
  if (!whole || in.mixed)
    return "no checkpoint holds them, and only there the state of such a group is whole";
  if (in.failures > kMostFailures) {
    return absl::StrCat("no checkpoint holds them, and after ", Count(in.failures, "epoch"),
                        " without progress a state in memory is not gone on from");
  }
  if (!silent.empty()) {
    return absl::StrCat("no checkpoint holds them, and ", JoinWords(silent),
                        " did not tell in time what ",
                        silent.size() == 1 ? "it holds" : "they hold", " in memory");
  }
  return "no checkpoint holds them, and no worker that can go on has told of a later state in its "
         "memory";
}

}  // namespace tritter
