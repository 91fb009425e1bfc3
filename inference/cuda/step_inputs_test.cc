#include "inference/cuda/step_inputs.h"

#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::Test;

TEST(GraphShape, AFewShapesServeEveryStep) {
  EXPECT_EQ(GraphShape(1, 0), (StepShape{1, 1}));
  EXPECT_EQ(GraphShape(1, 255), (StepShape{1, 1}));
  EXPECT_EQ(GraphShape(2, 256), (StepShape{2, 4}));
  EXPECT_EQ(GraphShape(3, 1023), (StepShape{4, 4}));
  EXPECT_EQ(GraphShape(5, 1024), (StepShape{8, 16}));
  EXPECT_EQ(GraphShape(33, 131071), (StepShape{64, 1024}));
  for (int64_t rows = 1; rows <= 64; ++rows) {
    for (int64_t last : {0, 255, 256, 5000}) {
      const StepShape shape = GraphShape(rows, last), plain = PlainShape(rows, last);
      EXPECT_GE(shape.rows, plain.rows);
      EXPECT_LT(shape.rows, 2 * plain.rows + (rows == 1));
      EXPECT_GE(shape.splits, plain.splits);
      EXPECT_EQ(plain.splits, last / 256 + 1);
    }
  }
}

// Pages of 32 bytes in one pool, by number.
class StepInputsTest : public Test {
 protected:
  std::vector<uint8_t*> Table(const std::vector<int>& pages) {
    std::vector<uint8_t*> table;
    for (const int p : pages) table.push_back(pool_ + 32 * p);
    return table;
  }
  StepInputs Make(const std::vector<ForwardRow>& rows, int bundle_rows) {
    return MakeStepInputs(rows, PlainShape(static_cast<int64_t>(rows.size()), 40), {pool_, 32},
                          bundle_rows, false);
  }
  static std::vector<std::pair<int, int>> Bundles(const StepInputs& in) {
    std::vector<std::pair<int, int>> bundles;
    for (const cuda::RowBundle& b : in.bundles) bundles.emplace_back(b.first, b.count);
    return bundles;
  }
  alignas(64) uint8_t pool_[32 * 16];
};

TEST_F(StepInputsTest, EachSequenceHasItsPagesOnceAsFarAsTheyAreRead) {
  const auto a = Table({3, 7, 1}), b = Table({9, 2, 4});
  const StepInputs in = Make({{11, 15, &a, false}, {12, 16, &a, true}, {13, 40, &b, true}}, 8);
  EXPECT_EQ(in.tokens, (std::vector<int32_t>{11, 12, 13}));
  EXPECT_EQ(in.positions, (std::vector<int32_t>{15, 16, 40}));
  EXPECT_EQ(in.first_page, (std::vector<int32_t>{0, 0, 2}));
  EXPECT_EQ(in.page_ids, (std::vector<int32_t>{3, 7, 9, 2, 4}));
  EXPECT_EQ(in.final_rows, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(in.logits, 2);
  EXPECT_EQ(in.hidden, 0);
}

TEST_F(StepInputsTest, NeighboursOfOneSequenceAttendTogetherUpToTheBound) {
  const auto a = Table({0, 1}), b = Table({2, 3});
  const std::vector<ForwardRow> rows = {{1, 4, &a}, {1, 5, &a}, {1, 6, &a}, {1, 0, &b},
                                        {1, 1, &b}, {1, 3, &b}, {1, 9, &a}};
  using Pairs = std::vector<std::pair<int, int>>;
  EXPECT_EQ(Bundles(Make(rows, 8)), (Pairs{{0, 3}, {3, 2}, {5, 1}, {6, 1}}));
  EXPECT_EQ(Bundles(Make(rows, 2)), (Pairs{{0, 2}, {2, 1}, {3, 2}, {5, 1}, {6, 1}}));
  EXPECT_EQ(Make(rows, 1).bundles.size(), rows.size());
  // A sequence that comes twice has its pages twice: each run of rows has a table of its own.
  EXPECT_EQ(Make(rows, 8).first_page, (std::vector<int32_t>{0, 0, 0, 1, 1, 1, 2}));
}

TEST_F(StepInputsTest, LogitsComeBeforeHiddenStates) {
  const auto a = Table({0});
  const StepInputs in =
      Make({{1, 0, &a, false, true}, {2, 1, &a, true, false}, {3, 2, &a, true, true}}, 8);
  EXPECT_EQ(in.final_rows, (std::vector<int32_t>{1, 2, 0, 2}));
  EXPECT_EQ(in.logits, 2);
  EXPECT_EQ(in.hidden, 2);
}

TEST_F(StepInputsTest, AGraphIsFilledWithRowsThatTakeNoPart) {
  const auto a = Table({5}), b = Table({6}), c = Table({8});
  const StepInputs in =
      MakeStepInputs(std::vector<ForwardRow>{{1, 3, &a, true}, {2, 9, &b, true}, {3, 0, &c, true}},
                     {4, 1}, {pool_, 32}, 1, true);
  EXPECT_EQ(in.tokens, (std::vector<int32_t>{1, 2, 3, 0}));
  EXPECT_EQ(in.positions, (std::vector<int32_t>{3, 9, 0, -1}));
  EXPECT_EQ(in.page_ids, (std::vector<int32_t>{5, 6, 8}));
  EXPECT_EQ(in.final_rows, (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(in.logits, 3);
  EXPECT_EQ(in.bundles.size(), 4u);
}

}  // namespace
}  // namespace tritter
