// The whole forward pass of a GPU, emulated: testing/forward_suite.cc, and what only a fake can be
// asked.
#include "inference/cuda/cuda_forward.h"

#include <deque>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/cuda/testing/forward_suite.h"
#include "inference/testing/tiny_models.h"
#include "kernels/ternary_gemm.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<ForwardBackend>> MakeDeviceUnderTest(
    const PackedModel& model, KvFormat kv_format, int64_t kv_pages,
    const StreamOptions& streaming) {
  CudaForwardOptions options;
  options.kv_format = kv_format;
  options.kv_pages = kv_pages;
  options.streaming = streaming;
  return CudaForward::Create(model, options);
}

namespace {

using ::testing::HasSubstr;

std::unique_ptr<PackedModel> Model(const ModelConfig& config) {
  return *PackedModel::Load(MemoryTpack::Random(config, 5), BestTernaryKernel());
}

class CudaForwardTest : public ::testing::Test {
 protected:
  CudaForwardTest() : config_(TinyConfig()) {
    config_.context = 2000;
    options_.kv_pages = 400;
  }
  void Make() {
    model_ = Model(config_);
    auto made = CudaForward::Create(*model_, options_);
    ASSERT_OK(made.status());
    forward_ = *std::move(made);
    pages_ = std::make_unique<KvPagePool>(forward_->layout().page_bytes, options_.kv_pages,
                                          forward_->kv_memory());
  }
  // `count` sequences decode at `position`; the logits of all.
  std::vector<std::vector<float>> Decode(int count, int64_t position, bool logits = true) {
    while (static_cast<int>(tables_.size()) < count) tables_.emplace_back();
    std::vector<ForwardRow> rows;
    for (int i = 0; i < count; ++i) {
      const int64_t more =
          KvPagesFor(position + 1) - static_cast<int64_t>(tables_[static_cast<size_t>(i)].size());
      if (more > 0) EXPECT_TRUE(*pages_->Take(more, &tables_[static_cast<size_t>(i)]));
      rows.push_back({i + 1, position, &tables_[static_cast<size_t>(i)], logits});
    }
    std::vector<std::vector<float>> results;
    EXPECT_OK(forward_->Run(rows, [&](int64_t first, int64_t n) {
      for (int64_t i = first; i < first + n; ++i)
        results.emplace_back(forward_->Logits(i).begin(), forward_->Logits(i).end());
    }));
    return results;
  }

  ModelConfig config_;
  CudaForwardOptions options_;
  std::unique_ptr<PackedModel> model_;
  std::unique_ptr<CudaForward> forward_;
  std::unique_ptr<KvPagePool> pages_;
  std::deque<std::vector<uint8_t*>> tables_;
};

TEST_F(CudaForwardTest, OneGraphServesAllStepsOfItsShape) {
  Make();
  for (int64_t p = 0; p < 20; ++p) Decode(1, p);
  EXPECT_EQ(forward_->graphs(), 1);
  for (int64_t p = 20; p < 24; ++p) Decode(3, p);
  Decode(4, 24);
  EXPECT_EQ(forward_->graphs(), 2);
  Decode(1, 300);
  Decode(1, 1023);
  EXPECT_EQ(forward_->graphs(), 3);
  Decode(2, 25, false);  // no logits: no decoding
  EXPECT_EQ(forward_->graphs(), 3);
}

TEST_F(CudaForwardTest, StepsBeyondAnyGraphRunAndLaterOnesHaveGraphsAgain) {
  Make();
  const auto small = Decode(5, 0);
  EXPECT_EQ(forward_->graphs(), 1);
  const auto large = Decode(70, 0);  // more rows than there was room for
  EXPECT_EQ(forward_->graphs(), 0);
  ASSERT_EQ(large.size(), 70u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(large[i], small[i]);
  EXPECT_EQ(Decode(5, 0), small);
  EXPECT_EQ(Decode(5, 0), small);
  EXPECT_EQ(forward_->graphs(), 1);
}

TEST_F(CudaForwardTest, LittleMemoryForLogitsAndPartialSumsChangesNoBit) {
  Make();
  for (const int64_t p : {0, 255, 256, 600}) Decode(9, p);
  const auto expected = Decode(9, 601);
  options_.logit_floats = 4 * 270 + 1;
  options_.partial_floats = 1;
  tables_.clear();
  Make();
  for (const int64_t p : {0, 255, 256, 600}) Decode(9, p);
  EXPECT_EQ(Decode(9, 601), expected);
  EXPECT_EQ(forward_->graphs(), 0);
}

TEST_F(CudaForwardTest, RefusesWhatDoesNotFitWithTheFigures) {
  options_.kv_pages = int64_t{1} << 20;
  model_ = Model(config_);
  EXPECT_THAT(CudaForward::Create(*model_, options_).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("the KV cache needs 5368709120 bytes of GPU memory")));
}

TEST_F(CudaForwardTest, RefusesHeadsThatAreTooWide) {
  config_.head_dim = 258;
  config_.hidden = 4 * 258;
  model_ = Model(config_);
  EXPECT_THAT(CudaForward::Create(*model_, options_).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("258 wide")));
}

