// A packed model in the memory of a GPU: matrices that share their input as one, in the layout of
// kernels/cuda/ternary_layout.h.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/cuda/device_memory.h"
#include "inference/packed_model.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/ternary_products.h"

namespace tritter {

struct DeviceLayer {
  const float *norm_in, *q_norm, *k_norm, *attn_sub_norm, *norm_post, *ffn_sub_norm;
  cuda::TernaryWeights qkv, o, gate_up, down;  // gate_up: by GpuTernaryBuilder::AddHalf
};

struct DeviceModel {
  cuda::RowTable embedding, head;
  const float* norm;
  const float *cos, *sin;  // [context, D / 2]
  std::vector<DeviceLayer> layers;
};

// Bytes of an int8 row of `width` columns, padded for the products.
constexpr int64_t DeviceRowStride(int64_t width) { return (width + 127) / 128 * 128; }

// Errors: those of DeviceMemory.
absl::StatusOr<DeviceModel> UploadModel(const PackedModel& model, DeviceMemory* memory);

// Computes every matrix of the first and the last layer times a fixed vector, by both kernels, and
// compares the first and last rows of each part with the scalar reference: a mistake in the layout
// must never become plausible text. Internal when they differ, naming matrix, row and both values.
absl::Status CheckProducts(const PackedModel& model, const DeviceModel& device,
                           cudaStream_t stream);

}  // namespace tritter
