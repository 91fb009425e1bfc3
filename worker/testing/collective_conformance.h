// What every Collective must do. Instantiate with a factory that forms a whole group inside this
// process:
//   INSTANTIATE_TEST_SUITE_P(Gloo2, CollectiveConformance, testing::Values(GroupFactory{...}));
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "worker/collective.h"

namespace tritter {

struct GroupFactory {
  const char* name;
  int world_size;
  // All members, by rank.
  std::function<std::vector<std::unique_ptr<Collective>>()> make;
};

class CollectiveConformance : public testing::TestWithParam<GroupFactory> {
 protected:
  void SetUp() override {
    group_ = GetParam().make();
    ASSERT_EQ(group_.size(), static_cast<size_t>(GetParam().world_size));
    for (const auto& member : group_) ASSERT_NE(member, nullptr);
  }
  void TearDown() override {
    OnEveryRank([&](int rank) { group_[rank].reset(); });
  }
  // Runs `body` for each rank on a thread of its own.
  void OnEveryRank(const std::function<void(int rank)>& body) {
    std::vector<std::thread> threads;
    for (int r = 0; r < static_cast<int>(group_.size()); ++r) threads.emplace_back(body, r);
    for (auto& t : threads) t.join();
  }
  int world() const { return GetParam().world_size; }

  std::vector<std::unique_ptr<Collective>> group_;
};

}  // namespace tritter
