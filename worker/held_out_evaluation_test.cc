#include "worker/held_out_evaluation.h"

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
using Code = absl::StatusCode;

class HeldOutEvaluationTest : public testing::Test {
 protected:
  // What each of two ranks gets.
  std::vector<absl::StatusOr<std::vector<EvaluationReport>>> Evaluate() {
    const auto group = MakeFakeGroup(2);
    std::vector<absl::StatusOr<std::vector<EvaluationReport>>> results(2);
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        const auto data = *parts_.OpenData(RunSpec());
        const auto trainer = *parts_.CreateTrainer(RunSpec(), group[rank].get());
        EXPECT_OK(trainer->InitialiseFresh());
        results[rank] = EvaluateHeldOut(trainer.get(), data.get(), {rank, 1, 2}, group[rank].get(),
                                        cancellations_[rank], /*raw=*/false, Clock::Real());
      });
    }
    for (std::thread& rank : ranks) rank.join();
    return results;
  }

  FakeEpochParts parts_;
  Cancellation cancellations_[2];
};

TEST_F(HeldOutEvaluationTest, EveryRankGetsTheFiguresOfAll) {
  for (const auto& result : Evaluate()) {
    ASSERT_OK(result.status());
    ASSERT_EQ(result->size(), 1u);
    EXPECT_EQ(result->front().source, "text");
    EXPECT_EQ(result->front().tokens, 4 * 8);
    EXPECT_DOUBLE_EQ(result->front().loss, 0.5);
  }
}

TEST_F(HeldOutEvaluationTest, EndsBetweenTwoWindowsAndNobodyTakesHalfASumForTheFigure) {
  parts_.on_window = [&](int rank) {
    if (rank == 1) cancellations_[1].Cancel(absl::CancelledError("worker-c was lost"));
    return absl::OkStatus();
  };
  const auto results = Evaluate();
  EXPECT_THAT(results[1], StatusIs(Code::kAborted, HasSubstr("worker-c was lost")));
  EXPECT_THAT(results[0],
              StatusIs(Code::kUnavailable, HasSubstr("text: the evaluation of step 0")));
  EXPECT_EQ(parts_.windows_read, 2 + 1) << "rank 1 has left its second";
}

TEST_F(HeldOutEvaluationTest, ARankThatCannotReadSpoilsItForAll) {
  parts_.on_window = [&](int rank) {
    return rank == 0 ? absl::DataLossError("shard-1 is truncated") : absl::OkStatus();
  };
  const auto results = Evaluate();
  EXPECT_THAT(results[0], StatusIs(Code::kDataLoss, HasSubstr("text: shard-1 is truncated")));
  EXPECT_THAT(results[1], StatusIs(Code::kUnavailable, HasSubstr("has no figures")));
}

}  // namespace
}  // namespace tritter
