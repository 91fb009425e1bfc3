// The network as docs/numerics.md describes it, position by position, in plain loops over unpacked
// codes: no batching, no pages, no packed kernels. What the engine must equal bit for bit.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/tpack.h"

namespace tritter {

class ReferenceModel {
 public:
  explicit ReferenceModel(TpackFile* file) : file_(file), config_(file->config()) {}
  // Logits of every position, [tokens, V].
  std::vector<std::vector<float>> Logits(absl::Span<const int32_t> tokens);
  // Greedy continuation, computed from scratch for every token.
  std::vector<int32_t> Greedy(std::vector<int32_t> prompt, int64_t count);

 private:
  using Row = std::vector<float>;
  Row Floats(const std::string& name);
  Row BitLinear(const std::string& name, const Row& x);
  Row Norm(const std::string& name, const Row& x);
  void Layer(int64_t layer, std::vector<Row>* x);

  TpackFile* const file_;
  const ModelConfig& config_;
};

}  // namespace tritter
