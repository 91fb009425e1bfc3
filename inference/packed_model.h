// A packed model as the forward pass wants it: embedding, final norm and head, and its layers one
// after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "inference/layer_source.h"
#include "inference/layer_weights.h"
#include "kernels/ternary_gemm.h"
#include "model/packed_model_file.h"

namespace tritter {

// Errors: those of ValidateConfig; Unimplemented, naming a switch of the configuration that this
// engine does not compute.
absl::Status CheckServable(const ModelConfig& config);

// Immutable and thread-safe once loaded. Owned by the engine; owns the file and the layers' source.
class PackedModel {
 public:
  // With all weights in memory: views into the memory-mapped file. Checks that the configuration is
  // one this engine computes, that every tensor is there with its shape, that codes are valid, and
  // recomputes one block of rows of every matrix of the first and last layer against the scalar
  // reference. Errors: those of CheckServable, DataLoss (tensors), Internal (kernel disagrees).
  static absl::StatusOr<std::unique_ptr<PackedModel>> Load(std::unique_ptr<PackedModelFile> file,
                                                           const TernaryKernel& kernel);
  // Of parts that were checked; `outer` are views of what `file` or `layers` own.
  static std::unique_ptr<PackedModel> Assemble(std::unique_ptr<PackedModelFile> file,
                                               const OuterWeights& outer,
                                               std::unique_ptr<LayerSource> layers);

  const ModelConfig& config() const { return file_->config(); }
  PackedModelFile& file() const { return *file_; }
  LayerSource& layers() const { return *layers_; }
  // Of a model that was loaded with all weights in memory.
  const LayerWeights& layer(int64_t i) const { return *layers_->Resident(i); }
  const RowMatrix& embedding() const { return outer_.embedding; }  // [V, H]
  const float* norm() const { return outer_.norm; }                // [H]
  const RowMatrix& head() const { return outer_.head; }  // [V, H]; the embedding when tied

 private:
  explicit PackedModel(std::unique_ptr<PackedModelFile> file) : file_(std::move(file)) {}
  // The tensor, ternary codes tiled and norms in F32.
  absl::StatusOr<TpackTensor> Canonical(const std::string& name);
  absl::StatusOr<TpackTensor> Tiled(TpackTensor tensor);

  const std::unique_ptr<PackedModelFile> file_;
  OuterWeights outer_;
  std::unique_ptr<LayerSource> layers_;
  std::vector<std::vector<float>> converted_;  // norms the file stores in another type than F32
  std::vector<std::vector<uint8_t>> tiled_copies_;  // tensors the file stores in the logical form
};

}  // namespace tritter
