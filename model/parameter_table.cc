// Every parameter of a network in canonical order, and their number by formula.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/config.h"

namespace tritter {
namespace {

class TableBuilder {
 public:
  explicit TableBuilder(const ModelConfig& config) : config_(config) {}

  void Norm(const std::string& name, int64_t width) {
    Add(name + ".weight", {width}, ParameterKind::kNorm);
    if (config_.norm == NormKind::kLayerNorm) Add(name + ".bias", {width}, ParameterKind::kBias);
  }
  // Matrices that share one input: their weights follow each other, then their scales, then their
  // biases, so that each kind is one range of a flat array.
  struct Matrix {
    std::string name;
    int64_t out;
  };
  void Linears(const std::vector<Matrix>& matrices, int64_t in) {
    Ternary(matrices, in);
    if (!config_.bias) return;
    for (const Matrix& m : matrices) Add(m.name + ".bias", {m.out}, ParameterKind::kBias);
  }
  void Ternary(const std::vector<Matrix>& matrices, int64_t in) {
    for (const Matrix& m : matrices) Add(m.name + ".weight", {m.out, in}, ParameterKind::kTernary);
    if (config_.weight_rule != WeightRule::kThreshold) return;
    for (const Matrix& m : matrices) Add(m.name + ".scale", {m.out}, ParameterKind::kScale);
  }
  void Add(std::string name, std::vector<int64_t> shape, ParameterKind kind) {
    table_.push_back({std::move(name), std::move(shape), kind});
  }
  void Layer(int64_t index);
  std::vector<ParameterSpec> Take() { return std::move(table_); }

 private:
  const ModelConfig& config_;
  std::vector<ParameterSpec> table_;
};

void TableBuilder::Layer(int64_t index) {
  const ModelConfig& c = config_;
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const std::string layer = absl::StrCat("layers.", index, ".");
  Norm(layer + "norm_in", c.hidden);
  Linears({{layer + "attn.q", inner}, {layer + "attn.k", kv}, {layer + "attn.v", kv}}, c.hidden);
  Linears({{layer + "attn.o", c.hidden}}, inner);
  if (c.qk_norm()) {
    Norm(layer + "attn.q_norm", c.head_dim);
    Norm(layer + "attn.k_norm", c.head_dim);
  }
  if (c.sub_norms()) Norm(layer + "attn.sub_norm", inner);
  Norm(layer + "norm_post", c.hidden);
  Linears({{layer + "ffn.gate", c.ffn}, {layer + "ffn.up", c.ffn}}, c.hidden);
  Linears({{layer + "ffn.down", c.hidden}}, c.ffn);
  if (c.sub_norms()) Norm(layer + "ffn.sub_norm", c.ffn);
}

}  // namespace

std::vector<ParameterSpec> ParameterTable(const ModelConfig& c) {
  TableBuilder table(c);
  table.Add("embed.weight", {c.vocab, c.hidden}, ParameterKind::kEmbedding);
  for (int64_t i = 0; i < c.layers; ++i) table.Layer(i);
  table.Norm("norm", c.hidden);
  if (!c.tied_embeddings) {
    if (c.lm_head_ternary) {
      table.Ternary({{"head", c.vocab}}, c.hidden);
    } else {
      table.Add("head.weight", {c.vocab, c.hidden}, ParameterKind::kHead);
    }
  }
  return table.Take();
}

// V·H + layers·(2·H·N·D + 2·H·K·D + 3·H·I + norms) + H + V·H, plus what the switches add.
int64_t ParameterCount(const ModelConfig& c) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const int64_t outputs =
      inner + 2 * kv + 2 * c.hidden + 2 * c.ffn;  // rows of the seven matrices of a layer
  const int64_t per_norm = c.norm == NormKind::kLayerNorm ? 2 : 1;
  int64_t norms = 2 * c.hidden;
  if (c.qk_norm()) norms += 2 * c.head_dim;
  if (c.sub_norms()) norms += inner + c.ffn;
  int64_t layer =
      2 * c.hidden * inner + 2 * c.hidden * kv + 3 * c.hidden * c.ffn + norms * per_norm;
  if (c.bias) layer += outputs;
  if (c.weight_rule == WeightRule::kThreshold) layer += outputs;
  int64_t head = c.tied_embeddings ? 0 : c.vocab * c.hidden;
  if (head > 0 && c.lm_head_ternary && c.weight_rule == WeightRule::kThreshold) head += c.vocab;
  return c.vocab * c.hidden + c.layers * layer + c.hidden * per_norm + head;
}

int64_t MatrixParameterCount(const ModelConfig& c) {
  const int64_t inner = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  return c.layers * (2 * c.hidden * inner + 2 * c.hidden * kv + 3 * c.hidden * c.ffn) +
         c.vocab * c.hidden;
}

}  // namespace tritter
