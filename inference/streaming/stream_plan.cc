#include "inference/streaming/stream_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/direct_file.h"

namespace tritter {
namespace {

constexpr uint64_t kUnit = DirectFile::kAlignment;

FileRange Around(uint64_t begin, uint64_t end) {
  return {begin / kUnit * kUnit, (end + kUnit - 1) / kUnit * kUnit};
}

// Where things begin in the file: layer i at [i], what follows the layers at [layers].
std::vector<uint64_t> LayerOffsets(const TpackHeader& header) {
  std::vector<uint64_t> offsets;
  size_t end = 0;
  for (const EntryRange& layer : EntriesOfLayers(header)) {
    offsets.push_back(header.entries[layer.begin].offset);
    end = layer.end;
  }
  offsets.push_back(header.entries[end].offset);  // the final norm
  return offsets;
}

// The first `resident` layers stay, the others go into groups.
StreamPlan Split(const TpackHeader& header, const std::vector<uint64_t>& offsets, int64_t resident,
                 int64_t group) {
  StreamPlan plan;
  const int64_t layers = static_cast<int64_t>(offsets.size()) - 1;
  plan.resident_layers = resident;
  plan.front = Around(header.entries[0].offset, offsets[static_cast<size_t>(resident)]);
  plan.back = Around(offsets.back(), header.file_bytes);
  for (int64_t first = resident; first < layers; first += group) {
    const int64_t count = std::min(group, layers - first);
    const FileRange range =
        Around(offsets[static_cast<size_t>(first)], offsets[static_cast<size_t>(first + count)]);
    plan.groups.push_back({first, count, range});
    plan.buffer_bytes = std::max(plan.buffer_bytes, range.bytes());
  }
  return plan;
}

}  // namespace

uint64_t StreamPlan::streamed_bytes() const {
  uint64_t bytes = 0;
  for (const Group& group : groups) bytes += group.range.bytes();
  return bytes;
}

std::vector<EntryRange> EntriesOfLayers(const TpackHeader& header) {
  std::vector<EntryRange> layers;
  for (size_t i = 0; i < header.entries.size(); ++i) {
    const std::string& name = header.entries[i].name;
    if (!absl::StartsWith(name, "layers.")) continue;
    if (!absl::StartsWith(name, absl::StrCat("layers.", layers.size(), "."))) {
      layers.back().end = i + 1;  // another tensor of the layer at the end of the list
    } else {
      layers.push_back({i, i + 1});
    }
  }
  return layers;
}

absl::StatusOr<StreamPlan> PlanStreaming(const TpackHeader& header, const StreamOptions& options,
                                         const std::string& path) {
  const std::vector<uint64_t> offsets = LayerOffsets(header);
  const int64_t layers = header.config.layers;
  const uint64_t limit = static_cast<uint64_t>(options.max_weight_bytes);
  const int64_t group = std::clamp<int64_t>(options.layers, 1, layers);
  for (int64_t resident = layers; resident >= 0; --resident) {
    StreamPlan plan = Split(header, offsets, resident, group);
    if (plan.memory_bytes() <= limit) return plan;
  }
  const StreamPlan least = Split(header, offsets, 0, group);
  std::string message = absl::StrCat(
      path, ": with its layers streamed from disk the model needs ", least.memory_bytes(),
      " bytes for weights = ", least.front.bytes(), " of the embedding + ", least.back.bytes(),
      " of final norm and head + 2 buffers of ", least.buffer_bytes, " (", group, " of ", layers,
      " layers), --max-weight-memory allows ", limit, "; raise it to ", least.memory_bytes());
  for (int64_t smaller = group - 1; smaller >= 1; --smaller) {
    const uint64_t bytes = Split(header, offsets, 0, smaller).memory_bytes();
    if (bytes > limit && smaller > 1) continue;
    absl::StrAppend(&message, ", or say --stream-layers ", smaller, " (",
                    bytes <= limit ? "" : "and raise it to ", bytes, ")");
    break;
  }
  return absl::ResourceExhaustedError(message);
}

}  // namespace tritter
