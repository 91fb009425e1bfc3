#include "tests/testing/random_tensor.h"

#include <cmath>
#include <vector>

#include "common/random.h"
#include "kernels/packing.h"

namespace tritter {
namespace {

std::string Bytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

}  // namespace

TpackTensorToWrite RandomTensor(const ModelConfig& config, const ParameterSpec& spec,
                                uint64_t seed) {
  Philox random(MixKey(seed, HashString(spec.name)));
  TpackTensorToWrite tensor;
  tensor.name = spec.name;
  tensor.shape = spec.shape;
  int64_t count = 1;
  for (int64_t n : spec.shape) count *= n;
  if (spec.kind != ParameterKind::kTernary) {
    tensor.type = TpackType::kF32;
    std::vector<float> values(static_cast<size_t>(count));
    const double center = spec.kind == ParameterKind::kNorm ? 1.0 : 0.0;
    const double spread = spec.kind == ParameterKind::kNorm ? 0.1
                          : spec.kind == ParameterKind::kHead
                              ? 2.0 / std::sqrt(static_cast<double>(config.hidden))
                              : 1.0;
    // Uniform with the wanted standard deviation: cheaper than normal, and large models have many
    // of them.
    for (float& v : values)
      v = static_cast<float>(center + spread * std::sqrt(12.0) * (random.Uniform() - 0.5));
    tensor.data = Bytes(values);
    return tensor;
  }
  tensor.type = TpackType::kTernaryTile16x16;
  const int64_t rows = spec.shape[0], cols = spec.shape[1];
  std::vector<int8_t> codes(static_cast<size_t>(count));
  for (size_t i = 0; i < codes.size(); i += 8) {  // 8 random bits a code: 88/256 each sign
    const uint64_t bits = random.Next64();
    for (size_t j = 0; j < 8 && i + j < codes.size(); ++j) {
      const uint64_t b = bits >> (8 * j) & 255;
      codes[i + j] = static_cast<int8_t>(b < 88 ? -1 : b < 176 ? 1 : 0);
    }
  }
  std::vector<uint8_t> logical(static_cast<size_t>(rows * LogicalRowBytes(cols)));
  PackLogical(codes.data(), rows, cols, logical.data());
  tensor.data.resize(static_cast<size_t>(TiledBytes(rows, cols)));
  LogicalToTiled(logical.data(), rows, cols, reinterpret_cast<uint8_t*>(tensor.data.data()));
  tensor.scales.resize(config.granularity == ScaleGranularity::kRow ? static_cast<size_t>(rows)
                                                                    : 1);
  for (float& s : tensor.scales)
    s = static_cast<float>((0.5 + random.Uniform()) / std::sqrt(0.69 * static_cast<double>(cols)));
  return tensor;
}

}  // namespace tritter
