// What a step on a GPU needs to know of its rows, as arrays, and which captured graph serves it.
// Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "inference/forward_backend.h"
#include "kernels/cuda/attention_shapes.h"

namespace tritter {

// Rows that are computed (those of the step, then idle ones) and splits that attention allows for:
// what a graph is captured for. Every step of as many rows or fewer, and of positions within the
// splits, runs on it: tokens, positions and pages are read from the device's memory.
struct StepShape {
  int rows = 0, splits = 0;
  bool operator==(const StepShape&) const = default;
  bool operator<(const StepShape& o) const {
    return rows != o.rows ? rows < o.rows : splits < o.splits;
  }
};

// Largest number of rows of a step that runs as a graph.
inline constexpr int kMostGraphRows = 64;
// Rows: the next power of two; splits: the next power of four. So a server meets at most 7 row
// counts and a handful of depths.
StepShape GraphShape(int64_t rows, int64_t last_position);
// As many splits as needed.
StepShape PlainShape(int64_t rows, int64_t last_position);

// Where pages lie: page p at pool + p * page_bytes.
struct PagePlace {
  const uint8_t* pool;
  int64_t page_bytes;
};

struct StepInputs {
  // [shape.rows]; idle rows stand at position -1.
  std::vector<int32_t> tokens, positions, first_page;
  std::vector<int32_t> page_ids;    // of each sequence one after the other, as far as it is read
  std::vector<int32_t> final_rows;  // rows that want logits, then those that want hidden states
  std::vector<cuda::RowBundle> bundles;
  int64_t logits = 0, hidden = 0;  // how many of final_rows
};
// Bundles of one row each when `bundle_rows` is 1, as a graph needs them. Of a graph all rows are
// final ones, idle ones too.
StepInputs MakeStepInputs(absl::Span<const ForwardRow> rows, const StepShape& shape,
                          const PagePlace& place, int bundle_rows, bool graph);

}  // namespace tritter
