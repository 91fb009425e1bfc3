// A network small enough for tests, with everything around it, and a plain BitLinear.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "model/run_spec.h"
#include "worker/training/loss.h"
#include "worker/training/network.h"

namespace tritter {

// H 32, two layers, 4 query heads on 2 key heads of 8, I 48, V 264.
ModelConfig TinyModel();
// The same of either family.
ModelConfig TinyModel(Family family);
// TinyModel, L 16, 100 steps of 8 sequences, peak 3e-3.
RunSpec TinySpec();
// Repeatable text-like tokens.
std::vector<int64_t> TinyTokens(uint64_t seed, int64_t count);

// A network and its parameters, initialised from `seed`.
class TinyNetwork {
 public:
  explicit TinyNetwork(const ModelConfig& config, uint64_t seed = 1,
                       GemmType type = GemmType::kFp32, const NextTokenOptions& options = {});

  at::Tensor Weight(const std::string& name);    // a view, to be written before the next pass
  at::Tensor Gradient(const std::string& name);  // a view

  ModelConfig config;
  ParameterStore parameters;
  GradientSink sink;
  ParallelRows parallel;
  MatrixProducts products;
  LayerContext context;
  std::unique_ptr<Network> network;
  std::unique_ptr<HiddenLoss> loss;
};

// BitLinear written with detach: y = x̂ ŵᵀ, x̂ = x + (dequantised x - x).detach(), likewise ŵ.
at::Tensor PlainBitLinear(const at::Tensor& x, const at::Tensor& w);
// ‖a - b‖ / ‖b‖.
double RelativeError(const at::Tensor& a, const at::Tensor& b);

}  // namespace tritter
