#include "model/memory.h"

#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

ModelConfig Preset(const char* name) { return *PresetConfig(name); }

TEST(Weights, FollowTheParameterCount) {
  EXPECT_EQ(Fp32WeightBytes(Preset("7B")), 4 * int64_t{6207844352});
  EXPECT_EQ(Bf16WeightBytes(Preset("7B")), 2 * int64_t{6207844352});
}

TEST(PackedWeightBytes, CountsCodesScalesNormsAndPlainTensors) {
  const PackedBytes p = PackedWeightBytes(Preset("7B"), PlainWidth::kBF16, PlainWidth::kBF16);
  EXPECT_EQ(p.codes, 1417674752);
  EXPECT_EQ(p.scales, 4653056);
  EXPECT_EQ(p.norms, 1097728);
  EXPECT_EQ(p.embedding, 536870912);
  EXPECT_EQ(p.head, 536870912);
  EXPECT_EQ(p.total(), 2497167360);
}

TEST(PackedWeightBytes, A40BBaseIsTwelveAndAHalfGigabytes) {
  EXPECT_EQ(PackedWeightBytes(Preset("40B"), PlainWidth::kBF16, PlainWidth::kBF16).total(),
            12454875136);
}

TEST(PackedWeightBytes, Int8RowsCarryAScale) {
  const ModelConfig nano = Preset("nano");
  EXPECT_EQ(PackedWeightBytes(nano, PlainWidth::kF32, PlainWidth::kRowInt8).head,
            512 * 128 + 512 * 4);
}

TEST(PackedWeightBytes, TiedHeadIsCountedOnceAndTensorScalesAreOneEach) {
  const ModelConfig bitnet = Preset("bitnet-2B");
  const PackedBytes p = PackedWeightBytes(bitnet, PlainWidth::kBF16, PlainWidth::kBF16);
  EXPECT_EQ(p.head, 0);
  EXPECT_EQ(p.scales, 30 * 7 * 4);
}

TEST(PackedWeightBytes, ShapesThatDoNotFillATileArePadded) {
  ModelConfig odd = Preset("nano");
  odd.layers = 1;
  odd.ffn = 385;  // 25 tiles of 16 instead of 24
  const PackedBytes p = PackedWeightBytes(odd, PlainWidth::kF32, PlainWidth::kF32);
  const int64_t attention = (128 * 128 * 2 + 64 * 128 * 2) / 4;
  EXPECT_EQ(p.codes, attention + 3 * 400 * 128 / 4);
}

TEST(PackedLayerBytes, TimesLayersIsTheModelWithoutItsEnds) {
  const ModelConfig c = Preset("40B");
  EXPECT_EQ(PackedLayerBytes(c), 171789312);
  const PackedBytes p = PackedWeightBytes(c, PlainWidth::kF32, PlainWidth::kF32);
  EXPECT_EQ(PackedLayerBytes(c) * c.layers + p.embedding + p.head + 4 * c.hidden, p.total());
}

TEST(KvCacheBytes, HasTheGoldenFigures) {
  const ModelConfig c = Preset("7B");
  EXPECT_EQ(KvCacheBytes(c, 131072, 1, KvType::kInt4, /*scales=*/false), 4294967296);
  EXPECT_EQ(KvCacheBytes(c, 131072, 1, KvType::kInt4), 5368709120);
  EXPECT_EQ(KvCacheBytes(c, 131072, 1, KvType::kBF16), 17179869184);
  EXPECT_EQ(KvCacheBytes(c, 131072, 1, KvType::kF32), 34359738368);
  EXPECT_EQ(KvCacheBytes(c, 131072, 3, KvType::kInt4), 3 * 5368709120);
  EXPECT_EQ(KvCacheBytes(c, 0, 1, KvType::kInt4), 0);
}

TEST(TrainingBytesPerParameter, AddsAndSavesWhatTheOptionsSay) {
  TrainingOptions o{.averaged_weights = false, .cached_code_bytes = 0};
  EXPECT_EQ(TrainingBytesPerParameter(o), 16);
  o.averaged_weights = true;
  EXPECT_EQ(TrainingBytesPerParameter(o), 20);
  o.cached_code_bytes = 4;
  EXPECT_EQ(TrainingBytesPerParameter(o), 24);
  o.bf16_compute = true;
  EXPECT_EQ(TrainingBytesPerParameter(o), 26);
  o.moments_8bit = true;
  EXPECT_EQ(TrainingBytesPerParameter(o), 20);
  o.hybrid_vectors = 5;
  EXPECT_EQ(TrainingBytesPerParameter(o), 40);
}

