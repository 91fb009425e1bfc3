#include "worker/training/gradient_sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class GradientSinkTest : public ::testing::Test {
 protected:
  GradientSinkTest() : parameters_(Config()), sink_(&parameters_) {
    sink_.set_ready([this](int64_t offset, int64_t size) { ready_.emplace_back(offset, size); });
  }
  static ModelConfig Config() {
    ModelConfig config = *PresetConfig("nano");
    config.layers = 1;
    return config;
  }
  // The gradient of [offset, offset + 4), every element `value`.
  void Put(int64_t offset, float value) {
    std::fill_n(sink_.Begin(offset, 4), 4, value);
    sink_.Commit(offset, 4);
  }
  float At(int64_t offset) { return parameters_.gradient()[offset]; }

  ParameterStore parameters_;
  GradientSink sink_;
  std::vector<std::pair<int64_t, int64_t>> ready_;
};

TEST_F(GradientSinkTest, MicroBatchesAddUpAndTheLastOneIsReady) {
  sink_.BeginMicroBatch(true, false);
  Put(8, 1.0f);
  EXPECT_TRUE(ready_.empty());
  sink_.BeginMicroBatch(false, true);
  Put(8, 2.0f);
  EXPECT_EQ(At(8), 3.0f);
  EXPECT_EQ(At(11), 3.0f);
  EXPECT_THAT(ready_, ElementsAre(Pair(8, 4)));
}

// The head and the rows of a tied embedding, with the gradient of a block between them.
TEST_F(GradientSinkTest, PartsOfASumAreReadyOnceAllAreThere) {
  for (bool last : {false, true}) {
    sink_.BeginMicroBatch(!last, last);
    float* head = sink_.BeginSum(0, 16);
    std::fill_n(head, 16, 10.0f);
    Put(32, 1.0f);
    float* rows = sink_.OpenSum(0);
    ASSERT_EQ(rows, head);
    rows[3] += 5.0f;
    sink_.EndSum();
    EXPECT_EQ(sink_.OpenSum(0), nullptr);
  }
  EXPECT_EQ(At(0), 20.0f);
  EXPECT_EQ(At(3), 30.0f);
  EXPECT_EQ(At(32), 2.0f);
  EXPECT_THAT(ready_, ElementsAre(Pair(32, 4), Pair(0, 16)));
}

// A layer that is called for one chunk of tokens after the other.
TEST_F(GradientSinkTest, WhatIsCommittedInsideASumIsAddedToIt) {
  for (bool last : {false, true}) {
    sink_.BeginMicroBatch(!last, last);
    std::fill_n(sink_.BeginSum(0, 8), 8, 0.0f);
    for (float chunk : {1.0f, 2.0f, 3.0f}) {
      Put(0, chunk);
      Put(4, 10 * chunk);
    }
    EXPECT_TRUE(ready_.empty());
    sink_.EndSum();
  }
  EXPECT_EQ(At(3), 12.0f);
  EXPECT_EQ(At(4), 120.0f);
  EXPECT_THAT(ready_, ElementsAre(Pair(0, 8)));
}

}  // namespace
}  // namespace tritter
