#include "model/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "kernels/gemm.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

DevicePlan Make(const char* preset, const char* device, const DevicePlanOptions& options = {}) {
  return MakeDevicePlan(*PresetConfig(preset), *FindDevice(device), options);
}

const TrainingPlan& Training(const DevicePlan& plan, const std::string& name) {
  for (const TrainingPlan& training : plan.training) {
    if (training.name == name) return training;
  }
  ADD_FAILURE() << "no plan is called " << name;
  return plan.training.front();
}
constexpr char kBf16[] = "full training, BF16", kLora[] = "LoRA",
               kSmall[] = "full training, BF16, 8-bit moments";

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
  const TrainingPlan& full = Training(plan, kBf16);
  EXPECT_FALSE(full.fits);
  EXPECT_EQ(full.micro_batch, 0);
  EXPECT_THAT(full.reason, HasSubstr("the safe budget is 125.54 GB"));
  EXPECT_EQ(full.tokens, 20 * int64_t{6207844352});
  EXPECT_NEAR(full.tokens_per_second, 10625.736, 0.001);
  EXPECT_NEAR(full.hours, 3245.7068, 0.001);
  EXPECT_EQ(full.memory.process, 0);     // the allocator's peak
  EXPECT_EQ(full.memory.checkpoint, 0);  // in main memory
  const TrainingPlan& lora = Training(plan, kLora);
  EXPECT_TRUE(lora.fits);
  EXPECT_EQ(lora.trainable_parameters, 13631488);
  EXPECT_EQ(lora.base_bytes, 2497167360);
  EXPECT_NEAR(lora.tokens_per_second, 10625.736 * 1.5, 0.01);
  // 8-bit moments decide.
  const TrainingPlan& small = Training(plan, kSmall);
  EXPECT_TRUE(small.fits);
  EXPECT_GE(small.micro_batch, 1);
}

TEST(MakeDevicePlan, WorkersShareTheMomentsAndTheWork) {
  DevicePlanOptions options;
  options.workers = 8;
  const DevicePlan plan = Make("7B", "A100", options);
  const TrainingPlan& shared =
      Training(plan, "full training, BF16, 8-bit moments, shared by 8 workers");
  const TrainingPlan& alone = Training(plan, kSmall);
  // The parts are even but for the size of a matrix.
  const auto eighth = [](int64_t bytes) { return static_cast<double>(bytes) / 8; };
  EXPECT_NEAR(shared.memory.moments, eighth(alone.memory.moments), 0.02 * alone.memory.moments);
  EXPECT_NEAR(shared.memory.averages, eighth(alone.memory.averages), 0.02 * alone.memory.averages);
  EXPECT_EQ(shared.memory.weights, alone.memory.weights);
  EXPECT_NEAR(shared.hours, Training(Make("7B", "A100"), kSmall).hours / 8, 1e-6);
  EXPECT_EQ(Make("7B", "A100").training.size(), plan.training.size() - 2);
}

TEST(AutoPrecision, IsThatOfGpusOrOfThisProcessor) {
  EXPECT_EQ(AutoPrecision(/*cpu=*/false), "bf16");
  EXPECT_EQ(AutoPrecision(/*cpu=*/true), HasBf16Gemm() ? "bf16" : "fp32");
}

TEST(MakeDevicePlan, MainMemoryHoldsTheProcessToo) {
  DevicePlanOptions options;
  options.cpu = true;
  DeviceSpec device;
  device.memory_bytes = 24 * kGigabyte;
  const DevicePlan plan = MakeDevicePlan(*PresetConfig("100M"), device, options);
  EXPECT_EQ(plan.budget_bytes, 21'600'000'000);
  const TrainingPlan& full = Training(plan, "full training, FP32");
  EXPECT_TRUE(full.fits);
  EXPECT_GT(full.memory.process, 0);
  EXPECT_EQ(full.memory.checkpoint, 16 * ParameterCount(*PresetConfig("100M")));
  EXPECT_EQ(full.hours, 0);  // no speed is known
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
      for (const TrainingPlan& p : plan.training) {
        EXPECT_EQ(p.fits, p.micro_batch > 0);
        EXPECT_EQ(p.fits, p.base_bytes + p.memory.total() <= plan.budget_bytes)
            << preset << " " << name;
      }
      EXPECT_LE(plan.streamed.weight_bytes - 8 * PackedLayerBytes(config),
                plan.resident.weight_bytes);
      EXPECT_GE(plan.streamed.seconds_per_token, plan.resident.seconds_per_token);
    }
  }
}

TEST(MakeDevicePlan, RecomputesActivationsOnlyWhenKeepingThemDoesNotFit) {
  EXPECT_EQ(Training(Make("100M", "H100"), kBf16).options.recompute_layers, 0);
  const DevicePlan small = Make("1B", "RTX 3090 Ti");
  EXPECT_EQ(Training(small, kBf16).options.recompute_layers, 1);
}

TEST(TrainingFlopsPerToken, CountsMatricesAndCausalAttention) {
  EXPECT_EQ(TrainingFlopsPerToken(*PresetConfig("7B"), 2048), 37245419520.0);
}

}  // namespace
}  // namespace tritter
