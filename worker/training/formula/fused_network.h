// The formula network for training on a device: the same blocks with every part that costs time in
// a fused form (TensorKernels), activations in BF16 or FP32, ternary codes formed once per change
// of the weights, gradients summed straight into a flat array. Beside the blocks it has the loss
// in chunks of tokens, so that [tokens, V] never exists.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "worker/training/formula/attention_tiles.h"
#include "worker/training/formula/formula_network.h"
#include "worker/training/formula/tensor_kernels.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Owned by the trainer, one thread (and the one that autograd runs a device's backward pass on).
class FusedNetwork : private FormulaNetwork {
 public:
  struct Options {
    const TensorKernels* kernels = nullptr;             // not owned
    const std::vector<ParameterSlot>* slots = nullptr;  // not owned
    at::Tensor weight;                 // every weight, flat float in the order of the slots
    at::Tensor gradient;               // likewise, zeroed by its owner; undefined: evaluation only
    at::ScalarType type = at::kFloat;  // of the activations: kFloat or kBFloat16
    double z_loss = 0.0;
    int64_t chunk_floats = int64_t{1} << 27;  // logits held at once
    int64_t query_block = 256;                // queries of one tile, under a mask
    // Layers of a segment whose activations are computed again in the backward pass; 0 keeps all.
    int64_t recompute_layers = 0;
  };
  FusedNetwork(const ModelConfig& config, const Options& options);

  // The weights have changed: codes are formed anew when they are next needed.
  void MarkChanged() { ++version_; }
  // From now on gradients overwrite what was there (first) or are added to it. In the `last`
  // micro-batch `ready` is told of each matrix whose gradient is complete.
  void BeginMicroBatch(bool first, bool last) {
    first_ = first;
    last_ = last;
  }
  void set_ready(std::function<void(const ParameterSlot&)> ready) { ready_ = std::move(ready); }

  at::Tensor Embed(const at::Tensor& tokens) const override;  // [B, L, H]
  using FormulaNetwork::Hidden;
  // [B, L, V] or [T, V], float, not recorded by autograd.
  at::Tensor Head(const at::Tensor& hidden) override;

  struct LossResult {
    at::Tensor loss;             // Σ w (ℓ + z (log Z)²), a double on the device
    at::Tensor hidden_gradient;  // like hidden, of loss · scale
  };
  // hidden [B, L, H]; targets, weights [B·L] on the device. The head's gradient is summed, or
  // without a place for gradients the loss is all there is.
  LossResult Loss(const at::Tensor& hidden, const at::Tensor& targets, const at::Tensor& weights,
                  double scale);

 protected:
  at::Tensor Norm(const std::string& name, const at::Tensor& x) override;
  at::Tensor Linears(const std::string& norm, const std::vector<std::string>& names,
                     const at::Tensor& x) override;
  at::Tensor Attend(const std::string& layer, const at::Tensor& qkv, const FormulaBatch& batch,
                    const at::Tensor& visible) override;
  at::Tensor Gate(const at::Tensor& gate_up) override;
  // Makes tiles_; no mask is as large as all of attention.
  at::Tensor Mask(const FormulaBatch& batch) override;
  at::Tensor Layers(const at::Tensor& x, const FormulaBatch& batch,
                    const at::Tensor& visible) override;

 private:
  friend struct LinearsFunction;
  friend struct NormFunction;
  friend struct PlaceFunction;
  friend struct GateFunction;
  friend struct RecomputedSegment;

  // Matrices that share one input, stacked: their weights follow each other in the flat array.
  struct Matrix {
    std::vector<const ParameterSlot*> weights, scales;
    std::vector<int64_t> rows;
    bool ternary = true;
    uint64_t version = 0;  // of the weights that the rest was formed from
    QuantisedRows codes;   // ternary
    at::Tensor effective;  // [out, in] in the activations' type: what the backward pass uses
  };
  struct Input {
    QuantisedRows codes;  // int8 activations
    at::Tensor plain;     // else: in the activations' type
  };
  Matrix& Find(const std::vector<std::string>& names, bool ternary);
  const ParameterSlot* Slot(const std::string& name) const;
  at::Tensor Flat(const at::Tensor& all, const std::vector<const ParameterSlot*>& slots) const;
  void Refresh(Matrix* matrix);
  Input Quantise(const Matrix& matrix, const at::Tensor& x, const at::Tensor& norm) const;
  at::Tensor Product(const Matrix& matrix, const Input& x, at::ScalarType type) const;
  // d weight += dyᵀ x̂, and the learned scales' part.
  void AddWeightGradient(const Matrix& matrix, const Input& x, const at::Tensor& dy, bool add);
  void AddGradient(const ParameterSlot& slot, const at::Tensor& value);
  const at::Tensor& Weight(const std::string& name) const { return Parameter(name); }
  Matrix& HeadMatrix();

  const Options options_;
  std::map<std::string, const ParameterSlot*> slots_;
  std::map<std::string, Matrix> matrices_;  // by the first name
  uint64_t version_ = 1;
  bool first_ = true, last_ = true;
  std::function<void(const ParameterSlot&)> ready_;
  at::Tensor cos_, sin_;  // [L, D/2] from rope_first_
  int64_t rope_first_ = 0;
  std::vector<AttentionTile> tiles_;  // of the pass; empty: plain causal attention
  // What they were made for, where the tokens do not matter.
  int64_t tiles_length_ = 0, tiles_prefix_ = 0;
};

}  // namespace tritter
