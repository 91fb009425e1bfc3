// From whose memory a run goes on, instead of from a checkpoint. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/run_spec.h"

namespace tritter {

// Whether each member of a group has the whole state in memory: it is not spread over the ranks,
// and none has moments of its own. `mixed`: AreMixed.
bool HasWholeState(const RunSpec& spec, bool mixed);

// Whether a group that stops may leave the state in its members' memory: it is whole there, and the
// next group can begin with it. A mixed one cannot, and whether that is next nobody knows
// when this one stops.
bool MayLeaveInMemory(const RunSpec& spec, bool mixed);

// What a free worker says it holds of the run.
struct HeldView {
  std::string worker;
  uint64_t epoch = 0;  // that trained the state, or compared it
  int64_t step = 0;
};

struct HeldInputs {
  uint64_t newest_epoch = 0;  // of the run
  // When that began from memory: with this state. Who holds it still may go on from it.
  uint64_t origin_epoch = 0;  // 0: it did not
  int64_t origin_step = 0;
  // After a restart of the coordinator: the oldest epoch that state may be of. All after it began
  // at that step too, in memory.
  uint64_t oldest_origin = 0;  // 0: origin_epoch
  int64_t committed_step = 0;  // of the newest checkpoint
  int64_t total_steps = 0;
  int64_t failures = 0;  // epochs without progress, in a row
  bool mixed = false;    // AreMixed: the group that shall begin with it
};

struct HeldChoice {
  uint64_t epoch = 0;
  int64_t step = 0;
  std::vector<std::string> holders;  // by name
};

// The state of the highest step that lies on the course the run is on: trained by its newest epoch,
// or that with which this one began. States of older epochs are of a course that was given up.
// Nothing when a checkpoint is as good, and when the run has failed more than once without progress
// (the state itself may be the reason). Nor for a group that spreads its state over the ranks: each
// reads its part of a checkpoint.
std::optional<HeldChoice> ChooseHeld(absl::Span<const HeldView> held, const HeldInputs& in);

// A member of the newest epoch, which has ended, as it is known now.
struct FormerMember {
  std::string worker;
  bool gone = false;  // its process, or for this run: lost, replaced, at work elsewhere, draining
  bool told = false;  // it has said since that it is in no epoch, and so what it holds
};

// Those that may yet tell of a state from which the run can go on. `whole`: HasWholeState of the
// group that they were.
std::vector<std::string> YetToTell(absl::Span<const FormerMember> members, const HeldInputs& in,
                                   bool whole);

// Why steps beyond the chosen state are trained again: "no checkpoint holds them, and …". `silent`:
// YetToTell when it was chosen.
std::string WhyRepeated(const HeldInputs& in, bool whole, const std::vector<std::string>& silent);

}  // namespace tritter
