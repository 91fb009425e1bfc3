// How the weights of a model lie in a GPU's memory, what of them stays there and what is copied
// there for every pass: pure arithmetic.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "inference/streaming/stream_options.h"
#include "kernels/cuda/row_layout.h"
#include "model/config.h"
#include "model/packed_model_file.h"

namespace tritter {

// Bytes of an int8 row of `width` columns, padded for the products.
constexpr int64_t DeviceRowStride(int64_t width) { return (width + 127) / 128 * 128; }

// One layer in one piece of memory: matrices that share their input as one, in the layout of
// kernels/cuda/ternary_layout.h. Every part is given by its offset, a multiple of 256; all layers
// of a model are alike.
struct DeviceLayerLayout {
  static constexpr int64_t kNone = -1;  // the family has no such norm
  struct Matrix {
    int64_t rows = 0, cols = 0, words = 0, scales = 0;
  };
  int64_t norm_in = kNone, q_norm = kNone, k_norm = kNone, attn_sub_norm = kNone, norm_post = kNone,
          ffn_sub_norm = kNone;
  Matrix qkv, o, gate_up, down;  // gate_up: by GpuTernaryBuilder::AddHalf
  int64_t bytes = 0;
};
DeviceLayerLayout LayoutOfLayer(const ModelConfig& config);

cuda::RowType DeviceRowType(TpackType type);
// Of embedding, head, final norm and rotations.
int64_t DeviceOuterBytes(const ModelConfig& config, TpackType embedding, TpackType head);

struct DevicePlan {
  DeviceLayerLayout layout;
  int64_t outer_bytes = 0;
  int64_t layers = 0, resident_layers = 0;  // resident: the first ones
  int64_t group_layers = 0;                 // of what is copied at a time; 0: all layers stay

  int64_t group_bytes() const { return group_layers * layout.bytes; }
  int64_t groups() const {  // none, or at least three
    return group_layers == 0 ? 0 : (layers - resident_layers + group_layers - 1) / group_layers;
  }
  // Copied for every pass over the layers.
  int64_t streamed_bytes() const { return (layers - resident_layers) * layout.bytes; }
  int64_t memory_bytes() const {
    return outer_bytes + resident_layers * layout.bytes + 2 * group_bytes();
  }
};

// As many layers stay as fit into the budget beside two buffers for a group each. Errors:
// ResourceExhausted, with the arithmetic, when not even the buffers fit.
absl::StatusOr<DevicePlan> PlanDeviceWeights(const ModelConfig& config, int64_t outer_bytes,
                                             const StreamOptions& options);

// Most bytes of this machine's memory that copies are made from, beside those of the model.
int64_t HostCopyBytes(const ModelConfig& config, const StreamOptions& options);

}  // namespace tritter
