#include "worker/host_staged_collective.h"

#include <memory>
#include <vector>

#include "common/testing/status_matchers.h"
#include "worker/testing/collective_conformance.h"
#include "worker/testing/gloo_group.h"

namespace tritter {
namespace {

using testing::HasSubstr;

constexpr int kCpu = -1;

// Every second member has its buffers copied, as a GPU among CPUs has.
std::vector<std::unique_ptr<Collective>> MakeMixed(int world_size) {
  auto group = MakeGlooGroup(world_size);
  for (int rank = 1; rank < world_size; rank += 2)
    group[rank] = HostStagedCollective(std::move(group[rank]), kCpu);
  return group;
}

std::vector<std::unique_ptr<Collective>> MakeAlone() {
  std::vector<std::unique_ptr<Collective>> group;
  group.push_back(HostStagedCollective(SingleProcessCollective(), kCpu));
  return group;
}

INSTANTIATE_TEST_SUITE_P(All, CollectiveConformance,
                         testing::Values(GroupFactory{"Alone", 1, MakeAlone},
                                         GroupFactory{"MixedTwo", 2, [] { return MakeMixed(2); }},
                                         GroupFactory{"MixedThree", 3,
                                                      [] { return MakeMixed(3); }}),
                         [](const auto& info) { return info.param.name; });

TEST(HostStagedCollective, RefusesABufferThatLiesElsewhere) {
  const auto alone = HostStagedCollective(SingleProcessCollective(), kCpu);
  std::vector<float> v(3, 1.0f);
  EXPECT_THAT(alone->AllReduceSum(v.data(), 3, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("buffer on device 0")));
}

TEST(HostStagedCollective, TheBufferIsReadAtTheStartAndWrittenByWait) {
  auto group = MakeMixed(2);
  std::vector<float> on_cpu = {1, 2}, staged = {10, 20};
  ASSERT_OK_AND_ASSIGN(auto theirs, group[1]->AllReduceSum(staged.data(), 2, kCpu));
  staged = {-1, -1};
  ASSERT_OK_AND_ASSIGN(auto ours, group[0]->AllReduceSum(on_cpu.data(), 2));
  ASSERT_OK(ours->Wait());
  EXPECT_EQ(staged, (std::vector<float>{-1, -1}));
  ASSERT_OK(theirs->Wait());
  EXPECT_EQ(staged, (std::vector<float>{11, 22}));
  EXPECT_EQ(on_cpu, (std::vector<float>{11, 22}));
}

}  // namespace
}  // namespace tritter
