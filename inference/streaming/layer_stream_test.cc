#include "inference/streaming/layer_stream.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/testing/memory_env.h"
#include "common/testing/scripted_read_queue.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/tiny_models.h"
#include "model/crc32c.h"
#include "model/tpack.h"
#include "tests/testing/random_model.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ModelConfig Config() { return Deep(TinyConfig()); }

// Streams a model from memory; what a read gives is `answer`'s to say.
class LayerStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(WriteRandomModel(&env_, "/m.tpack", Config(), 3));
    ASSERT_OK_AND_ASSIGN(content_, env_.ReadFile("/m.tpack"));
    ASSERT_OK_AND_ASSIGN(tpack_, TpackFile::Open(&env_, "/m.tpack"));
    header_ = tpack_->header();
  }

  // With two layers of seven in memory and the others in groups of two: 2 + 2 + 1.
  absl::StatusOr<std::unique_ptr<LayerStream>> Start(ScriptedReadQueue::Answer answer) {
    LayerStreamParts parts;
    for (int64_t limit = DirectFile::kAlignment; parts.plan.resident_layers < 2;
         limit += DirectFile::kAlignment) {
      const auto plan = PlanStreaming(header_, {limit, 2}, "/m.tpack");
      if (plan.ok()) parts.plan = *plan;
    }
    EXPECT_EQ(parts.plan.groups.size(), 3u);
    parts.path = "/m.tpack";
    parts.header = &header_;
    parts.kernel = kernel_;
    parts.front = *HugeBuffer::Allocate(parts.plan.front.bytes());
    std::memcpy(parts.front.data(), content_.data() + parts.plan.front.begin,
                parts.plan.front.bytes());
    for (HugeBuffer& slot : parts.slots) slot = *HugeBuffer::Allocate(parts.plan.buffer_bytes);
    plan_ = parts.plan;
    parts.reader = std::make_unique<BlockReader>(
        "/m.tpack", content_.size(),
        std::make_unique<ScriptedReadQueue>(&content_, 4, std::move(answer)));
    return LayerStream::Start(std::move(parts));
  }
  static int64_t Whole(const ReadQueue::Read& read) { return static_cast<int64_t>(read.bytes); }

  void ExpectLayer(const LayerWeights& weights, int64_t layer) {
    for (const NamedMatrix& m : MatricesOf(weights, layer)) {
      const TpackTensor tensor = *tpack_->Get(m.name);
      EXPECT_EQ(std::memcmp(m.matrix->tiled, tensor.data.data(), tensor.data.size()), 0) << m.name;
      EXPECT_EQ(std::memcmp(m.matrix->scales, tensor.scales.data(), 4 * tensor.scales.size()), 0);
    }
  }
  // A pass over all layers, as the engine makes it; where it ends, and why.
  absl::Status Pass(LayerStream* stream) {
    for (int64_t i = 0; i < Config().layers; ++i) {
      if (const LayerWeights* there = stream->Resident(i)) {
        ExpectLayer(*there, i);
        continue;
      }
      const auto weights = stream->Acquire(i);
      if (!weights.ok()) return weights.status();
      ExpectLayer(**weights, i);
      stream->Release(i);
    }
    return absl::OkStatus();
  }
  TpackEntry& Entry(const std::string& name) {
    for (TpackEntry& entry : header_.entries) {
      if (entry.name == name) return entry;
    }
    ADD_FAILURE() << name;
    return header_.entries[0];
  }

  MemoryEnv env_;
  std::string content_;
  std::unique_ptr<TpackFile> tpack_;
  TpackHeader header_;
  StreamPlan plan_;
  const TernaryKernel* kernel_ = &BestTernaryKernel();
};

TEST_F(LayerStreamTest, EveryPassGivesTheLayersOfTheFile) {
  ASSERT_OK_AND_ASSIGN(const auto stream, Start(&Whole));
  EXPECT_NE(stream->Resident(1), nullptr);
  EXPECT_EQ(stream->Resident(2), nullptr);
  for (int pass = 0; pass < 5; ++pass) EXPECT_OK(Pass(stream.get()));
  EXPECT_EQ(stream->stats().bytes_per_pass, static_cast<int64_t>(plan_.streamed_bytes()));
  EXPECT_GE(stream->stats().bytes_read, 5 * stream->stats().bytes_per_pass);
}

TEST_F(LayerStreamTest, ReadsInPartsAndInterruptedOnesChangeNothing) {
  std::atomic<int> reads{0};
  ASSERT_OK_AND_ASSIGN(const auto stream, Start([&](const ReadQueue::Read&) -> int64_t {
                         return ++reads % 3 == 0 ? -EINTR : 5000;
                       }));
  for (int pass = 0; pass < 3; ++pass) EXPECT_OK(Pass(stream.get()));
}

