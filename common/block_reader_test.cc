#include "common/block_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>

#include "common/direct_file.h"
#include "common/env.h"
#include "common/huge_buffer.h"
#include "common/testing/scripted_read_queue.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
constexpr uint64_t kBlock = DirectFile::kAlignment;

std::string Bytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(i * 7919 >> 5);
  return bytes;
}

std::string Read(const HugeBuffer& buffer, size_t count) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), count);
}

class ReadQueues : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = JoinPath(::testing::TempDir(), std::string("queue_") + GetParam()[0]);
    content_ = Bytes(10 * kBlock + 100);
    ASSERT_OK(WriteFileAtomically(Env::Real(), path_, content_));
  }
  std::unique_ptr<ReadQueue> Queue(int descriptor, int depth) {
    if (GetParam()[0] == 'p') return NewThreadReadQueue(descriptor, depth);
    auto queue = NewUringReadQueue(descriptor, depth);
    return queue.ok() ? *std::move(queue) : nullptr;
  }
  std::string path_, content_;
};

TEST_P(ReadQueues, GiveTheBytesOfTheFileManyAtATimeDirectOrNot) {
  for (const bool direct : {true, false}) {
    ASSERT_OK_AND_ASSIGN(const auto file, DirectFile::Open(path_, direct));
    EXPECT_EQ(file->bytes(), content_.size());
    auto queue = Queue(file->descriptor(), 4);
    if (queue == nullptr) GTEST_SKIP() << "io_uring is not permitted here";
    ASSERT_OK_AND_ASSIGN(HugeBuffer buffer, HugeBuffer::Allocate(11 * kBlock));
    BlockReader reader(path_, file->bytes(), std::move(queue));
    std::set<uint64_t> ended;
    uint64_t next = 0;
    while (ended.size() < 6) {
      for (; next < 6 && !reader.full(); ++next) {
        const uint64_t at = next * 2 * kBlock;
        reader.Submit({at, std::min(2 * kBlock, 11 * kBlock - at), buffer.data() + at, next});
      }
      const BlockReader::Ended block = reader.Wait();
      EXPECT_OK(block.status);
      EXPECT_TRUE(ended.insert(block.tag).second);
    }
    EXPECT_EQ(reader.under_way(), 0);
    EXPECT_EQ(Read(buffer, content_.size()), content_);
  }
}

TEST_P(ReadQueues, AFileThatWasCutIsNamedWithTheOffset) {
  ASSERT_OK_AND_ASSIGN(const auto file, DirectFile::Open(path_));
  auto queue = Queue(file->descriptor(), 2);
  if (queue == nullptr) GTEST_SKIP() << "io_uring is not permitted here";
  ASSERT_EQ(truncate(path_.c_str(), 5 * kBlock + 10), 0);
  ASSERT_OK_AND_ASSIGN(HugeBuffer buffer, HugeBuffer::Allocate(8 * kBlock));
  BlockReader reader(path_, file->bytes(), std::move(queue));
  reader.Submit({0, 4 * kBlock, buffer.data(), 1});
  EXPECT_OK(reader.Wait().status);
  reader.Submit({4 * kBlock, 4 * kBlock, buffer.data(), 2});
  EXPECT_THAT(reader.Wait().status,
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr(path_), HasSubstr("offset 20490: the file ends here"),
                             HasSubstr("had 41060 bytes"))));
  reader.Submit({8 * kBlock, kBlock, buffer.data(), 3});
  EXPECT_THAT(reader.Wait().status,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("offset 32768")));
}

TEST_P(ReadQueues, GoWithReadsUnderWay) {
  ASSERT_OK_AND_ASSIGN(const auto file, DirectFile::Open(path_));
  ASSERT_OK_AND_ASSIGN(HugeBuffer buffer, HugeBuffer::Allocate(8 * kBlock));
  for (int i = 0; i < 50; ++i) {
    auto queue = Queue(file->descriptor(), 8);
    if (queue == nullptr) GTEST_SKIP() << "io_uring is not permitted here";
    for (uint64_t n = 0; n < 8; ++n)
      queue->Submit({n * kBlock, kBlock, buffer.data() + n * kBlock, n});
    if (i % 2 == 0) queue->Wait();
  }
}

