// The network as docs/numerics.md describes it, position by position, in plain loops over unpacked
// codes: no batching, no pages, no packed kernels. What the engine must equal bit for bit.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/packed_model_file.h"

namespace tritter {

class ReferenceModel {
 public:
  using Row = std::vector<float>;
  // Without `quantise_activations` the products are of the ternary weights with the activations
  // themselves, summed in double: for comparisons with other programs alone.
  explicit ReferenceModel(PackedModelFile* file, bool quantise_activations = true)
      : file_(file), config_(file->config()), quantise_activations_(quantise_activations) {}
  // Hidden states of every position behind the final norm, [tokens, H].
  std::vector<Row> Hidden(absl::Span<const int32_t> tokens);
  // Logits of every position, [tokens, V].
  std::vector<std::vector<float>> Logits(absl::Span<const int32_t> tokens);
  // Greedy continuation, computed from scratch for every token.
  std::vector<int32_t> Greedy(std::vector<int32_t> prompt, int64_t count);

  // One block in place: x is the residual of every position, [tokens][H].
  void Layer(int64_t layer, std::vector<Row>* x);

 private:
  Row Floats(const std::string& name);
  Row BitLinear(const std::string& name, const Row& x);
  Row Norm(const std::string& name, const Row& x);

  PackedModelFile* const file_;
  const ModelConfig& config_;
  const bool quantise_activations_;
};

}  // namespace tritter
