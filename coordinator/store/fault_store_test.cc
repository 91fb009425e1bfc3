#include "coordinator/store/fault_store.h"

#include "common/testing/status_matchers.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/store/store_samples.h"

namespace tritter {
namespace {

TEST(FaultStore, RefusesTheChosenWriteAndNoOther) {
  MemoryStore base;
  FaultStore store(&base);
  store.FailApply(1, StoreFault::kRefuse);
  EXPECT_OK(store.Apply(FullBatch("r-a", 1)));
  const std::string before = Dump(store, "r-a");
  EXPECT_THAT(store.Apply(FullBatch("r-a", 2)), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(Dump(store, "r-a"), before);
  EXPECT_OK(store.Apply(FullBatch("r-a", 2)));
  EXPECT_EQ(store.applies(), 3);
}

TEST(FaultStore, LosesTheAnswerButAppliesTheWrite) {
  MemoryStore base;
  FaultStore store(&base);
  store.FailApply(0, StoreFault::kLoseAnswer);
  EXPECT_THAT(store.Apply(FullBatch("r-a", 1)), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(base.Runs()->size(), 1u);
}

TEST(FaultStore, StaysBrokenUntilHealedWhenSticky) {
  MemoryStore base;
  FaultStore store(&base);
  store.FailApply(0, StoreFault::kRefuse, /*sticky=*/true);
  EXPECT_FALSE(store.Apply(FullBatch("r-a", 1)).ok());
  EXPECT_FALSE(store.Apply(FullBatch("r-a", 1)).ok());
  store.Heal();
  EXPECT_OK(store.Apply(FullBatch("r-a", 1)));
}

TEST(FaultStore, OutOfTouchItCannotBeReadOnce) {
  MemoryStore base;
  FaultStore store(&base);
  store.FailApply(0, StoreFault::kLoseTouch);
  EXPECT_FALSE(store.Apply(FullBatch("r", 1)).ok());
  EXPECT_FALSE(store.Runs().ok());
  EXPECT_EQ(store.Runs()->size(), 1u);
}

}  // namespace
}  // namespace tritter
