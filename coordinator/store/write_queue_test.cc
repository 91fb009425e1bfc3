#include "coordinator/store/write_queue.h"

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/store/fault_store.h"
#include "coordinator/store/memory_store.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

WriteBatch EventBatch(int64_t id) {
  WriteBatch batch;
  batch.events.emplace_back();
  batch.events.back().set_id(id);
  return batch;
}

// Says how many batches came together.
class WatchedStore : public FaultStore {
 public:
  using FaultStore::FaultStore;
  std::vector<absl::Status> ApplyAll(absl::Span<const WriteBatch* const> batches) override {
    together.push_back(batches.size());
    if (on_apply) std::exchange(on_apply, nullptr)();
    return FaultStore::ApplyAll(batches);
  }
  std::vector<size_t> together;  // one call at a time
  std::function<void()> on_apply;
};

TEST(WriteQueue, WritesAtOnceForAThreadThatIsAlone) {
  MemoryStore memory;
  WatchedStore store(&memory);
  WriteQueue queue(&store);
  for (const int64_t id : {1, 2}) {
    const WriteBatch batch = EventBatch(id);
    WriteQueue::Entry entry(batch);
    queue.Put(&entry);
    EXPECT_OK(queue.Await(&entry));
    EXPECT_EQ(*store.LastEventId(), id);
  }
  EXPECT_THAT(store.together, ElementsAre(1, 1));
}

TEST(WriteQueue, TakesWhatCameMeanwhileTogetherAndAnswersEach) {
  MemoryStore memory;
  WatchedStore store(&memory);
  WriteQueue queue(&store);
  const WriteBatch first = EventBatch(1), second = EventBatch(2), known = EventBatch(1);
  WriteQueue::Entry a(first), b(second), c(known);
  store.on_apply = [&] {  // the disk is at it
    queue.Put(&b);
    queue.Put(&c);
  };
  queue.Put(&a);
  EXPECT_OK(queue.Await(&a));
  EXPECT_EQ(queue.Await(&c).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_OK(queue.Await(&b));  // written by who waited for c
  EXPECT_THAT(store.together, ElementsAre(1, 2));
}

TEST(WriteQueue, KeepsTheOrderOfPut) {
  MemoryStore memory;
  std::vector<int64_t> seen;
  class OrderedStore : public FaultStore {
   public:
    OrderedStore(Store* base, std::vector<int64_t>* seen) : FaultStore(base), seen_(seen) {}
    absl::Status Apply(const WriteBatch& batch) override {
      seen_->push_back(batch.events[0].id());
      return FaultStore::Apply(batch);
    }

   private:
    std::vector<int64_t>* const seen_;
  } store(&memory, &seen);
  WriteQueue queue(&store);
  Mutex mu;
  int64_t next = 1;
  constexpr int kThreads = 8, kEach = 100;
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        WriteBatch batch;
        mu.Lock();
        batch = EventBatch(next++);
        WriteQueue::Entry entry(batch);
        queue.Put(&entry);
        mu.Unlock();
        failed += !queue.Await(&entry).ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  std::vector<int64_t> wanted;
  for (int64_t id = 1; id <= kThreads * kEach; ++id) wanted.push_back(id);
  EXPECT_EQ(seen, wanted);
}

TEST(WriteQueue, AFullDiskIsEveryonesAnswer) {
  MemoryStore memory;
  WatchedStore store(&memory);
  store.FailApply(0, StoreFault::kRefuse, true);
  WriteQueue queue(&store);
  const WriteBatch first = EventBatch(1), second = EventBatch(2);
  WriteQueue::Entry a(first), b(second);
  queue.Put(&a);
  queue.Put(&b);
  EXPECT_EQ(queue.Await(&b).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(queue.Await(&a).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(*store.Events("", 0, 10), IsEmpty());
}

}  // namespace
}  // namespace tritter
