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

// What is kept of every parameter; LayerNorm's are too few to count.
int64_t StateBytesOf(const TrainingMemory& m) {
  return m.weights + m.gradients + m.moments + m.averages + m.hybrid;
}

TEST(TrainingMemoryOf, SyncOuterHoldsAnAnchorAndWhatEachRankHasOfItsOwn) {
  const ModelConfig c = Preset("125M");
  const int64_t p = ParameterCount(c), piece = 1 << 20;
  const auto of = [&](const TrainingOptions& o) { return TrainingMemoryOf(c, o, 2, 128); };
  EXPECT_EQ(of({}).outer, 0);
  // Anchor; displacement and mean of a piece; own and two gathered, and the collective's copies.
  EXPECT_EQ(of({.ranks = 2, .outer_ranks = 2}).outer, 4 * p + 8 * piece + 2 * 3 * 4 * piece);
  const TrainingOptions all = {
      .ranks = 2, .outer_ranks = 2, .outer_residual = true, .outer_momentum = true};
  EXPECT_EQ(of(all).outer, 12 * p + 8 * piece + 2 * 3 * (piece + piece / 64));
  // Moments and residual whole beside half of weights, averages and outer momentum.
  EXPECT_NEAR(static_cast<double>(of(all).checkpoint), (12 + 12 / 2) * static_cast<double>(p),
              0.05 * static_cast<double>(p));
  EXPECT_EQ(of({.ranks = 2, .outer_ranks = 2}).moments, of({}).moments);
  // A device holds the copies that NCCL works on.
  EXPECT_EQ(of({.ranks = 2, .outer_ranks = 2, .gpu = true}).outer, 3 * 4 * piece);
  EXPECT_EQ(of({.outer_ranks = 1, .gpu = true}).outer, 0);
}

TEST(TrainingMemoryOf, KeepsSoManyBytesOfEveryParameter) {
  const ModelConfig c = Preset("125M");
  const int64_t p = ParameterCount(c);
  const auto kept = [&](const TrainingOptions& o) {
    return StateBytesOf(TrainingMemoryOf(c, o, 2, 128));
  };
  EXPECT_EQ(kept({}), 20 * p);
  EXPECT_EQ(kept({.averaged_weights = false}), 16 * p);
  EXPECT_EQ(kept({.hybrid_vectors = 5}), 40 * p);
  EXPECT_EQ(kept({.bf16_compute = true}), 20 * p);  // on a CPU a way to multiply
  EXPECT_EQ(kept({.bf16_compute = true, .gpu = true}), 22 * p);
  // Two bytes and two scales for every 256 in place of eight bytes; norms stay as they are.
  const double blocks = 8.0 / 256;
  EXPECT_NEAR(static_cast<double>(kept({.moments_8bit = true})),
              (14 + blocks) * static_cast<double>(p), 1e-3 * static_cast<double>(p));
  // One moment of the matrices of the blocks.
  const int64_t ternary = MatrixParameterCount(c) - c.vocab * c.hidden;
  EXPECT_EQ(kept({.muon = true}), 20 * p - 4 * ternary);
}

TEST(TrainingMemoryOf, HoldsTheCopyOfACheckpointAllTheTimeInMainMemory) {
  const ModelConfig c = Preset("125M");
  const int64_t p = ParameterCount(c);
  EXPECT_EQ(TrainingMemoryOf(c, {}, 1, 128).checkpoint, 16 * p);
  EXPECT_EQ(TrainingMemoryOf(c, {.gpu = true}, 1, 128).checkpoint, 0);
  EXPECT_NEAR(static_cast<double>(TrainingMemoryOf(c, {.moments_8bit = true}, 1, 128).checkpoint),
              (10 + 8.0 / 256) * static_cast<double>(p), 1e-3 * static_cast<double>(p));
  // Of two ranks the larger has the embedding, the head and the rest of its half.
  const int64_t half = TrainingMemoryOf(c, {.ranks = 2}, 1, 128).checkpoint;
  EXPECT_GE(half, 8 * p);
  EXPECT_LE(half, 8 * p + 16 * c.hidden * c.ffn);
}