INSTANTIATE_TEST_SUITE_P(All, ReadQueues, ::testing::Values("io_uring", "pread"));

class ScriptedReads : public ::testing::Test {
 protected:
  BlockReader Reader(ScriptedReadQueue::Answer answer) {
    return BlockReader("/model", content_.size(),
                       std::make_unique<ScriptedReadQueue>(&content_, 4, std::move(answer)));
  }
  void SetUp() override {
    content_ = Bytes(9 * kBlock + 50);
    ASSERT_OK_AND_ASSIGN(buffer_, HugeBuffer::Allocate(10 * kBlock));
  }
  std::string content_;
  HugeBuffer buffer_;
};

TEST_F(ScriptedReads, PartsAndInterruptionsAreAskedForAgainFromAWholeBlock) {
  int answers = 0;
  std::vector<uint64_t> offsets;
  BlockReader reader = Reader([&](const ReadQueue::Read& read) -> int64_t {
    offsets.push_back(read.offset);
    EXPECT_EQ(read.offset % kBlock, 0u);
    EXPECT_EQ(read.bytes % kBlock, 0u);
    if (++answers % 3 == 0) return -EINTR;
    if (answers % 5 == 0) return -EAGAIN;
    return kBlock + 1000;  // not a whole number of blocks
  });
  reader.Submit({0, 10 * kBlock, buffer_.data(), 7});
  const BlockReader::Ended ended = reader.Wait();
  EXPECT_OK(ended.status);
  EXPECT_EQ(ended.tag, 7u);
  EXPECT_EQ(Read(buffer_, content_.size()), content_);
  EXPECT_GT(offsets.size(), 10u);
}

TEST_F(ScriptedReads, AnErrorNamesFileOffsetAndReason) {
  BlockReader reader = Reader([&](const ReadQueue::Read& read) -> int64_t {
    return read.offset == 0 ? static_cast<int64_t>(2 * kBlock) : -EIO;
  });
  reader.Submit({0, 4 * kBlock, buffer_.data(), 1});
  EXPECT_THAT(reader.Wait().status,
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("/model: read of 8192 bytes at offset 8192: Input/output error")));
  EXPECT_EQ(reader.under_way(), 0);
}

TEST_F(ScriptedReads, ASystemThatNeverHasRoomIsAnErrorAndNoEndlessLoop) {
  BlockReader reader = Reader([](const ReadQueue::Read&) -> int64_t { return -EAGAIN; });
  reader.Submit({0, kBlock, buffer_.data(), 1});
  EXPECT_THAT(reader.Wait().status, StatusIs(absl::StatusCode::kInternal, HasSubstr("offset 0")));
}

TEST(DirectFile, FallsBackToThePageCacheWhereThereAreNoDirectReads) {
  // /proc has no direct reads, of any kernel.
  ASSERT_OK_AND_ASSIGN(const auto file, DirectFile::Open("/proc/self/status"));
  EXPECT_FALSE(file->direct());
}

TEST(DirectFile, RefusesWhatIsNoFile) {
  EXPECT_THAT(DirectFile::Open("/none/such"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(DirectFile::Open(::testing::TempDir()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not a plain file")));
}

TEST(HugeBuffer, IsAlignedZeroWritableAndExact) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, (size_t{5} << 20) + 1}) {
    ASSERT_OK_AND_ASSIGN(HugeBuffer buffer, HugeBuffer::Allocate(bytes));
    EXPECT_EQ(buffer.size(), (bytes + 4095) / 4096 * 4096);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % (2 << 20), 0u);
    EXPECT_EQ(buffer.data()[buffer.size() - 1], 0);
    buffer.data()[buffer.size() - 1] = 1;
  }
  ASSERT_OK_AND_ASSIGN(const HugeBuffer none, HugeBuffer::Allocate(0));
  EXPECT_EQ(none.size(), 0u);
  EXPECT_THAT(HugeBuffer::Allocate(SIZE_MAX / 2), StatusIs(absl::StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace tritter
