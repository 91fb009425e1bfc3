#include "worker/testing/collective_conformance.h"

#include <cmath>
#include <cstring>

#include "common/random.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CollectiveConformance);

// Values of many magnitudes, so that another order of additions shows in the bits.
std::vector<float> Values(int rank, int64_t count) {
  Philox random(MixKey(7, rank));
  std::vector<float> v(count);
  for (float& x : v) x = static_cast<float>(random.Normal() * std::exp2(random.Below(20)));
  return v;
}

absl::Status Reduce(Collective* c, std::vector<float>* v) {
  auto work = c->AllReduceSum(v->data(), static_cast<int64_t>(v->size()));
  return work.ok() ? (*work)->Wait() : work.status();
}

TEST_P(CollectiveConformance, KnowsItsPlace) {
  for (int r = 0; r < world(); ++r) {
    EXPECT_EQ(group_[r]->rank(), r);
    EXPECT_EQ(group_[r]->world_size(), world());
  }
}

TEST_P(CollectiveConformance, SumsFloatsWithTheSameBitsOnEveryRankAndEveryTime) {
  for (const int64_t count : {1, 2, 3, 1000, 70001}) {
    std::vector<std::vector<float>> first(world()), second(world());
    for (int r = 0; r < world(); ++r) first[r] = second[r] = Values(r, count);
    OnEveryRank([&](int r) {
      EXPECT_OK(Reduce(group_[r].get(), &first[r]));
      EXPECT_OK(Reduce(group_[r].get(), &second[r]));
    });
    for (int r = 0; r < world(); ++r) {
      EXPECT_EQ(std::memcmp(first[r].data(), first[0].data(), count * sizeof(float)), 0)
          << "rank " << r << " count " << count;
      EXPECT_EQ(std::memcmp(second[r].data(), first[0].data(), count * sizeof(float)), 0)
          << "rank " << r << " count " << count;
    }
    for (int64_t i = 0; i < count; i += 97) {
      double exact = 0;
      double magnitude = 0;
      for (int r = 0; r < world(); ++r) {
        exact += Values(r, count)[i];
        magnitude += std::fabs(Values(r, count)[i]);
      }
      ASSERT_NEAR(first[0][i], exact, 1e-6 * magnitude) << i;
      if (count > 1000) i += 9973;
    }
  }
}

TEST_P(CollectiveConformance, SumOfTwoRanksIsOneFloatAddition) {
  if (world() > 2) GTEST_SKIP() << "says nothing about " << world() << " ranks";
  constexpr int64_t kCount = 70001;
  std::vector<std::vector<float>> v;
  for (int r = 0; r < world(); ++r) v.push_back(Values(r, kCount));
  std::vector<float> want = Values(0, kCount);
  if (world() == 2) {
    for (int64_t i = 0; i < kCount; ++i) want[i] += v[1][i];
  }
  OnEveryRank([&](int r) { EXPECT_OK(Reduce(group_[r].get(), &v[r])); });
  for (int r = 0; r < world(); ++r)
    EXPECT_EQ(std::memcmp(v[r].data(), want.data(), kCount * sizeof(float)), 0) << "rank " << r;
}

TEST_P(CollectiveConformance, ManyOperationsMayBePending) {
  constexpr int kBuffers = 8;
  OnEveryRank([&](int r) {
    std::vector<std::vector<float>> buffers;
    for (int i = 0; i < kBuffers; ++i)
      buffers.push_back(std::vector<float>(1000 + i, static_cast<float>(r + i)));
    std::vector<std::unique_ptr<Collective::Work>> works;
    for (auto& b : buffers) {
      ASSERT_OK_AND_ASSIGN(auto work,
                           group_[r]->AllReduceSum(b.data(), static_cast<int64_t>(b.size())));
      works.push_back(std::move(work));
    }
    for (int i = kBuffers - 1; i >= 0; --i) {  // the order of waiting is free
      EXPECT_OK(works[i]->Wait());
      EXPECT_EQ(buffers[i].back(), static_cast<float>(world() * (world() - 1) / 2 + world() * i));
    }
  });
}

