#include "coordinator/decide/memory.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace tritter {
namespace {

RunSpec Nano() {
  RunSpec s;
  s.model.hidden = 128;
  s.model.layers = 4;
  s.model.heads = 4;
  s.model.kv_heads = 2;
  s.model.head_dim = 32;
  s.model.ffn = 384;
  s.model.vocab = 264;
  s.sequence_length = 128;
  s.global_batch = 16;
  s.max_workers = 2;
  return s;
}

TEST(TrainingBytes, IsThePredictionOfModelMemoryAndATenth) {
  const RunSpec s = Nano();
  const TrainingMemory m = TrainingMemoryOf(s.model, TrainingOptionsOf(s, 4), 4, 128);
  EXPECT_EQ(TrainingBytes(s, 4), m.total() + m.total() / 10);
  EXPECT_GT(TrainingBytes(s, 8), TrainingBytes(s, 4));
}

TEST(TrainingOptionsOf, IsForTheSmallestWorld) {
  RunSpec s = Nano();
  EXPECT_EQ(TrainingOptionsOf(s, 8).ranks, 1);
  EXPECT_TRUE(TrainingOptionsOf(s, 8).accumulates);  // one worker may have all sixteen
  EXPECT_FALSE(TrainingOptionsOf(s, 16).accumulates);
  s.min_workers = s.max_workers = 4;
  EXPECT_EQ(TrainingOptionsOf(s, 4).ranks, 4);
  EXPECT_FALSE(TrainingOptionsOf(s, 4).accumulates);
}

TEST(TrainingOptionsOf, GradientsAreCopiedWhereGlooSumsThem) {
  RunSpec s = Nano();
  s.min_workers = s.max_workers = 1;
  EXPECT_FALSE(TrainingOptionsOf(s, 4).copies_gradients);
  s.max_workers = 4;
  EXPECT_TRUE(TrainingOptionsOf(s, 4).copies_gradients) << "there may be four";
  s.device = "cuda";
  EXPECT_FALSE(TrainingOptionsOf(s, 4).copies_gradients) << "NCCL needs no copy";
  s.device = "cpu";
  s.sync = "outer";
  EXPECT_FALSE(TrainingOptionsOf(s, 4).copies_gradients) << "gradients do not travel";
}

TEST(TrainingOptionsOf, SaysWhatTheRunAsksFor) {
  RunSpec s = Nano();
  s.ema_window = 100;
  const TrainingOptions plain = TrainingOptionsOf(s, 8);
  EXPECT_FALSE(plain.bf16_compute);  // precision auto: the worker's processor decides
  EXPECT_FALSE(plain.muon || plain.moments_8bit || plain.shard_optimizer || plain.gpu);
  EXPECT_EQ(plain.recompute_layers, 0);
  EXPECT_EQ(plain.evaluated_weights, 2);
  s.ema_window = 1;
  EXPECT_EQ(TrainingOptionsOf(s, 8).evaluated_weights, 1) << "the averages are the weights";
  s.ema_window = 100;
  s.precision = "bf16";
  s.optimizer = "muon";
  s.moments = "8bit";
  s.shard_optimizer = true;
  s.activation_checkpointing = 2;
  s.evaluate_raw = false;
  const TrainingOptions o = TrainingOptionsOf(s, 8);
  EXPECT_TRUE(o.bf16_compute && o.muon && o.moments_8bit && o.shard_optimizer);
  EXPECT_EQ(o.recompute_layers, 2);
  EXPECT_EQ(o.evaluated_weights, 1);
  s.precision = "auto";
  s.device = "cuda";
  EXPECT_TRUE(TrainingOptionsOf(s, 8).gpu && TrainingOptionsOf(s, 8).bf16_compute);
  EXPECT_EQ(TrainingOptionsOf(s, 8).evaluated_weights, 0);
}

TEST(TrainingBytes, EachSwitchThatSavesMemoryTakesLess) {
  RunSpec s = Nano();
  s.min_workers = 4;
  s.max_workers = 8;
  const int64_t plain = TrainingBytes(s, 4);
  for (const auto& set : std::vector<std::function<void(RunSpec*)>>{
           [](RunSpec* r) { r->moments = "8bit"; }, [](RunSpec* r) { r->shard_optimizer = true; },
           [](RunSpec* r) { r->activation_checkpointing = 1; },
           [](RunSpec* r) { r->precision = "bf16"; }, [](RunSpec* r) { r->min_workers = 8; }}) {
    RunSpec changed = s;
    set(&changed);
    EXPECT_LT(TrainingBytes(changed, 4), plain);
  }
}

TEST(MostSequences, OnePassWhereTheSumOfSeveralDoesNotFit) {
  RunSpec s = Nano();
  s.min_workers = s.max_workers = 2;
  const int64_t pass = s.global_batch / 2;  // equal shares need no second one
  ASSERT_FALSE(TrainingOptionsOf(s, pass).accumulates);
  const int64_t enough = TrainingBytes(s, pass);
  EXPECT_EQ(MostSequences(s, pass, 0), s.global_batch) << "unknown";
  EXPECT_EQ(MostSequences(s, pass, enough), pass);
  EXPECT_EQ(MostSequences(s, pass, 2 * enough), s.global_batch);
  ASSERT_TRUE(TrainingOptionsOf(s, 1).accumulates);
  EXPECT_EQ(MostSequences(s, 1, TrainingBytes(s, 1)), s.global_batch) << "counted already";
}

TEST(DeriveMicroBatch, IsTheShareOfTheLargestWorldWhateverTheWorldIs) {
  EXPECT_EQ(DeriveMicroBatch(Nano(), 0), 8);
  RunSpec odd = Nano();
  odd.max_workers = 32;
  EXPECT_EQ(DeriveMicroBatch(odd, 0), 1);
}

TEST(DeriveMicroBatch, TakesWhatTheRunSaysUnchanged) {
  RunSpec s = Nano();
  s.micro_batch = 5;
  EXPECT_EQ(DeriveMicroBatch(s, 1), 5);
}

TEST(DeriveMicroBatch, IsHalvedUntilItFits) {
  const int64_t limit = TrainingBytes(Nano(), 3);
  EXPECT_EQ(DeriveMicroBatch(Nano(), limit), 2);
  EXPECT_EQ(DeriveMicroBatch(Nano(), 1), 1);
}

}  // namespace
}  // namespace tritter
