#include "worker/memory_start.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/testing/status_matchers.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/fake_epoch_parts.h"

namespace tritter {
namespace {

using testing::HasSubstr;

class MemoryStartTest : public testing::Test {
 protected:
  // A trainer alone that has done two steps, the second on `slot`.
  std::unique_ptr<Trainer> Trained(int64_t slot) {
    auto trainer = *parts_.CreateTrainer(RunSpec(), alone_.get());
    EXPECT_OK(trainer->InitialiseFresh());
    for (const int64_t token : {int64_t{1}, slot})
      EXPECT_OK(trainer->Step({1, {token}, {1.0f}}, 1.0, 1, 0.5).status());
    return trainer;
  }
  std::unique_ptr<Trainer> Empty() { return *parts_.CreateTrainer(RunSpec(), alone_.get()); }
  // Every rank starts with its trainer; null and those in `empty` hold nothing.
  std::vector<absl::Status> Start(const std::vector<std::unique_ptr<Trainer>>& trainers,
                                  const std::vector<bool>& holds, int root) {
    const auto group = MakeFakeGroup(static_cast<int>(trainers.size()));
    std::vector<absl::Status> statuses(trainers.size());
    std::vector<std::thread> threads;
    for (size_t r = 0; r < trainers.size(); ++r) {
      threads.emplace_back([&, r] {
        trainers[r]->Rebind(group[r].get());
        statuses[r] = StartFromMemory(2, root, holds[r], group[r].get(), trainers[r].get());
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& trainer : trainers) trainer->Rebind(alone_.get());
    return statuses;
  }
  static std::string HashOf(Trainer& trainer) { return *trainer.StateHash(); }

  FakeEpochParts parts_;
  const std::unique_ptr<Collective> alone_ = SingleProcessCollective();
};

TEST_F(MemoryStartTest, WhoHoldsTheStateKeepsItAndTheOthersGetIt) {
  std::vector<std::unique_ptr<Trainer>> trainers;
  trainers.push_back(Empty());
  trainers.push_back(Trained(7));
  trainers.push_back(Trained(7));
  const std::string want = HashOf(*trainers[1]);
  for (const absl::Status& status : Start(trainers, {false, true, true}, 1)) EXPECT_OK(status);
  for (const auto& trainer : trainers) {
    EXPECT_EQ(trainer->step(), 2);
    EXPECT_EQ(HashOf(*trainer), want);
    EXPECT_TRUE(trainer->whole());
  }
}

TEST_F(MemoryStartTest, OneThatHasTheStateOfAnotherStepGetsTheRightOne) {
  std::vector<std::unique_ptr<Trainer>> trainers;
  trainers.push_back(Trained(7));
  trainers.push_back(Trained(9));
  EXPECT_OK(trainers[1]->Step({1, {3}, {1.0f}}, 1.0, 1, 0.5).status());
  const std::string want = HashOf(*trainers[0]);
  for (const absl::Status& status : Start(trainers, {true, false}, 0)) EXPECT_OK(status);
  EXPECT_EQ(trainers[1]->step(), 2);
  EXPECT_EQ(HashOf(*trainers[1]), want);
}

TEST_F(MemoryStartTest, StatesThatDifferAreRefusedByAllNamingTheRanks) {
  std::vector<std::unique_ptr<Trainer>> trainers;
  for (const int64_t slot : {7, 8, 7, 9}) trainers.push_back(Trained(slot));
  const std::string good = HashOf(*trainers[0]), bad = HashOf(*trainers[1]);
  for (const absl::Status& status : Start(trainers, {true, true, true, true}, 0)) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                                 testing::AllOf(HasSubstr("rank 0 has SHA-256 " + good),
                                                HasSubstr("ranks 1, 3 not"),
                                                HasSubstr("rank 1 has " + bad))));
  }
}

TEST_F(MemoryStartTest, AMissingStateIsFoundMissingByAll) {
  std::vector<std::unique_ptr<Trainer>> trainers;
  trainers.push_back(Empty());
  trainers.push_back(Trained(7));
  for (const absl::Status& status : Start(trainers, {false, true}, 0)) {
    EXPECT_THAT(status,
                StatusIs(absl::StatusCode::kNotFound,
                         HasSubstr("rank 0 was to give the state after 2 steps to rank 0")));
  }
  for (const absl::Status& status : Start(trainers, {false, true}, 2)) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("state_rank is 2, expected 0 to 1")));
  }
}

}  // namespace
}  // namespace tritter