TEST(TrainingMemoryOf, AShardedOptimiserDividesMomentsAndAveragesAlone) {
  const TrainingMemory whole = TrainingMemoryOf(Preset("1B"), {.ranks = 4}, 1, 1024);
  const TrainingMemory shared =
      TrainingMemoryOf(Preset("1B"), {.ranks = 4, .shard_optimizer = true}, 1, 1024);
  const auto times = [](int64_t a, int64_t b) {
    return static_cast<double>(a) / static_cast<double>(b);
  };
  EXPECT_NEAR(times(whole.moments, shared.moments), 4, 0.05);
  EXPECT_NEAR(times(whole.averages, shared.averages), 4, 0.05);
  EXPECT_EQ(shared.checkpoint, shared.moments * 2);  // weights, moments and averages of its share
  EXPECT_EQ(whole.weights + whole.gradients + whole.activations + whole.checkpoint,
            shared.weights + shared.gradients + shared.activations + shared.checkpoint);
  // The piece that travels, and its copies.
  EXPECT_EQ(shared.workspace, whole.workspace + 4 * (16 << 20));
  const TrainingMemory copied =
      TrainingMemoryOf(Preset("1B"), {.ranks = 4, .copies_gradients = true}, 1, 1024);
  EXPECT_EQ(copied.workspace, whole.workspace + whole.gradients);
}

TEST(TrainingMemoryOf, CodesAreOfTheTernaryMatricesAlone) {
  ModelConfig c = Preset("125M");
  const int64_t head = c.vocab * c.hidden, ternary = MatrixParameterCount(c) - head;
  EXPECT_EQ(TrainingMemoryOf(c, {}, 1, 128).codes, ternary);
  EXPECT_EQ(TrainingMemoryOf(c, {.cached_code_bytes = 4}, 1, 128).codes, 4 * ternary);
  c.lm_head_ternary = true;
  EXPECT_EQ(TrainingMemoryOf(c, {}, 1, 128).codes, ternary + head);
  c.weight_rule = WeightRule::kNone;
  EXPECT_EQ(TrainingMemoryOf(c, {}, 1, 128).codes, 0);
}

TEST(TrainingMemoryOf, CountsWhatIsAskedBesideTheStep) {
  const ModelConfig c = Preset("125M");
  const TrainingMemory plain = TrainingMemoryOf(c, {}, 1, 128);
  // The gradients of gate and up, and of the head or the embedding.
  EXPECT_EQ(TrainingMemoryOf(c, {.accumulates = true}, 1, 128).workspace,
            plain.workspace + 4 * (2 * c.ffn + c.vocab) * c.hidden);
  // No operand is made of codes.
  EXPECT_EQ(TrainingMemoryOf(c, {.bf16_compute = true}, 1, 128).workspace,
            plain.workspace - 4 * 2 * c.ffn * c.hidden);
  EXPECT_GT(TrainingMemoryOf(c, {.muon = true}, 1, 128).workspace,
            plain.workspace + 4 * c.ffn * c.hidden);
  // All logits of a window, where a step of a shallow network holds a chunk of them.
  ModelConfig shallow = c;
  shallow.layers = 1;
  const TrainingMemory step = TrainingMemoryOf(shallow, {}, 1, 512),
                       evaluated = TrainingMemoryOf(shallow, {.evaluated_weights = 1}, 1, 512);
  EXPECT_GT(evaluated.workspace, step.workspace);
  EXPECT_GT(evaluated.activations + evaluated.workspace, int64_t{512} * 65536 * 4);
  EXPECT_GT(TrainingMemoryOf(shallow, {.evaluated_weights = 2}, 1, 512).workspace,
            evaluated.workspace);
  EXPECT_EQ(TrainingMemoryOf(c, {.gpu = true}, 1, 128).process, 0);
}

TEST(ActivationBytes, HasTheGoldenFigures) {
  const ModelConfig c = Preset("7B");
  // A token and layer: 45 568 values, 23 296 codes, 36 numbers of heads and scales.
  constexpr int64_t kLayer = 45568 * 4 + 23296 + 36 * 4;
  EXPECT_EQ(ActivationBytes(c, 1, 4, 0), 32 * kLayer);
  EXPECT_EQ(ActivationBytes(c, 2048, 2, 0), 32 * 2048 * int64_t{45568 * 2 + 23296 + 36 * 4});
  EXPECT_EQ(ActivationBytes(c, 1, 4, 1), 32 * 4096 * 4 + kLayer);
  EXPECT_EQ(ActivationBytes(c, 1, 4, 5), 7 * 4096 * 4 + 5 * kLayer);  // seven segments
  EXPECT_EQ(ActivationBytes(c, 1, 4, 100), 4096 * 4 + 32 * kLayer);
  EXPECT_EQ(ActivationBytes(c, 0, 2, 0), 0);
  ModelConfig plain = c;  // inputs of the matrices are kept as they are
  plain.activations = ActivationRule::kNone;
  EXPECT_EQ(ActivationBytes(plain, 1, 4, 0), 32 * ((45568 + 23296) * 4 + 36 * 4));
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
