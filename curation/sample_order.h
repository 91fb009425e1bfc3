// Which sample stands at which place: a pure function of (seed, slot), O(1) memory, independent of
// workers and restarts. The global slot is step·global_batch + position. Each block of 1 000 slots
// holds every source's largest-remainder share, placed by a keyed permutation; a source's n-th slot
// takes its n-th permuted sample, rekeyed for each pass over the source.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tritter {

struct OrderedSource {
  std::string name;
  uint64_t samples = 0;  // at the run's sequence length, > 0
};

// From global slot `first_slot` on (a multiple of nothing in particular) the sources have these
// weights (>= 0, not all 0).
struct MixStage {
  uint64_t first_slot = 0;
  std::vector<double> weights;  // by source
};

struct SampleRef {
  int source;       // index into the sources
  uint64_t sample;  // k
  uint64_t pass;    // 0 for the first pass over the source
};

class SampleOrder {
 public:
  static constexpr uint64_t kBlockSlots = 1000;
  // stages[0].first_slot == 0, increasing. A block that a stage border cuts is split at the border.
  static absl::StatusOr<SampleOrder> Create(uint64_t seed, std::vector<OrderedSource> sources,
                                            std::vector<MixStage> stages);
  // Pure and thread-safe; at most one block's worth of work.
  SampleRef At(uint64_t slot) const;
  // Slots [first_slot, first_slot + count), one after the other: the work of At once a block, not
  // once a slot.
  std::vector<SampleRef> Range(uint64_t first_slot, uint64_t count) const;
  // How many of the slots [0, end) each source gets: for max_epochs checks and reports.
  std::vector<uint64_t> Counts(uint64_t end) const;

 private:
  // Slots [start, end): what a block and a stage have in common. Within it the shares are exact.
  struct Segment {
    uint64_t start, end;
  };

  SampleOrder() = default;
  size_t StageOf(uint64_t slot) const;
  Segment SegmentOf(size_t stage, uint64_t slot) const;
  // Slots of each source before `segment_start`, the start of a segment of `stage` or the end of
  // its last one.
  std::vector<uint64_t> CountsBefore(size_t stage, uint64_t segment_start) const;

  uint64_t seed_ = 0;
  std::vector<OrderedSource> sources_;
  std::vector<MixStage> stages_;
  std::vector<std::vector<uint64_t>>
      stage_counts_;  // by stage and source: slots before the stage begins
};

}  // namespace tritter
