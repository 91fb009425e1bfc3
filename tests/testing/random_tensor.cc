#include "tests/testing/random_tensor.h"

#include <cmath>

#include "common/random.h"
#include "kernels/half.h"
#include "model/packed_tensor.h"

namespace tritter {
namespace {

Philox StreamOf(const ParameterSpec& spec, uint64_t seed) {
  return Philox(MixKey(seed, HashString(spec.name)));
}

}  // namespace

TernaryCodes RandomCodes(const ModelConfig& config, const ParameterSpec& spec, uint64_t seed) {
  Philox random = StreamOf(spec, seed);
  const int64_t rows = spec.shape[0], cols = spec.shape[1];
  TernaryCodes out;
  out.q.resize(static_cast<size_t>(rows * cols));
  for (size_t i = 0; i < out.q.size(); i += 8) {  // 8 random bits a code: 88/256 each sign
    const uint64_t bits = random.Next64();
    for (size_t j = 0; j < 8 && i + j < out.q.size(); ++j) {
      const uint64_t b = bits >> (8 * j) & 255;
      out.q[i + j] = static_cast<int8_t>((b >= 88 && b < 176) - (b < 88));
    }
  }
  out.scales.resize(config.granularity == ScaleGranularity::kRow ? static_cast<size_t>(rows) : 1);
  for (float& s : out.scales) {
    const double scale = (0.5 + random.Uniform()) / std::sqrt(0.69 * static_cast<double>(cols));
    s = FromBF16(ToBF16(static_cast<float>(scale)));
  }
  return out;
}

std::vector<float> RandomValues(const ModelConfig& config, const ParameterSpec& spec,
                                uint64_t seed) {
  Philox random = StreamOf(spec, seed);
  int64_t count = 1;
  for (const int64_t n : spec.shape) count *= n;
  const double center = spec.kind == ParameterKind::kNorm ? 1.0 : 0.0;
  const double spread = spec.kind == ParameterKind::kNorm ? 0.1
                        : spec.kind == ParameterKind::kHead
                            ? 2.0 / std::sqrt(static_cast<double>(config.hidden))
                            : 1.0;
  // Uniform with the wanted standard deviation: cheaper than normal, and large models have many of
  // them.
  const double width = spread * std::sqrt(12.0);
  const double step = std::exp2(std::ceil(std::log2(width / 2 / 127)));
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values)
    v = static_cast<float>(center + std::nearbyint(width * (random.Uniform() - 0.5) / step) * step);
  return values;
}

TpackTensorToWrite RandomTensor(const ModelConfig& config, const ParameterSpec& spec,
                                uint64_t seed) {
  TpackTensorToWrite tensor{spec.name, spec.shape, TpackType::kF32, "", {}};
  if (spec.kind != ParameterKind::kTernary) {
    const std::vector<float> values = RandomValues(config, spec, seed);
    tensor.data.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return tensor;
  }
  TernaryCodes codes = RandomCodes(config, spec, seed);
  tensor.type = TpackType::kTernaryTile16x16;
  tensor.data = TileCodes(codes.q.data(), spec.shape[0], spec.shape[1]);
  tensor.scales = std::move(codes.scales);
  return tensor;
}

}  // namespace tritter
