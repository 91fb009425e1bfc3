#include "model/testing/tpack_test_model.h"

#include <memory>
#include <vector>

#include "common/random.h"
#include "common/status_macros.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"

namespace tritter {

ModelConfig TinyModelConfig() {
  ModelConfig c;
  c.hidden = 24;
  c.layers = 1;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 12;
  c.ffn = 40;
  c.vocab = 264;
  c.context = 64;
  return c;
}

TpackTensorToWrite RandomTpackTensor(const ModelConfig& config, const ParameterSpec& parameter,
                                     uint64_t seed) {
  TpackTensorToWrite tensor{parameter.name, parameter.shape, TpackType::kF32, "", {}};
  const int64_t rows = parameter.shape[0],
                cols = parameter.shape.size() == 2 ? parameter.shape[1] : 1;
  Philox random(MixKey(seed, HashString(parameter.name)));
  std::vector<float> w(rows * cols);
  for (float& v : w)
    v = static_cast<float>(parameter.kind == ParameterKind::kNorm ? 1.0 + 0.1 * random.Normal()
                                                                  : 0.1 * random.Normal());
  if (parameter.kind != ParameterKind::kTernary) {
    tensor.data.assign(reinterpret_cast<const char*>(w.data()), w.size() * sizeof(float));
    return tensor;
  }
  const bool per_row = config.granularity == ScaleGranularity::kRow;
  std::vector<int8_t> q(w.size());
  tensor.type = TpackType::kTernaryTile16x16;
  tensor.scales.resize(per_row ? rows : 1);
  QuantiseWeights(w.data(), rows, cols, per_row, q.data(), tensor.scales.data());
  std::vector<uint8_t> logical(rows * LogicalRowBytes(cols));
  PackLogical(q.data(), rows, cols, logical.data());
  tensor.data.resize(TiledBytes(rows, cols));
  LogicalToTiled(logical.data(), rows, cols, reinterpret_cast<uint8_t*>(tensor.data.data()));
  return tensor;
}

absl::Status WriteRandomTpack(Env* env, const std::string& path, const ModelConfig& config,
                              uint64_t seed) {
  const TpackProvenance provenance{"run-test", 7, std::string(64, 'c'), "averaged", "test"};
  ASSIGN_OR_RETURN(std::unique_ptr<TpackWriter> writer,
                   TpackWriter::Create(env, path, config, kTestTokenizerHash, provenance));
  for (const ParameterSpec& parameter : ParameterTable(config)) {
    RETURN_IF_ERROR(writer->Add(RandomTpackTensor(config, parameter, seed)));
  }
  return writer->Finish();
}

}  // namespace tritter
