#include "curation/sample_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace tritter {
namespace {

// Separate streams of keys for the two uses of permutations.
constexpr uint64_t kPlacementStream = 1, kSampleStream = 2;

// Largest-remainder share of `slots` for each weight: floors first, what is left goes to the
// largest remainders (ties to the earlier source). A weight of 0 never gets a slot.
std::vector<uint64_t> Shares(const std::vector<double>& weights, uint64_t slots) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<uint64_t> shares(weights.size(), 0);
  std::vector<std::pair<double, size_t>> remainders;
  uint64_t given = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    const double exact = weights[i] / sum * static_cast<double>(slots);
    shares[i] = std::min(static_cast<uint64_t>(exact), slots - given);
    given += shares[i];
    remainders.emplace_back(exact - std::floor(exact), i);
  }
  std::sort(remainders.begin(), remainders.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  for (size_t r = 0; given < slots; r = (r + 1) % remainders.size(), ++given)
    ++shares[remainders[r].second];
  return shares;
}

// Which source a place of the permuted segment belongs to: the shares lie one after the other.
int SourceOf(const std::vector<uint64_t>& shares, uint64_t place) {
  size_t i = 0;
  while (place >= shares[i]) place -= shares[i++];
  return static_cast<int>(i);
}

}  // namespace

absl::StatusOr<SampleOrder> SampleOrder::Create(uint64_t seed, std::vector<OrderedSource> sources,
                                                std::vector<MixStage> stages) {
  if (sources.empty())
    return absl::InvalidArgumentError("sample order: expected at least one source, actual none");
  for (const OrderedSource& s : sources) {
    if (s.samples == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample order: source '", s.name,
                       "': expected at least one whole sample, actual 0; use more text or a "
                       "shorter sequence_length"));
    }
  }
  if (stages.empty() || stages[0].first_slot != 0) {
    return absl::InvalidArgumentError("sample order: the first stage must begin at slot 0");
  }
  for (size_t s = 0; s < stages.size(); ++s) {
    const MixStage& stage = stages[s];
    if (s > 0 && stage.first_slot <= stages[s - 1].first_slot) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample order: stage ", s, ": first slot: expected above ",
                       stages[s - 1].first_slot, ", actual ", stage.first_slot));
    }
    if (stage.weights.size() != sources.size()) {
      return absl::InvalidArgumentError(absl::StrCat("sample order: stage ", s,
                                                     ": weights: expected ", sources.size(),
                                                     ", actual ", stage.weights.size()));
    }
    double sum = 0;
    for (const double w : stage.weights) {
      if (!(w >= 0) || !std::isfinite(w)) {
        return absl::InvalidArgumentError(
            absl::StrCat("sample order: stage ", s, ": weight: expected 0 or more, actual ", w));
      }
      sum += w;
    }
    if (!(sum > 0) || !std::isfinite(sum)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "sample order: stage ", s, ": sum of weights: expected above 0, actual ", sum));
    }
  }
  SampleOrder order;
  order.seed_ = seed;
  order.sources_ = std::move(sources);
  order.stages_ = std::move(stages);
  order.stage_counts_.emplace_back(order.sources_.size(), 0);
  for (size_t s = 1; s < order.stages_.size(); ++s) {
    // The stage before ends here, so everything up to here is whole segments of it.
    order.stage_counts_.push_back(order.CountsBefore(s - 1, order.stages_[s].first_slot));
  }
  return order;
}

size_t SampleOrder::StageOf(uint64_t slot) const {
  size_t s = stages_.size() - 1;
  while (stages_[s].first_slot > slot) --s;
  return s;
}

SampleOrder::Segment SampleOrder::SegmentOf(size_t stage, uint64_t slot) const {
  const uint64_t block = slot / kBlockSlots * kBlockSlots;
  Segment segment{std::max(block, stages_[stage].first_slot), block + kBlockSlots};
  if (stage + 1 < stages_.size())
    segment.end = std::min(segment.end, stages_[stage + 1].first_slot);
  return segment;
}

std::vector<uint64_t> SampleOrder::CountsBefore(size_t stage, uint64_t segment_start) const {
  const MixStage& s = stages_[stage];
  std::vector<uint64_t> counts = stage_counts_[stage];
  const auto add = [&](uint64_t slots, uint64_t times) {
    if (slots == 0 || times == 0) return;
    const std::vector<uint64_t> shares = Shares(s.weights, slots);
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += times * shares[i];
  };
  if (segment_start == s.first_slot) return counts;
  // A short segment up to the first block border, whole blocks, and (only at the stage's end) a
  // short one after them.
  const uint64_t head_end =
      std::min(segment_start, (s.first_slot + kBlockSlots - 1) / kBlockSlots * kBlockSlots);
  add(head_end - s.first_slot, 1);
  add(kBlockSlots, (segment_start - head_end) / kBlockSlots);
  add((segment_start - head_end) % kBlockSlots, 1);
  return counts;
}

SampleRef SampleOrder::At(uint64_t slot) const { return Range(slot, 1)[0]; }

std::vector<SampleRef> SampleOrder::Range(uint64_t first_slot, uint64_t count) const {
  std::vector<SampleRef> refs;
  refs.reserve(count);
  const uint64_t end = first_slot + count;
  for (uint64_t slot = first_slot; slot < end;) {
    const size_t stage = StageOf(slot);
    const Segment segment = SegmentOf(stage, slot);
    const uint64_t length = segment.end - segment.start;
    const std::vector<uint64_t> shares = Shares(stages_[stage].weights, length);
    const Permutation placement(MixKey(seed_, kPlacementStream, segment.start), length);
    const auto only = std::find(shares.begin(), shares.end(), length);
    const auto source_at = [&](uint64_t s) {
      return only != shares.end() ? static_cast<int>(only - shares.begin())
                                  : SourceOf(shares, placement(s - segment.start));
    };
    std::vector<uint64_t> ordinals = CountsBefore(stage, segment.start);
    if (only != shares.end()) {
      ordinals[only - shares.begin()] += slot - segment.start;
    } else {
      for (uint64_t before = segment.start; before < slot; ++before) ++ordinals[source_at(before)];
    }
    for (; slot < std::min(end, segment.end); ++slot) {
      const int source = source_at(slot);
      const OrderedSource& s = sources_[source];
      const uint64_t ordinal = ordinals[source]++;
      const uint64_t pass = ordinal / s.samples;
      const Permutation order(MixKey(seed_, kSampleStream, HashString(s.name), pass), s.samples);
      refs.push_back({source, order(ordinal % s.samples), pass});
    }
  }
  return refs;
}

std::vector<uint64_t> SampleOrder::Counts(uint64_t end) const {
  if (end == 0) return std::vector<uint64_t>(sources_.size(), 0);
  const size_t stage = StageOf(end - 1);
  const Segment segment = SegmentOf(stage, end - 1);
  std::vector<uint64_t> counts = CountsBefore(stage, segment.start);
  const uint64_t length = segment.end - segment.start;
  const std::vector<uint64_t> shares = Shares(stages_[stage].weights, length);
  const Permutation placement(MixKey(seed_, kPlacementStream, segment.start), length);
  for (uint64_t p = 0; p < end - segment.start; ++p) ++counts[SourceOf(shares, placement(p))];
  return counts;
}

}  // namespace tritter
