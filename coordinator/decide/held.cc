#include "coordinator/decide/held.h"

#include <algorithm>
#include <tuple>

#include "coordinator/decide/devices.h"

namespace tritter {

bool HasWholeState(const RunSpec& spec, bool mixed) {
  return !IsOuter(spec) && !spec.shard_optimizer && !mixed;
}

bool MayLeaveInMemory(const RunSpec& spec, bool mixed) {
  return HasWholeState(spec, mixed) && !MayBeMixed(spec);
}

std::optional<HeldChoice> ChooseHeld(absl::Span<const HeldView> held, const HeldInputs& in) {
  if (in.failures > 1 || in.mixed) return std::nullopt;
  const auto usable = [&](const HeldView& h) {
    const bool newest = h.epoch == in.newest_epoch;
    const bool origin =
        in.origin_epoch > 0 && h.epoch == in.origin_epoch && h.step == in.origin_step;
    return (newest || origin) && h.step > in.committed_step && h.step < in.total_steps;
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

}  // namespace tritter
