#include "worker/batch_prefetcher.h"

#include <atomic>

#include "common/testing/status_matchers.h"
#include "worker/testing/fake_epoch_parts.h"

namespace tritter {
namespace {

class BatchPrefetcherTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(data_, parts_.OpenData({}));
    parts_.on_read = [this](int64_t first_slot) {
      ++reads_;
      return first_slot == 40 ? absl::DataLossError("slot 40 is damaged") : absl::OkStatus();
    };
  }
  std::vector<int64_t> Tokens(const absl::StatusOr<EpochData::Share>& share) {
    return share.ok() ? share->batch.tokens : std::vector<int64_t>{};
  }

  FakeEpochParts parts_;
  std::unique_ptr<EpochData> data_;
  std::atomic<int> reads_{0};
};

TEST_F(BatchPrefetcherTest, GivesWhatReadGivesAndReadsItOnce) {
  BatchPrefetcher batches(data_.get());
  for (int64_t slot = 0; slot < 40; slot += 4) {
    const BatchPrefetcher::Request request{slot, 4, 1, 2};
    if (slot % 8 == 0) batches.Start(request);
    const auto share = batches.Take(request);
    EXPECT_EQ(Tokens(share), (std::vector<int64_t>{slot + 1, slot + 2}));
    EXPECT_EQ(share->weight_sum, 4);
  }
  EXPECT_EQ(reads_, 10);
}

TEST_F(BatchPrefetcherTest, AnotherRequestThanTheOneStartedIsReadAnew) {
  BatchPrefetcher batches(data_.get());
  batches.Start({0, 4, 0, 2});
  EXPECT_EQ(Tokens(batches.Take({0, 4, 2, 2})), (std::vector<int64_t>{2, 3}));
  // What was dropped stays dropped.
  EXPECT_EQ(Tokens(batches.Take({0, 4, 0, 2})), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(reads_, 3);
}

TEST_F(BatchPrefetcherTest, AFailureBelongsToTheBatchItBefell) {
  BatchPrefetcher batches(data_.get());
  batches.Start({40, 4, 0, 4});
  EXPECT_OK(batches.Take({36, 4, 0, 4}).status());
  batches.Start({40, 4, 0, 4});
  EXPECT_THAT(batches.Take({40, 4, 0, 4}).status(),
              StatusIs(absl::StatusCode::kDataLoss, testing::HasSubstr("slot 40 is damaged")));
  EXPECT_OK(batches.Take({44, 4, 0, 4}).status());
}

TEST_F(BatchPrefetcherTest, EndsWithABatchThatNobodyTook) {
  BatchPrefetcher batches(data_.get());
  batches.Start({0, 4, 0, 4});
}

}  // namespace
}  // namespace tritter
