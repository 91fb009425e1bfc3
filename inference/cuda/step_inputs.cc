#include "inference/cuda/step_inputs.h"

#include <algorithm>

namespace tritter {
namespace {

int SplitsFor(int64_t last_position) {
  return static_cast<int>(last_position / cuda::kSplitPositions) + 1;
}

}  // namespace

StepShape GraphShape(int64_t rows, int64_t last_position) {
  StepShape shape = {1, 1};
  while (shape.rows < rows) shape.rows *= 2;
  while (shape.splits < SplitsFor(last_position)) shape.splits *= 4;
  return shape;
}

StepShape PlainShape(int64_t rows, int64_t last_position) {
  return {static_cast<int>(rows), SplitsFor(last_position)};
}

StepInputs MakeStepInputs(absl::Span<const ForwardRow> rows, const StepShape& shape,
                          const PagePlace& place, int bundle_rows, bool graph) {
  StepInputs in;
  const int count = static_cast<int>(rows.size());
  for (int t = 0; t < count; ++t) {
    const ForwardRow& row = rows[static_cast<size_t>(t)];
    const bool goes_on = t > 0 && rows[static_cast<size_t>(t - 1)].pages == row.pages;
    in.tokens.push_back(row.token);
    in.positions.push_back(static_cast<int32_t>(row.position));
    in.first_page.push_back(goes_on ? in.first_page.back()
                                    : static_cast<int32_t>(in.page_ids.size()));
    const size_t pages = static_cast<size_t>(KvPagesFor(row.position + 1));
    for (size_t p = in.page_ids.size() - static_cast<size_t>(in.first_page.back()); p < pages; ++p)
      in.page_ids.push_back(
          static_cast<int32_t>(((*row.pages)[p] - place.pool) / place.page_bytes));
    if (goes_on && in.bundles.back().count < bundle_rows &&
        row.position == rows[static_cast<size_t>(t - 1)].position + 1) {
      ++in.bundles.back().count;
    } else {
      in.bundles.push_back({t, 1});
    }
    if (row.wants_logits) in.final_rows.push_back(t);
  }
  in.logits = static_cast<int64_t>(in.final_rows.size());
  for (int t = 0; t < count; ++t) {
    if (rows[static_cast<size_t>(t)].wants_hidden) in.final_rows.push_back(t);
  }
  in.hidden = static_cast<int64_t>(in.final_rows.size()) - in.logits;
  for (int t = count; t < shape.rows; ++t) {
    in.tokens.push_back(0);
    in.positions.push_back(-1);
    in.first_page.push_back(0);
    in.bundles.push_back({t, 1});
    if (graph) in.final_rows.push_back(t);
  }
  return in;
}

}  // namespace tritter
