#include "inference/cuda/device_plan.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/tiny_models.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(LayoutOfLayer, PlacesEveryPartApartAndAligned) {
  for (const ModelConfig& c : {Deep(TinyConfig()), TinyBitnetConfig(), TinyLlamaConfig()}) {
    const DeviceLayerLayout l = LayoutOfLayer(c);
    std::set<int64_t> places = {l.norm_in, l.norm_post};
    size_t parts = 2;
    for (const int64_t norm : {l.q_norm, l.k_norm})
      if (c.qk_norm()) parts += places.insert(norm).second ? 1 : 100;
    for (const int64_t norm : {l.attn_sub_norm, l.ffn_sub_norm})
      if (c.sub_norms()) parts += places.insert(norm).second ? 1 : 100;
    EXPECT_EQ(l.q_norm == DeviceLayerLayout::kNone, !c.qk_norm());
    EXPECT_EQ(l.ffn_sub_norm == DeviceLayerLayout::kNone, !c.sub_norms());
    for (const auto& m : {l.qkv, l.o, l.gate_up, l.down}) {
      places.insert(m.words);
      places.insert(m.scales);
      parts += 2;
    }
    EXPECT_EQ(places.size(), parts);
    for (const int64_t place : places) {
      EXPECT_EQ(place % 256, 0);
      EXPECT_LT(place, l.bytes);
    }
    EXPECT_EQ(l.bytes % 256, 0);
  }
}

// 1.1B: 11.0 million codes a layer in two bits, and scales and norms.
TEST(LayoutOfLayer, TakesTwoBitsACode) {
  ModelConfig c;
  c.hidden = 2048;
  c.heads = 32;
  c.kv_heads = 4;
  c.head_dim = 64;
  c.ffn = 5632;
  const int64_t codes = 2048 * (2048 + 2 * 256 + 2048) + 3 * 2048 * 5632;
  EXPECT_GT(LayoutOfLayer(c).bytes, codes / 4);
  EXPECT_LT(LayoutOfLayer(c).bytes, codes / 4 * 102 / 100);
}

TEST(DeviceOuterBytes, CountsATiedHeadOnce) {
  ModelConfig c = TinyConfig();  // hidden 40, vocabulary 270
  const int64_t rest = 4 * 40 + 2 * 256 * 5 * 4;
  EXPECT_EQ(DeviceOuterBytes(c, TpackType::kF32, TpackType::kRowInt8),
            270 * 48 * 4 + 270 * (128 + 4) + rest);
  EXPECT_EQ(DeviceOuterBytes(c, TpackType::kBF16, TpackType::kRowInt4),
            270 * 48 * 2 + 270 * (64 + 4) + rest);
  c.tied_embeddings = true;
  EXPECT_EQ(DeviceOuterBytes(c, TpackType::kF32, TpackType::kF32), 270 * 48 * 4 + rest);
}

TEST(PlanDeviceWeights, KeepsAsManyLayersAsFitBesideTwoBuffers) {
  const ModelConfig c = Deep(TinyConfig(), 10);
  const int64_t layer = LayoutOfLayer(c).bytes, outer = 1000;
  const auto plan = [&](int64_t bytes, int64_t layers) {
    return *PlanDeviceWeights(c, outer, {bytes, layers});
  };
  for (const int64_t all : {int64_t{0}, outer + 10 * layer}) {
    EXPECT_EQ(plan(all, 4).groups(), 0);
    EXPECT_EQ(plan(all, 4).resident_layers, 10);
    EXPECT_EQ(plan(all, 4).memory_bytes(), outer + 10 * layer);
    EXPECT_EQ(plan(all, 4).streamed_bytes(), 0);
  }
  for (int64_t group = 1; group < 5; ++group) {
    for (int64_t resident = 0; resident < 10 - 2 * group; ++resident) {
      const int64_t budget = outer + (resident + 2 * group) * layer;
      for (const int64_t more : {int64_t{0}, layer - 1}) {
        const DevicePlan p = plan(budget + more, group);
        EXPECT_EQ(p.resident_layers, resident);
        EXPECT_EQ(p.group_layers, group);
        EXPECT_EQ(p.memory_bytes(), budget);
        EXPECT_EQ(p.streamed_bytes(), (10 - resident) * layer);
        EXPECT_GE(p.groups(), 3);
        EXPECT_EQ((p.groups() - 1) * group + (10 - resident - 1) % group + 1, 10 - resident);
      }
    }
  }
}

TEST(PlanDeviceWeights, RefusesWithTheArithmeticAndWhatWouldDo) {
  const ModelConfig c = Deep(TinyConfig(), 10);
  const int64_t layer = LayoutOfLayer(c).bytes;
  EXPECT_THAT(
      PlanDeviceWeights(c, 1000, {1000 + 8 * layer - 1, 4}).status(),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr(absl::StrCat("needs ", 1000 + 8 * layer, " bytes")),
                     HasSubstr(absl::StrCat("= 1000 of embedding, head, final norm and rotations + "
                                            "2 buffers of ",
                                            4 * layer, " (4 of 10 layers)")),
                     HasSubstr(absl::StrCat("allows ", 1000 + 8 * layer - 1, "; raise it to ",
                                            1000 + 8 * layer, ", or say --stream-layers 3 (",
                                            1000 + 6 * layer, ")")))));
  EXPECT_THAT(PlanDeviceWeights(c, 1000, {900, 4}).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr(absl::StrCat("or say --stream-layers 1 (and raise it to ",
                                              1000 + 2 * layer, ")"))));
  EXPECT_THAT(
      PlanDeviceWeights(c, 1000, {900, 1}).status(),
      StatusIs(absl::StatusCode::kResourceExhausted, ::testing::Not(HasSubstr("--stream-layers"))));
}

TEST(HostCopyBytes, IsEnoughForEveryTypeOfTables) {
  const ModelConfig c = Deep(TinyConfig(), 10);
  EXPECT_EQ(HostCopyBytes(c, {}), 0);
  for (int64_t budget = 100'000; budget < 3'000'000; budget += 50'000) {
    for (const TpackType type : {TpackType::kF32, TpackType::kRowInt4}) {
      const auto plan = PlanDeviceWeights(c, DeviceOuterBytes(c, type, type), {budget, 2});
      if (!plan.ok()) continue;
      EXPECT_GE(HostCopyBytes(c, {budget, 2}), plan->streamed_bytes() + 2 * plan->group_bytes());
    }
  }
}

}  // namespace
}  // namespace tritter
