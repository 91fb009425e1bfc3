#include "inference/packed_model.h"

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/tiny_models.h"
#include "kernels/packing.h"
#include "tests/testing/memory_tpack.h"
#include "tests/testing/random_tensor.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

TpackTensorToWrite Tensor(const std::string& name) {
  for (const ParameterSpec& spec : ParameterTable(TinyConfig())) {
    if (spec.name == name) return RandomTensor(TinyConfig(), spec, 5);
  }
  return {};
}

// A kernel that is wrong in one row, as a mixed-up layout would be.
void BrokenGemm(const uint8_t* tiled, int64_t rows, int64_t cols, const ArrangedActivations& x,
                int32_t* y, int64_t y_stride, int64_t first_block, int64_t end_block) {
  ScalarTernaryKernel().gemm(tiled, rows, cols, x, y, y_stride, first_block, end_block);
  y[3] += 1;
}

TEST(PackedModel, LoadsAModelAndKeepsItsShapes) {
  ASSERT_OK_AND_ASSIGN(
      auto model, PackedModel::Load(MemoryTpack::Random(TinyConfig(), 1), BestTernaryKernel()));
  EXPECT_EQ(model->layer(1).k.rows, 20);
  EXPECT_EQ(model->layer(1).down.cols, 72);
  EXPECT_TRUE(model->layer(0).gate.per_row);
}

TEST(PackedModel, RefusesAKernelThatDisagreesWithTheReference) {
  EXPECT_THAT(PackedModel::Load(MemoryTpack::Random(TinyConfig(), 1), {"broken", &BrokenGemm}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("kernel broken gives")));
}

TEST(PackedModel, RefusesAnInvalidCode) {
  auto file = MemoryTpack::Random(TinyConfig(), 1);
  TpackTensorToWrite t = Tensor("layers.1.ffn.up.weight");
  t.data[200] = '\xff';
  file->Add(t);
  EXPECT_THAT(PackedModel::Load(std::move(file), BestTernaryKernel()),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("layers.1.ffn.up.weight: byte 200: expected ternary codes")));
}

TEST(PackedModel, RefusesAMissingOrMisshapenTensor) {
  auto file = MemoryTpack::Random(TinyConfig(), 1);
  file->Remove("norm.weight");
  EXPECT_THAT(PackedModel::Load(std::move(file), BestTernaryKernel()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("norm.weight")));
  file = MemoryTpack::Random(TinyConfig(), 1);
  TpackTensorToWrite t = Tensor("norm.weight");
  t.shape = {41};
  file->Add(t);
  EXPECT_THAT(PackedModel::Load(std::move(file), BestTernaryKernel()),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("has shape [41], the configuration asks for [40]")));
}

TEST(PackedModel, RefusesSwitchesItDoesNotCompute) {
  ModelConfig config = TinyConfig();
  config.attention = AttentionMode::kBidirectional;
  EXPECT_THAT(PackedModel::Load(MemoryTpack::Random(config, 1), BestTernaryKernel()),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("attention: bidirectional")));
  EXPECT_OK(CheckServable(Windowed(TinyConfig(), 20)));
  EXPECT_OK(CheckServable(Windowed(TinyConfig(), 20, 4)));
}

TEST(PackedModel, TakesTheLogicalFormAndOtherFloatTypes) {
  auto file = MemoryTpack::Random(TinyConfig(), 1);
  TpackTensorToWrite up = Tensor("layers.0.ffn.up.weight");
  const std::string tiled = up.data;
  up.type = TpackType::kTernaryLogical;
  up.data.resize(static_cast<size_t>(72 * LogicalRowBytes(40)));
  TiledToLogical(reinterpret_cast<const uint8_t*>(tiled.data()), 72, 40,
                 reinterpret_cast<uint8_t*>(up.data.data()));
  file->Add(up);
  TpackTensorToWrite norm = Tensor("norm.weight");
  norm.type = TpackType::kBF16;
  norm.data.assign(80, '\0');
  norm.data[0] = '\x80', norm.data[1] = '\x3f';  // 1.0
  file->Add(norm);
  TpackTensorToWrite head = Tensor("head.weight");
  head.type = TpackType::kRowInt8;
  head.data.assign(270 * 40, '\xff');  // -1
  head.scales.assign(270, 0.5f);
  file->Add(head);
  ASSERT_OK_AND_ASSIGN(auto model, PackedModel::Load(std::move(file), BestTernaryKernel()));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(model->layer(0).up.tiled), tiled.size()),
            tiled);
  EXPECT_EQ(model->norm()[0], 1.0f);
  EXPECT_EQ(model->norm()[1], 0.0f);
  EXPECT_EQ(model->head().bytes(), 270 * 40);
  std::vector<float> row(40);
  model->head().Row(269, row.data());
  EXPECT_EQ(row, std::vector<float>(40, -0.5f));
}

}  // namespace
}  // namespace tritter