TEST_F(CudaForwardTest, RefusesAttentionThatIsNotCausal) {
  config_.attention = AttentionMode::kSlidingWindow;
  config_.window = 64;
  model_ = Model(config_);
  EXPECT_THAT(CudaForward::Create(*model_, options_).status(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("attention sliding_window is not computed on a GPU")));
}

// A model whose matrices are not those that were uploaded.
TEST_F(CudaForwardTest, AProductThatDisagreesIsFoundWhenTheModelIsLoaded) {
  model_ = Model(config_);
  DeviceMemory memory(nullptr);
  ASSERT_OK_AND_ASSIGN(const DevicePlan plan, PlanDeviceWeights(config_, 0, {}));
  ASSERT_OK_AND_ASSIGN(const auto layers, DeviceLayers::Create(*model_, plan, &memory, nullptr));
  EXPECT_OK(CheckProducts(*model_, layers.get(), nullptr));
  const auto other = *PackedModel::Load(MemoryTpack::Random(config_, 6), BestTernaryKernel());
  EXPECT_THAT(CheckProducts(*other, layers.get(), nullptr),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("layers.0.attn.q.weight")));
}

// However far the copies are ahead of what computes or behind it, from memory that is page-locked
// and from memory that may not be.
TEST_F(CudaForwardTest, StreamedLayersChangeNoBitWhicheverStreamIsFaster) {
  config_.layers = 7;
  const auto run = [&] {
    tables_.clear();
    Make();
    std::vector<std::vector<std::vector<float>>> logits;
    for (const int count : {1, 9})
      for (int64_t p = 0; p < 2; ++p) logits.push_back(Decode(count, p));
    return logits;
  };
  const auto expected = run();
  EXPECT_EQ(forward_->graphs(), 2);
  const int64_t layer = LayoutOfLayer(config_).bytes, whole = forward_->weight_bytes();
  for (const bool refuse : {false, true}) {
    for (const auto order : {cuda::OtherStreams::kLast, cuda::OtherStreams::kFirst}) {
      for (const int64_t layers : {1, 2}) {
        cuda::RefusePageLocking(refuse);
        cuda::SetOtherStreams(order);
        options_.streaming = {whole - (6 - 2 * layers) * layer, layers};  // one of 7 stays
        EXPECT_EQ(run(), expected) << refuse << " " << static_cast<int>(order) << " " << layers;
        EXPECT_EQ(forward_->page_locked(), !refuse);
        EXPECT_EQ(forward_->graphs(), 0);
        EXPECT_EQ(forward_->stream_stats().bytes_per_pass, 6 * layer);
        EXPECT_EQ(forward_->weight_bytes(), options_.streaming.max_weight_bytes);
      }
    }
  }
  cuda::RefusePageLocking(false);
  cuda::SetOtherStreams(cuda::OtherStreams::kLast);
}

// A last layer that is copied is checked where it was copied to.
TEST_F(CudaForwardTest, LayersThatAreCopiedAreChecked) {
  config_.layers = 4;
  model_ = Model(config_);
  DeviceMemory memory(nullptr);
  const StreamOptions none_stays = {2 * LayoutOfLayer(config_).bytes, 1};
  ASSERT_OK_AND_ASSIGN(const DevicePlan plan, PlanDeviceWeights(config_, 0, none_stays));
  ASSERT_OK_AND_ASSIGN(const auto layers, DeviceLayers::Create(*model_, plan, &memory, nullptr));
  EXPECT_EQ(memory.bytes(), none_stays.max_weight_bytes);
  EXPECT_OK(CheckProducts(*model_, layers.get(), nullptr));
  EXPECT_EQ(layers->stats().bytes_read, plan.streamed_bytes());
  auto changed = MemoryTpack::Random(config_, 5), other = MemoryTpack::Random(config_, 6);
  const TpackTensor down = *other->Get("layers.3.ffn.down.weight");
  changed->Add({down.name,
                down.shape,
                down.type,
                std::string(reinterpret_cast<const char*>(down.data.data()), down.data.size()),
                {down.scales.begin(), down.scales.end()}});
  const auto model = *PackedModel::Load(std::move(changed), BestTernaryKernel());
  EXPECT_THAT(CheckProducts(*model, layers.get(), nullptr),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("layers.3.ffn.down.weight")));
}

}  // namespace
}  // namespace tritter
