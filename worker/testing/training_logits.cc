#include "worker/testing/training_logits.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "common/status_macros.h"
#include "model/checkpoint_tensors.h"
#include "worker/training/network.h"

namespace tritter {

absl::StatusOr<std::vector<std::vector<float>>> TrainingLogits(
    const ModelConfig& config, const CheckpointReader& checkpoint,
    const std::vector<std::vector<int64_t>>& sequences) {
  ParameterStore parameters(config);
  GradientSink sink(&parameters);
  ParallelRows parallel(1);
  MatrixProducts products(GemmType::kFp32, &parallel);
  const LayerContext context{&config, &parameters, &sink, &parallel, &products};
  ASSIGN_OR_RETURN(const auto tensors, CheckpointTensors::Open(checkpoint));
  for (const ParameterSlot& slot : parameters.slots()) {
    ASSIGN_OR_RETURN(const absl::Span<const float> average, tensors->Get("ema/", slot.spec));
    std::copy(average.begin(), average.end(), parameters.MutableWeights() + slot.offset);
  }
  ASSIGN_OR_RETURN(const auto network, Network::Create(context, BitLinearFactory(context)));
  ASSIGN_OR_RETURN(const ParameterSlot* head,
                   parameters.Find(config.tied_embeddings ? "embed.weight" : "head.weight"));
  const at::Tensor weight =
      at::from_blob(parameters.MutableWeights() + head->offset, {config.vocab, config.hidden});
  std::vector<std::vector<float>> result;
  for (const std::vector<int64_t>& tokens : sequences) {
    const SequenceShape shape{1, static_cast<int64_t>(tokens.size())};
    const at::Tensor hidden = network->Forward(network->Embed(tokens), shape).detach();
    const at::Tensor logits = at::mm(hidden, weight.t());
    const float* values = logits.data_ptr<float>();
    result.emplace_back(values, values + logits.numel());
  }
  return result;
}

}  // namespace tritter