TEST_F(LayerStreamTest, OneGroupIsReadAheadAndNeverMore) {
  std::atomic<uint64_t> last{0};
  ASSERT_OK_AND_ASSIGN(const auto stream, Start([&](const ReadQueue::Read& read) {
                         last = std::max<uint64_t>(last, read.offset);
                         return Whole(read);
                       }));
  EXPECT_OK(stream->Acquire(2));
  const int64_t two =
      static_cast<int64_t>(plan_.groups[0].range.bytes() + plan_.groups[1].range.bytes());
  while (stream->stats().bytes_read < two) std::this_thread::yield();  // without being asked to
  EXPECT_EQ(stream->stats().bytes_read, two);
  EXPECT_LT(last, plan_.groups[1].range.end) << "the first group is in use: there is no buffer";
  stream->Release(2);
  EXPECT_OK(stream->Acquire(3));
  EXPECT_EQ(stream->stats().bytes_read, two) << "its second layer is in the same buffer";
  stream->Release(3);
  while (last < plan_.groups[2].range.begin) std::this_thread::yield();
}

TEST_F(LayerStreamTest, AByteThatChangesWhileServingIsFoundAndNamed) {
  std::atomic<bool> damage{false};
  const uint64_t at = Entry("layers.5.ffn.up.weight").offset + 100;
  const char right = content_[at];
  ASSERT_OK_AND_ASSIGN(const auto stream, Start([&](const ReadQueue::Read& read) {
                         content_[at] = damage ? right ^ 1 : right;
                         return Whole(read);
                       }));
  EXPECT_OK(Pass(stream.get()));
  EXPECT_OK(Pass(stream.get()));
  damage = true;
  absl::Status status;
  for (int pass = 0; pass < 3 && status.ok(); ++pass) status = Pass(stream.get());
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr(absl::StrCat("/m.tpack: offset ", at - 100)),
                                     HasSubstr("CRC-32C of layers.5.ffn.up.weight"))));
  EXPECT_THAT(Pass(stream.get()), StatusIs(absl::StatusCode::kDataLoss)) << "it still is";
  damage = false;
  EXPECT_OK(Pass(stream.get())) << "and when the file is right again, so is the next pass";
}

TEST_F(LayerStreamTest, AFileThatWasCutAndADiskThatFailsAreNamedAndMayRecover) {
  std::atomic<int64_t> answer{0};
  ASSERT_OK_AND_ASSIGN(const auto stream, Start([&](const ReadQueue::Read& read) -> int64_t {
                         const bool last_group = read.offset >= plan_.groups[2].range.begin;
                         return answer > 0 && last_group ? (answer == 1 ? 0 : -EIO) : Whole(read);
                       }));
  EXPECT_OK(Pass(stream.get()));
  const std::string offset = absl::StrCat("offset ", plan_.groups[2].range.begin);
  for (const auto& [what, code, text] :
       {std::tuple{1, absl::StatusCode::kDataLoss, "the file ends here"},
        std::tuple{2, absl::StatusCode::kInternal, "Input/output error"}}) {
    answer = what;
    absl::Status status;
    for (int pass = 0; pass < 3 && status.ok(); ++pass) status = Pass(stream.get());
    EXPECT_THAT(status,
                StatusIs(code, AllOf(HasSubstr("/m.tpack"), HasSubstr(offset), HasSubstr(text))));
    answer = 0;
    EXPECT_OK(Pass(stream.get()));
  }
}

TEST_F(LayerStreamTest, CodeThreeUnderARightChecksumIsFoundInTheFirstPass) {
  TpackEntry& entry = Entry("layers.4.attn.o.weight");
  content_[entry.offset + 9] = '\xff';
  entry.data_crc = Crc32c(0, content_.data() + entry.offset, entry.length);
  ASSERT_OK_AND_ASSIGN(const auto stream, Start(&Whole));
  EXPECT_OK(stream->Acquire(2));
  stream->Release(2);
  EXPECT_OK(stream->Acquire(3));
  stream->Release(3);
  EXPECT_THAT(stream->Acquire(4), StatusIs(absl::StatusCode::kDataLoss,
                                           AllOf(HasSubstr("layers.4.attn.o.weight: byte 9"),
                                                 HasSubstr("expected ternary codes"))));
}

// A kernel that is wrong in one row, as a mixed-up layout would be.
void BrokenGemm(const uint8_t* tiled, int64_t rows, int64_t cols, const ArrangedActivations& x,
                int32_t* y, int64_t y_stride, int64_t first_block, int64_t end_block) {
  ScalarTernaryKernel().gemm(tiled, rows, cols, x, y, y_stride, first_block, end_block);
  y[3] += 1;
}

TEST_F(LayerStreamTest, AKernelThatDisagreesWithTheReferenceIsFoundInTheFirstPass) {
  const TernaryKernel broken = {"broken", &BrokenGemm};
  kernel_ = &broken;
  ASSERT_OK_AND_ASSIGN(const auto stream, Start(&Whole));
  EXPECT_THAT(stream->Acquire(6),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("kernel broken gives")));
}

TEST_F(LayerStreamTest, MayBeginAnywhereAndEndWithReadsUnderWay) {
  for (const int64_t first : {2, 4, 6}) {
    ASSERT_OK_AND_ASSIGN(const auto stream, Start(&Whole));
    ASSERT_OK_AND_ASSIGN(const LayerWeights* weights, stream->Acquire(first));
    ExpectLayer(*weights, first);
    ASSERT_OK_AND_ASSIGN(const auto unused, Start(&Whole));
  }
}

}  // namespace
}  // namespace tritter
