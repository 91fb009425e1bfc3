// Where the forward pass gets the weights of one layer after the other.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "inference/layer_weights.h"

namespace tritter {

// What a source fetches, and what it has done since it was made; all zero where nothing is fetched.
struct StreamStats {
  int64_t bytes_per_pass = 0;  // over all layers
  // Of plain reads (from disk), plain copies (to a GPU), measured when the model was loaded.
  double source_bytes_per_second = 0;
  int64_t bytes_read = 0;
  absl::Duration waiting;  // for layers that were to be computed with
};

// Owned by the model. Layers may all be in memory, or come and go: from disk (inference/streaming).
class LayerSource {
 public:
  virtual ~LayerSource() = default;

  // The layer when it is always there, for any thread at any time; null when it is to be acquired.
  virtual const LayerWeights* Resident(int64_t layer) const = 0;

  // Blocks until the weights of a layer are there; they stay until it is released. The layers that
  // are not resident are acquired in their order, then from the first again (after an error: from
  // the first), each released before the next is acquired, by one thread at a time. Errors: what
  // fetching them ran into; nothing is acquired then.
  virtual absl::StatusOr<const LayerWeights*> Acquire(int64_t layer) = 0;
  virtual void Release(int64_t layer) = 0;

  virtual StreamStats stats() const { return {}; }  // thread-safe
};

}  // namespace tritter
