#include "inference/packed_model.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/packing.h"

namespace tritter {
namespace {

class ResidentLayers final : public LayerSource {
 public:
  explicit ResidentLayers(std::vector<LayerWeights> layers) : layers_(std::move(layers)) {}
  const LayerWeights* Resident(int64_t layer) const override {
    return &layers_[static_cast<size_t>(layer)];
  }
  absl::StatusOr<const LayerWeights*> Acquire(int64_t layer) override { return Resident(layer); }
  void Release(int64_t) override {}

 private:
  const std::vector<LayerWeights> layers_;
};

}  // namespace

absl::Status CheckServable(const ModelConfig& c) {
  RETURN_IF_ERROR(ValidateConfig(c));
  std::string what;
  if (c.norm != NormKind::kRmsNorm) what = "norm: layernorm";
  if (c.bias) what = "bias: true";
  if (c.lm_head_ternary) what = "lm_head: ternary";
  if (!IsWindowOrCausal(c.attention))
    what = absl::StrCat("attention: ", AttentionModeName(c.attention));
  if (c.activations != ActivationRule::kInt8) what = "activations other than int8";
  if (what.empty()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "the model uses ", what,
      ", which this inference engine does not compute; "
      "serve a model with the default switches (rmsnorm, no bias, full head, int8, attention "
      "causal, sliding_window or sinks)"));
}

absl::StatusOr<std::unique_ptr<PackedModel>> PackedModel::Load(
    std::unique_ptr<PackedModelFile> file, const TernaryKernel& kernel) {
  RETURN_IF_ERROR(CheckServable(file->config()));
  std::unique_ptr<PackedModel> model(new PackedModel(std::move(file)));
  const ModelConfig& config = model->config();
  const auto lookup = [&](const std::string& name) { return model->Canonical(name); };
  RETURN_IF_ERROR(BindOuter(config, lookup, &model->outer_));
  std::vector<LayerWeights> layers(static_cast<size_t>(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) {
    LayerWeights& weights = layers[static_cast<size_t>(i)];
    RETURN_IF_ERROR(BindLayer(config, i, lookup, &weights));
    RETURN_IF_ERROR(CheckLayer(weights, i, config.layers, kernel));
  }
  model->layers_ = std::make_unique<ResidentLayers>(std::move(layers));
  return model;
}

std::unique_ptr<PackedModel> PackedModel::Assemble(std::unique_ptr<PackedModelFile> file,
                                                   const OuterWeights& outer,
                                                   std::unique_ptr<LayerSource> layers) {
  std::unique_ptr<PackedModel> model(new PackedModel(std::move(file)));
  model->outer_ = outer;
  model->layers_ = std::move(layers);
  return model;
}

absl::StatusOr<TpackTensor> PackedModel::Canonical(const std::string& name) {
  ASSIGN_OR_RETURN(TpackTensor tensor, file_->Get(name));
  if (tensor.type == TpackType::kTernaryLogical) return Tiled(tensor);
  if (tensor.shape.size() != 1) return tensor;
  const size_t count = static_cast<size_t>(tensor.shape[0]);
  const uint8_t* const data = tensor.data.data();
  const bool bf16 = tensor.type == TpackType::kBF16;
  const bool in_place = reinterpret_cast<uintptr_t>(data) % alignof(float) == 0;
  if ((!bf16 && (tensor.type != TpackType::kF32 || in_place)) ||
      tensor.data.size() != count * (bf16 ? 2 : 4)) {
    return tensor;  // as it should be, or refused by whoever asked for it
  }
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    if (bf16) {
      values[i] = Bf16At(data + 2 * i);
    } else {
      std::memcpy(&values[i], data + 4 * i, 4);
    }
  }
  converted_.push_back(std::move(values));
  tensor.type = TpackType::kF32;
  tensor.data = {reinterpret_cast<const uint8_t*>(converted_.back().data()), 4 * count};
  return tensor;
}

absl::StatusOr<TpackTensor> PackedModel::Tiled(TpackTensor tensor) {
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
  const size_t expected = static_cast<size_t>(rows * LogicalRowBytes(cols));
  if (tensor.data.size() != expected) {
    return absl::DataLossError(absl::StrCat("tensor ", tensor.name, " has ", tensor.data.size(),
                                            " bytes, expected ternary codes in ", expected,
                                            " bytes"));
  }
  tiled_copies_.emplace_back(static_cast<size_t>(TiledBytes(rows, cols)));
  LogicalToTiled(tensor.data.data(), rows, cols, tiled_copies_.back().data());
  tensor.type = TpackType::kTernaryTile16x16;
  tensor.data = tiled_copies_.back();
  return tensor;
}

}  // namespace tritter
