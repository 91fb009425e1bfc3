// The whole network and its loss as plain formulas over LibTorch tensors, with autograd: every
// family, switch and attention mode of the configuration, any floating type, any device. Written
// from the specification to be read, not to be fast: it is what the fast kernels are tested
// against. A device overrides the parts it has a faster form of (fused_network.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"

namespace tritter {

// By the names of ParameterTable(config).
using NamedTensors = std::map<std::string, at::Tensor>;

// Leaf tensors that collect gradients, from `values` in the canonical order of ParameterTable.
NamedTensors LeafParameters(const ModelConfig& config, const float* values, at::ScalarType type);

enum class Quantisers {
  kOn,      // codes of the values at hand; the gradient passes as identity (straight-through)
  kFrozen,  // the first pass records q₀ = quantise(x₀), later ones use q₀ + (x − x₀): the function
            // whose exact gradient the straight-through gradient is, for finite differences
  kOff,     // no quantisation at all
};

struct FormulaOptions {
  Quantisers quantisers = Quantisers::kOn;
  // Matrix products as in BF16 with FP32 sums: operands that are no codes, and results, are
  // rounded to BF16. Norms, softmax, residuals and the loss stay in the type of the parameters.
  bool bf16_products = false;
  double z_loss = 0.0;
};

struct FormulaBatch {
  at::Tensor tokens;           // [B, L] int64
  int64_t first_position = 0;  // of every sequence, for the rotation; masks count from its start
  int64_t prefix = 0;          // P of attention prefix_lm
};

// Which keys a query sees: [B or 1, L (query), L (key)] bool, from the rule of config.attention.
// Documents end after their eos.
at::Tensor VisibleKeys(const ModelConfig& config, const FormulaBatch& batch);

// x [B, heads, L, D]: half-split rotation of the pairs (i, i + D/2) by position · theta^(-2i/D).
at::Tensor Rotate(const at::Tensor& x, double theta, int64_t first_position);

// Not thread-safe. Holds the parameters by reference counting; a changed parameter is seen at once.
class FormulaNetwork {
 public:
  FormulaNetwork(const ModelConfig& config, NamedTensors parameters,
                 const FormulaOptions& options = {})
      : config_(config), parameters_(std::move(parameters)), options_(options) {}
  virtual ~FormulaNetwork() = default;

  // Rows of the embedding, [B, L, H].
  virtual at::Tensor Embed(const at::Tensor& tokens) const;
  // After the final norm, [B, L, H]. `embedded` [B, L, H]; the batch's tokens give the documents.
  // `look` sees the output of every part as it is made: "layers.0", …, "norm".
  using Look = std::function<void(const std::string& name, const at::Tensor& x)>;
  at::Tensor Hidden(const at::Tensor& embedded, const FormulaBatch& batch,
                    const Look& look = nullptr);
  // Through the head (the embedding where tied), [B, L, V].
  virtual at::Tensor Head(const at::Tensor& hidden);
  at::Tensor Logits(const FormulaBatch& batch) { return Head(Hidden(Embed(batch.tokens), batch)); }
  // Σ w (ℓ + z (log Z)²) over targets [B, L] (-1: none), weights [B, L], nats; a scalar in the type
  // of the parameters. With prefix_lm only tokens of the suffix are counted.
  at::Tensor Loss(const FormulaBatch& batch, const at::Tensor& targets, const at::Tensor& weights);

  // One BitLinear (or plain linear, weight rule `none`) with its bias where there is one: `name` is
  // the parameter's without ".weight". x [..., in] -> [..., out].
  at::Tensor Linear(const std::string& name, const at::Tensor& x);
  // RMSNorm or LayerNorm over the last dimension.
  virtual at::Tensor Norm(const std::string& name, const at::Tensor& x);

  const ModelConfig& config() const { return config_; }
  NamedTensors& parameters() { return parameters_; }

 protected:
  // The linear layers that share one input, their outputs side by side: [..., in] -> [..., sum of
  // out]. The input goes through `norm` first where that is not "".
  virtual at::Tensor Linears(const std::string& norm, const std::vector<std::string>& names,
                             const at::Tensor& x);
  // q, k and v side by side, [B, L, (N + 2K)·D] -> [B, L, N·D].
  virtual at::Tensor Attend(const std::string& layer, const at::Tensor& qkv,
                            const FormulaBatch& batch, const at::Tensor& visible);
  // Gate and up side by side, [..., 2I] -> relu(gate)² ⊙ up, [..., I].
  virtual at::Tensor Gate(const at::Tensor& gate_up);
  // What Attend gets as `visible`; called once a pass, before the layers.
  virtual at::Tensor Mask(const FormulaBatch& batch) { return VisibleKeys(config_, batch); }
  // One layer, and all of them one after the other: [B, L, H] -> [B, L, H].
  at::Tensor Layer(int64_t layer, const at::Tensor& x, const FormulaBatch& batch,
                   const at::Tensor& visible);
  virtual at::Tensor Layers(const at::Tensor& x, const FormulaBatch& batch,
                            const at::Tensor& visible);
  // q, k, v [B, N or K, L, D], normed and rotated, from what Attend gets.
  std::vector<at::Tensor> Heads(const std::string& layer, const at::Tensor& qkv,
                                const FormulaBatch& batch);
  const at::Tensor& Parameter(const std::string& name) const { return parameters_.at(name); }

 private:
  at::Tensor FeedForward(const std::string& norm, const std::string& layer, const at::Tensor& x);
  // q₀ and x₀ of q₀ + (x − x₀): those of now, or with kFrozen those of the first call with `key`.
  std::pair<at::Tensor, at::Tensor> QuantiserBase(const std::string& key,
                                                  const at::Tensor& quantised, const at::Tensor& x);
  at::Tensor EffectiveWeight(const std::string& name);
  at::Tensor Rounded(const at::Tensor& x) const;  // to BF16 and back, where asked for

  const ModelConfig config_;
  NamedTensors parameters_;
  const FormulaOptions options_;
  std::map<std::string, std::pair<at::Tensor, at::Tensor>> frozen_;
};

}  // namespace tritter
