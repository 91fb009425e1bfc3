#include "coordinator/decide/memory.h"

#include <gtest/gtest.h>

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

TEST(TrainingBytes, CountsThirtySixBytesAParameterAndActivationsByTheMicroBatch) {
  const int64_t one = TrainingBytes(Nano(), 1000, 1), two = TrainingBytes(Nano(), 1000, 2);
  EXPECT_EQ(TrainingBytes(Nano(), 2000, 1) - one, 36 * 1000);
  EXPECT_EQ(one - 36 * 1000, two - one);
  EXPECT_GT(two, one);
}

TEST(TrainingBytes, CountsTheCopyOfTheShareInTheSmallestWorld) {
  RunSpec s = Nano();
  const int64_t alone = TrainingBytes(s, 1'000'000, 1);
  s.min_workers = 4;
  // A quarter, and the feed-forward matrix that may tip the balance.
  EXPECT_EQ(alone - TrainingBytes(s, 1'000'000, 1), 16 * (1'000'000 - 250'000 - 128 * 384));
  EXPECT_EQ(TrainingBytes(s, 1000, 1), TrainingBytes(Nano(), 1000, 1));  // one tensor is all
}

TEST(TrainingBytes, EightBitMomentsAndAShardedOptimiserTakeLess) {
  RunSpec s = Nano();
  const int64_t whole = TrainingBytes(s, 1'000'000, 1);
  s.moments = "8bit";
  EXPECT_EQ(whole - TrainingBytes(s, 1'000'000, 1), 10 * 1'000'000) << "state and its copy";
  s.moments = "fp32";
  s.min_workers = 4;
  const int64_t copied = TrainingBytes(s, 1'000'000, 1);
  s.shard_optimizer = true;
  EXPECT_EQ(copied - TrainingBytes(s, 1'000'000, 1), 12 * (1'000'000 - 250'000 - 128 * 384));
}

TEST(DeriveMicroBatch, IsTheShareOfTheLargestWorldWhateverTheWorldIs) {
  EXPECT_EQ(DeriveMicroBatch(Nano(), 1000, 0), 8);
  RunSpec odd = Nano();
  odd.max_workers = 32;
  EXPECT_EQ(DeriveMicroBatch(odd, 1000, 0), 1);
}

TEST(DeriveMicroBatch, TakesWhatTheRunSaysUnchanged) {
  RunSpec s = Nano();
  s.micro_batch = 5;
  EXPECT_EQ(DeriveMicroBatch(s, 1000, 1), 5);
}

TEST(DeriveMicroBatch, IsHalvedUntilItFits) {
  const int64_t limit = TrainingBytes(Nano(), 1000, 3);
  EXPECT_EQ(DeriveMicroBatch(Nano(), 1000, limit), 2);
  EXPECT_EQ(DeriveMicroBatch(Nano(), 1000, 1), 1);
}

}  // namespace
}  // namespace tritter
