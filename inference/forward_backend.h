// What computes the forward pass (docs/numerics.md) of a served model: this CPU (forward.h), or a
// GPU (cuda/). The engine knows nothing else of the machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "inference/kv_pages.h"
#include "inference/packed_model.h"
#include "inference/streaming/stream_options.h"

namespace tritter {

// Keys and values of positions before `position` are in the pages already, or come from earlier
// rows of the same batch.
struct ForwardRow {
  int32_t token = 0;
  int64_t position = 0;
  // Page table of the row's sequence, covers `position`; pages that no row sees may be null.
  const std::vector<uint8_t*>* pages = nullptr;
  bool wants_logits = false;
  bool wants_hidden = false;
};

// A row is one position of one sequence; rows of many sequences, decoding or in prefill, are
// computed together. What a row computes depends on its own sequence only. Owned by the engine; Run
// is called from its scheduler thread alone.
class ForwardBackend {
 public:
  virtual ~ForwardBackend() = default;

  virtual std::string name() const = 0;  // of the kernels, for logs and metrics
  virtual const KvPageLayout& layout() const = 0;
  virtual KvMemory kv_memory() { return {}; }  // where the pages of the rows lie

  // Stores keys and values of every row and computes the logits of those that want them, part by
  // part: use(first, count) is called for rows [first, first + count) of those, in order, and
  // Logits gives them until it returns. Errors: those of LayerSource::Acquire; Unavailable when the
  // device has failed. Keys and values of the rows are then worth nothing.
  virtual absl::Status Run(absl::Span<const ForwardRow> rows,
                           absl::FunctionRef<void(int64_t first, int64_t count)> use) = 0;
  // [vocabulary] of the i-th row that wants logits.
  virtual absl::Span<const float> Logits(int64_t i) const = 0;
  // [hidden], behind the final norm, of the i-th row that wants it; until the next Run.
  virtual absl::Span<const float> Hidden(int64_t i) const = 0;

  // Of layers that are fetched for every pass. Thread-safe.
  virtual StreamStats stream_stats() const { return {}; }
};

// For `model`, which outlives it and has all its weights in this machine's memory, and at most
// `kv_pages` pages; `streaming` is of the weights in the memory of the device.
using ForwardFactory = std::function<absl::StatusOr<std::unique_ptr<ForwardBackend>>(
    const PackedModel& model, KvFormat kv_format, int64_t kv_pages,
    const StreamOptions& streaming)>;

}  // namespace tritter