TEST_P(CollectiveConformance, SumsDoubles) {
  OnEveryRank([&](int r) {
    double v[3] = {1e300, static_cast<double>(r), 1e-300};
    EXPECT_OK(group_[r]->AllReduceSum(v, 3));
    EXPECT_DOUBLE_EQ(v[0], 1e300 * world());
    EXPECT_EQ(v[1], world() * (world() - 1) / 2);
    EXPECT_DOUBLE_EQ(v[2], 1e-300 * world());
  });
}

TEST_P(CollectiveConformance, BroadcastsFromEveryRank) {
  for (int root = 0; root < world(); ++root) {
    OnEveryRank([&](int r) {
      std::string bytes(12345, static_cast<char>('a' + r));
      EXPECT_OK(group_[r]->Broadcast(bytes.data(), static_cast<int64_t>(bytes.size()), root));
      EXPECT_EQ(bytes, std::string(12345, static_cast<char>('a' + root)));
    });
  }
}

TEST_P(CollectiveConformance, GathersTheBytesOfAllInTheOrderOfTheRanks) {
  for (const int64_t bytes : {1, 5, 1000, 300001}) {
    std::vector<std::string> own, all(world(), std::string(bytes * world(), '?'));
    std::string want;
    for (int r = 0; r < world(); ++r) {
      own.push_back(std::string(bytes, static_cast<char>('a' + r)));
      own.back().back() = static_cast<char>('A' + r);
      want += own.back();
    }
    const std::vector<std::string> before = own;
    OnEveryRank([&](int r) {
      for (int repeat = 0; repeat < 2; ++repeat)
        EXPECT_OK(group_[r]->AllGather(own[r].data(), bytes, all[r].data()));
    });
    for (int r = 0; r < world(); ++r) EXPECT_EQ(all[r], want) << "rank " << r << ", " << bytes;
    EXPECT_EQ(own, before);
  }
}

TEST_P(CollectiveConformance, RefusesARootThatIsNotThere) {
  char byte = 0;
  EXPECT_THAT(group_[0]->Broadcast(&byte, 1, world()),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
}

TEST_P(CollectiveConformance, FailsEverythingWithAbortedAfterAbort) {
  OnEveryRank([&](int r) {
    group_[r]->Abort("the epoch has ended");
    std::vector<float> v(10, 1.0f);
    EXPECT_THAT(Reduce(group_[r].get(), &v),
                StatusIs(absl::StatusCode::kAborted, testing::HasSubstr("epoch has ended")));
    double d = 1;
    EXPECT_THAT(group_[r]->AllReduceSum(&d, 1), StatusIs(absl::StatusCode::kAborted, testing::_));
    EXPECT_THAT(group_[r]->Broadcast(&d, 8, 0), StatusIs(absl::StatusCode::kAborted, testing::_));
    std::vector<double> all(world());
    EXPECT_THAT(group_[r]->AllGather(&d, 8, all.data()),
                StatusIs(absl::StatusCode::kAborted, testing::_));
  });
}

TEST_P(CollectiveConformance, AbortEndsAPendingWaitAndThePeersNotice) {
  if (world() < 2) GTEST_SKIP() << "nothing is ever pending in a group of one";
  std::vector<float> v(1000, 1.0f);
  ASSERT_OK_AND_ASSIGN(auto work,
                       group_[0]->AllReduceSum(v.data(), 1000));  // the others never join in
  std::thread aborter([&] { group_[0]->Abort("told to leave"); });
  EXPECT_THAT(work->Wait(),
              StatusIs(absl::StatusCode::kAborted, testing::HasSubstr("told to leave")));
  aborter.join();
  EXPECT_EQ(v, std::vector<float>(1000, 1.0f));  // and nothing writes there later
  OnEveryRank([&](int r) {  // whoever has no connection to rank 0 learns it from a neighbour
    if (r == 0) return;
    std::vector<float> w(1000, 1.0f);
    EXPECT_THAT(Reduce(group_[r].get(), &w), StatusIs(absl::StatusCode::kUnavailable, testing::_))
        << "rank " << r;
  });
}

}  // namespace
}  // namespace tritter
