#include "worker/counting_collective.h"

#include <utility>
#include <vector>

#include "common/testing/status_matchers.h"
#include "worker/testing/collective_conformance.h"
#include "worker/testing/fake_collective.h"

namespace tritter {
namespace {

std::vector<std::unique_ptr<Collective>> Counted(int world_size) {
  std::vector<std::unique_ptr<Collective>> group;
  for (auto& member : MakeFakeGroup(world_size))
    group.push_back(std::make_unique<CountingCollective>(std::move(member)));
  return group;
}

INSTANTIATE_TEST_SUITE_P(Counting, CollectiveConformance,
                         testing::Values(GroupFactory{"two", 2, [] { return Counted(2); }},
                                         GroupFactory{"three", 3, [] { return Counted(3); }}));

// Bytes sent by each rank of a group of `world_size` in what `act` does with its member.
template <typename Act>
std::vector<int64_t> Sent(int world_size, const Act& act) {
  auto group = Counted(world_size);
  std::vector<std::thread> threads;
  for (auto& member : group) threads.emplace_back([&act, c = member.get()] { EXPECT_OK(act(c)); });
  for (std::thread& thread : threads) thread.join();
  std::vector<int64_t> sent;
  for (auto& member : group)
    sent.push_back(static_cast<CountingCollective*>(member.get())->sent_bytes());
  return sent;
}

TEST(CountingCollective, CountsWhatEachRankSends) {
  const auto sum_floats = [](Collective* c) -> absl::Status {
    std::vector<float> values(30);
    auto work = c->AllReduceSum(values.data(), 30);
    return work.ok() ? (*work)->Wait() : work.status();
  };
  EXPECT_EQ(Sent(1, sum_floats), (std::vector<int64_t>{0}));
  EXPECT_EQ(Sent(2, sum_floats), (std::vector<int64_t>{120, 120}));
  EXPECT_EQ(Sent(3, sum_floats), (std::vector<int64_t>{160, 160, 160}));
  const auto sum_doubles = [](Collective* c) {
    double values[3] = {};
    return c->AllReduceSum(values, 3);
  };
  EXPECT_EQ(Sent(2, sum_doubles), (std::vector<int64_t>{24, 24}));
  const auto gather = [](Collective* c) {
    char own[5] = {};
    std::vector<char> all(5 * c->world_size());
    return c->AllGather(own, 5, all.data());
  };
  EXPECT_EQ(Sent(3, gather), (std::vector<int64_t>{10, 10, 10}));
  const auto broadcast = [](Collective* c) {
    char bytes[7] = {};
    return c->Broadcast(bytes, 7, 1);
  };
  EXPECT_EQ(Sent(3, broadcast), (std::vector<int64_t>{0, 14, 0}));
}

}  // namespace
}  // namespace tritter
