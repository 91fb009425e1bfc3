// What of a .tpack stays in memory and what is fetched for every token: pure arithmetic over the
// file's tensor table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/streaming/stream_options.h"
#include "model/tpack_format.h"

namespace tritter {

// Bytes of the file, both ends multiples of DirectFile::kAlignment: what a direct read of the
// tensors between them reads. The last one may reach past the end of the file.
struct FileRange {
  uint64_t begin = 0, end = 0;
  uint64_t bytes() const { return end - begin; }
};

struct StreamPlan {
  struct Group {
    int64_t first = 0, layers = 0;
    FileRange range;
  };
  FileRange front;              // embedding and the first layers, which stay
  FileRange back;               // final norm and head
  int64_t resident_layers = 0;  // the first ones
  std::vector<Group> groups;    // of the others, in order; none: all layers stay
  uint64_t buffer_bytes = 0;    // of each of the two that groups are fetched into

  uint64_t memory_bytes() const { return front.bytes() + back.bytes() + 2 * buffer_bytes; }
  uint64_t streamed_bytes() const;  // that every pass over the layers reads
};

// As many layers stay as fit into options.max_weight_bytes (> 0) beside two buffers of the largest
// group. `path` is for messages. Errors: ResourceExhausted, with the arithmetic, when not even that
// fits.
absl::StatusOr<StreamPlan> PlanStreaming(const TpackHeader& header, const StreamOptions& options,
                                         const std::string& path);

// How a model is to be loaded.
struct LoadPlan {
  std::optional<StreamPlan> streamed;  // nothing: all of it stays
  int64_t weight_bytes = 0;            // in memory
  int64_t max_weight_bytes = 0;        // that were allowed; 0: any
};

// Entries [begin, end) of the table that belong to a layer.
struct EntryRange {
  size_t begin = 0, end = 0;
};
std::vector<EntryRange> EntriesOfLayers(const TpackHeader& header);

}  // namespace tritter
