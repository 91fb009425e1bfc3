#include "worker/training/gradient_reducer.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/recording_collective.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Six parameters of 10, 11 … 15 floats: buckets of two.
std::vector<ParameterSlot> Slots() {
  std::vector<ParameterSlot> slots;
  int64_t offset = 0;
  for (int64_t i = 0; i < 6; ++i) {
    ParameterSlot slot;
    slot.offset = offset;
    slot.size = 10 + i;
    offset += slot.size;
    slots.push_back(slot);
  }
  return slots;
}
constexpr int64_t kFloats = 75, kBucket = 30;

struct Rank {
  explicit Rank(std::unique_ptr<Collective> member, bool in_order)
      : collective(std::move(member)),
        reducer(slots, gradient.data(), &collective, {kBucket, in_order}) {}
  std::vector<ParameterSlot> slots = Slots();
  std::vector<float> gradient = std::vector<float>(kFloats, 1.0f);
  RecordingCollective collective;
  GradientReducer reducer;
};

// Each rank completes its parameters in an order of its own.
void Reduce(const std::vector<std::vector<int>>& orders, std::vector<std::unique_ptr<Rank>>* ranks,
            bool in_order) {
  auto group = MakeFakeGroup(static_cast<int>(orders.size()));
  for (auto& member : group) ranks->push_back(std::make_unique<Rank>(std::move(member), in_order));
  std::vector<std::thread> threads;
  for (size_t r = 0; r < orders.size(); ++r) {
    threads.emplace_back([&, r] {
      Rank& rank = *(*ranks)[r];
      for (int repeat = 0; repeat < 2; ++repeat) {
        rank.reducer.BeginStep();
        for (const int i : orders[r]) rank.reducer.Ready(rank.slots[i].offset, rank.slots[i].size);
        EXPECT_OK(rank.reducer.Finish());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(GradientReducer, StartsABucketAsSoonAsItIsComplete) {
  std::vector<std::unique_ptr<Rank>> ranks;
  Reduce({{2, 3, 4, 5, 1, 0}, {2, 3, 4, 5, 1, 0}}, &ranks, false);
  for (const auto& rank : ranks) {
    EXPECT_THAT(rank->collective.operations(),
                ElementsAre("sum 25 floats", "sum 29 floats", "sum 21 floats",  //
                            "sum 25 floats", "sum 29 floats", "sum 21 floats"));
    EXPECT_EQ(rank->gradient, std::vector<float>(kFloats, 4.0f));
  }
}

TEST(GradientReducer, InOrderTheOrderOfCompletionMayDiffer) {
  std::vector<std::unique_ptr<Rank>> ranks;
  Reduce({{5, 4, 3, 2, 1, 0}, {0, 1, 2, 3, 4, 5}, {2, 5, 3, 0, 1, 4}}, &ranks, true);
  for (const auto& rank : ranks) {
    EXPECT_THAT(rank->collective.operations(),
                ElementsAre("sum 29 floats", "sum 25 floats", "sum 21 floats",  //
                            "sum 29 floats", "sum 25 floats", "sum 21 floats"));
    EXPECT_EQ(rank->gradient, std::vector<float>(kFloats, 9.0f));
  }
}

TEST(GradientReducer, SaysWhichBucketWasNeverCompleted) {
  for (const bool in_order : {false, true}) {
    auto group = MakeFakeGroup(2);
    Rank rank(std::move(group[0]), in_order);
    rank.reducer.BeginStep();
    rank.reducer.Ready(rank.slots[0].offset, rank.slots[0].size);
    EXPECT_THAT(rank.reducer.Finish(),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("bucket at 0 lacks 11 values")));
  }
}

}  // namespace
}  // namespace tritter