TEST(TrainingMemory, AShardedOptimiserDividesMomentsAndAveragesAlone) {
  TrainingOptions o;
  const TrainingMemory whole = TrainingMemoryOf(Preset("1B"), o, 1, 1024);
  o.optimizer_ranks = 4;
  const TrainingMemory shared = TrainingMemoryOf(Preset("1B"), o, 1, 1024);
  EXPECT_NEAR(static_cast<double>(whole.moments) / static_cast<double>(shared.moments), 4, 1e-6);
  EXPECT_NEAR(static_cast<double>(whole.averages) / static_cast<double>(shared.averages), 4, 1e-6);
  EXPECT_EQ(whole.weights + whole.gradients + whole.activations,
            shared.weights + shared.gradients + shared.activations);
}

TEST(TrainingMemoryOf, ItsPartsAreThePerParameterBytes) {
  const ModelConfig c = Preset("125M");
  for (int bits = 0; bits < 8; ++bits) {
    const TrainingOptions o{.bf16_compute = (bits & 1) != 0,
                            .moments_8bit = (bits & 2) != 0,
                            .averaged_weights = (bits & 4) != 0,
                            .cached_code_bytes = 1 + bits % 4,
                            .hybrid_vectors = bits};
    const TrainingMemory m = TrainingMemoryOf(c, o, 2, 128);
    EXPECT_EQ(m.total() - m.activations - m.logits,
              TrainingBytesPerParameter(o) * ParameterCount(c));
    EXPECT_EQ(m.logits, 2 * 128 * int64_t{65536} * 4);
    EXPECT_EQ(m.activations, ActivationBytes(c, 256, o.bf16_compute ? 2 : 4, o.activations));
  }
}

TEST(ActivationBytes, HasTheGoldenFigures) {
  const ModelConfig c = Preset("7B");
  EXPECT_EQ(ActivationBytes(c, 2048, 2, ActivationPolicy::kKeepAll), 11014242304);
  EXPECT_EQ(ActivationBytes(c, 2048, 2, ActivationPolicy::kKeepLayerInputs), 881065984);
  EXPECT_EQ(ActivationBytes(c, 0, 2, ActivationPolicy::kKeepAll), 0);
}

TEST(LoraParameterCount, HasTheGoldenFigures) {
  const ModelConfig c = Preset("7B");
  EXPECT_EQ(LoraParameterCount(c, 16, {}), 13631488);
  EXPECT_EQ(LoraParameterCount(c, 16, {.attention = false, .ffn = true}), 23199744);
  EXPECT_EQ(LoraParameterCount(c, 16, {.attention = false, .head = true}), 1114112);
  EXPECT_EQ(LoraParameterCount(c, 16, {.attention = true, .ffn = true, .head = true}),
            13631488 + 23199744 + 1114112);
  EXPECT_EQ(LoraParameterCount(c, 8, {}), 13631488 / 2);
}

TEST(SafeGpuBudget, HasTheGoldenFigures) {
  const int64_t gb = kGigabyte;
  EXPECT_EQ(SafeGpuBudget(16 * gb, DisplaySystem::kWayland), 12'680'000'000);
  EXPECT_EQ(SafeGpuBudget(16 * gb, DisplaySystem::kUnknown), 12'680'000'000);
  EXPECT_EQ(SafeGpuBudget(16 * gb, DisplaySystem::kX11), 12'770'000'000);
  EXPECT_EQ(SafeGpuBudget(16 * gb, DisplaySystem::kMacOs), 12'410'000'000);
  EXPECT_EQ(SafeGpuBudget(16 * gb, DisplaySystem::kWindows), 12'230'000'000);
  EXPECT_EQ(SafeGpuBudget(16 * gb, DisplaySystem::kWindows, 1), 12'680'000'000);
  EXPECT_EQ(SafeGpuBudget(16 * gb, DisplaySystem::kWindows, 2), 12'410'000'000);
  EXPECT_EQ(SafeGpuBudget(24 * gb, DisplaySystem::kHeadless), 20'240'000'000);
}

TEST(SafeGpuBudget, FallsBackToHalfAndIsNeverNegative) {
  EXPECT_EQ(SafeGpuBudget(2 * kGigabyte, DisplaySystem::kHeadless), 800'000'000);
  EXPECT_EQ(SafeGpuBudget(kGigabyte / 2, DisplaySystem::kWindows), 0);
  EXPECT_EQ(SafeGpuBudget(0, DisplaySystem::kHeadless), 0);
}

}  // namespace
}  // namespace tritter
