#include "model/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

DevicePlan Make(const char* preset, const char* device, const DevicePlanOptions& options = {}) {
  return MakeDevicePlan(*PresetConfig(preset), *FindDevice(device), options);
}

TEST(FindDevice, KnowsTheNamedDevicesHoweverTheyAreWritten) {
  for (const char* name : {"RTX 5080", "RTX 3090 Ti", "RTX 4090", "A100", "H100", "H200"}) {
    ASSERT_OK_AND_ASSIGN(const DeviceSpec device, FindDevice(name));
    EXPECT_EQ(device.name, name);
    EXPECT_GT(device.int8, device.bf16);
    EXPECT_GT(device.bandwidth, device.host_bandwidth);
  }
  ASSERT_OK_AND_ASSIGN(const DeviceSpec device, FindDevice("rtx-4090"));
  EXPECT_EQ(device.memory_bytes, 24 * kGigabyte);
  EXPECT_THAT(FindDevice("H300"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("did you mean")));
}

TEST(MakeDevicePlan, TrainingOfA7BOnAnH200) {
  const DevicePlan plan = Make("7B", "H200");
  EXPECT_EQ(plan.budget_bytes, 125'540'000'000);
  // 23 bytes a parameter are 142.8 GB before any activation.
  EXPECT_FALSE(plan.full.fits);
  EXPECT_EQ(plan.full.micro_batch, 0);
  EXPECT_THAT(plan.full.reason, HasSubstr("the safe budget is 125.54 GB"));
  EXPECT_EQ(plan.full.tokens, 20 * int64_t{6207844352});
  EXPECT_NEAR(plan.full.tokens_per_second, 10625.736, 0.001);
  EXPECT_NEAR(plan.full.hours, 3245.7068, 0.001);
  EXPECT_TRUE(plan.lora.fits);
  EXPECT_EQ(plan.lora.trainable_parameters, 13631488);
  EXPECT_EQ(plan.lora.base_bytes, 2497167360);
  EXPECT_NEAR(plan.lora.tokens_per_second, 10625.736 * 1.5, 0.01);
}

TEST(MakeDevicePlan, EightBitMomentsDecideWhetherA7BTrainsOnAnH200) {
  DevicePlanOptions options;
  options.training.moments_8bit = true;
  const DevicePlan plan = Make("7B", "H200", options);
  EXPECT_TRUE(plan.full.fits);
  EXPECT_GE(plan.full.micro_batch, 1);
  EXPECT_LE(plan.full.memory.total(), plan.budget_bytes);
}

TEST(MakeDevicePlan, ResidentInferenceOfA7BOnA4090) {
  const DevicePlan plan = Make("7B", "RTX 4090");
  EXPECT_TRUE(plan.resident.fits);
  EXPECT_EQ(plan.resident.weight_bytes, 2497167360);
  EXPECT_EQ(plan.resident.activation_bytes, 172294144);
  EXPECT_EQ(plan.resident.kv_bytes_per_position, 40960);
  EXPECT_EQ(plan.resident.context, 131072);
  EXPECT_NEAR(plan.resident.seconds_per_token, 0.00243092, 1e-8);
  EXPECT_NEAR(plan.resident.seconds_per_token_at_context, 0.00243092 + 5368709120 / (1008e9 * 0.8),
              1e-8);
  EXPECT_FALSE(plan.resident.bound_by_compute);
}

TEST(MakeDevicePlan, StreamsA40BThroughASmallDeviceAtTheSpeedOfItsLink) {
  DevicePlanOptions options;
  options.system = DisplaySystem::kWayland;
  const DevicePlan plan = Make("40B", "RTX 5080", options);
  EXPECT_EQ(plan.budget_bytes, 12'680'000'000);
  EXPECT_FALSE(plan.resident.fits);  // 12.45 GB of weights leave no room
  EXPECT_EQ(plan.resident.context, 0);
  EXPECT_TRUE(plan.streamed.fits);
  EXPECT_EQ(plan.streamed.weight_bytes, 3521830912);
  EXPECT_EQ(plan.streamed.context, (12'680'000'000 - 3521830912 - 335937536) / 76800);
  EXPECT_NEAR(plan.streamed.seconds_per_token, 60 * 171789312.0 / (63e9 * 0.8), 1e-9);
}

TEST(MakeDevicePlan, AWiderCacheShortensTheContext) {
  DevicePlanOptions options;
  options.kv = KvType::kF32;
  const DevicePlan wide = Make("13B", "RTX 5080", options);
  const DevicePlan narrow = Make("13B", "RTX 5080");
  ASSERT_TRUE(wide.resident.fits);
  EXPECT_LT(wide.resident.context, narrow.resident.context);
  EXPECT_LT(wide.resident.context, 131072);
}

TEST(MakeDevicePlan, WhatItSaysFitsDoesAndTheNextDoesNot) {
  for (const std::string& preset : PresetNames()) {
    for (const std::string& name : DeviceNames()) {
      const ModelConfig config = *PresetConfig(preset);
      const DevicePlan plan = MakeDevicePlan(config, *FindDevice(name), {});
      for (const InferencePlan* p : {&plan.resident, &plan.streamed}) {
        const int64_t fixed = p->weight_bytes + p->activation_bytes;
        EXPECT_EQ(p->fits, fixed + p->kv_bytes_per_position <= plan.budget_bytes)
            << preset << " " << name;
        if (!p->fits) continue;
        EXPECT_LE(fixed + p->context * p->kv_bytes_per_position, plan.budget_bytes);
        if (p->context < config.context) {
          EXPECT_GT(fixed + (p->context + 1) * p->kv_bytes_per_position, plan.budget_bytes);
        }
      }
      for (const TrainingPlan* p : {&plan.full, &plan.lora}) {
        EXPECT_EQ(p->fits, p->micro_batch > 0);
        EXPECT_EQ(p->fits, p->base_bytes + p->memory.total() <= plan.budget_bytes)
            << preset << " " << name;
      }
      EXPECT_LE(plan.streamed.weight_bytes - 8 * PackedLayerBytes(config),
                plan.resident.weight_bytes);
      EXPECT_GE(plan.streamed.seconds_per_token, plan.resident.seconds_per_token);
    }
  }
}

TEST(MakeDevicePlan, RecomputesActivationsOnlyWhenKeepingThemDoesNotFit) {
  EXPECT_EQ(Make("100M", "H100").full.activations, ActivationPolicy::kKeepAll);
  EXPECT_EQ(Make("1B", "RTX 3090 Ti").full.activations, ActivationPolicy::kKeepLayerInputs);
}

TEST(TrainingFlopsPerToken, CountsMatricesAndCausalAttention) {
  EXPECT_EQ(TrainingFlopsPerToken(*PresetConfig("7B"), 2048), 37245419520.0);
}

}  // namespace
}  // namespace tritter
