// The weights of a packed model as a GPU has them.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "inference/cuda/device_memory.h"
#include "inference/cuda/device_plan.h"
#include "inference/packed_model.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/ternary_products.h"

namespace tritter {

struct DeviceLayer {
  const float *norm_in, *q_norm, *k_norm, *attn_sub_norm, *norm_post, *ffn_sub_norm;
  cuda::TernaryWeights qkv, o, gate_up, down;
};
// The layer that lies at `base`, of which nothing is read.
DeviceLayer LayerAt(const DeviceLayerLayout& layout, const uint8_t* base);
// Writes layout.bytes, in this machine's memory.
void WriteLayer(const LayerWeights& weights, const ModelConfig& config,
                const DeviceLayerLayout& layout, uint8_t* to);

// What is not of a layer.
struct DeviceOuter {
  cuda::RowTable embedding, head;
  const float* norm;
  const float *cos, *sin;  // [context, D / 2]
};
// Takes DeviceOuterBytes. Errors: those of DeviceMemory.
absl::StatusOr<DeviceOuter> UploadOuter(const PackedModel& model, DeviceMemory* memory);

// Computes every matrix of a layer times a fixed vector, by both kernels, and compares the first
// and last rows of each part with the scalar reference: a mistake in the layout must never become
// plausible text. Internal when they differ, naming matrix, row and both values.
absl::Status CheckLayerProducts(const LayerWeights& weights, int64_t layer,
                                const DeviceLayer& device, cudaStream_t stream);

}  // namespace tritter
