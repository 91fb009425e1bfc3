#include "model/safetensors_set.h"

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kIndex[] = "/m/model.safetensors.index.json";

class SafetensorsSetTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(env_.CreateDirs("/m")); }
  // Three tensors of 40, 8 and 16 bytes.
  std::vector<WrittenSetFile> Write(uint64_t max_shard_bytes) {
    std::vector<TensorToWrite> tensors;
    const char* names[] = {"a", "b", "c"};
    const int64_t sizes[] = {10, 2, 4};
    for (int i = 0; i < 3; ++i) {
      tensors.push_back({names[i], DType::kF32, {sizes[i]}, {}, [this, bytes = sizes[i] * 4, i] {
                           buffer_.assign(bytes, static_cast<uint8_t>(i));
                           return absl::StatusOr<absl::Span<const uint8_t>>(
                               absl::MakeConstSpan(buffer_));
                         }});
    }
    auto files = WriteSafetensorsSet(&env_, "/m", "model", tensors, {{"k", "v"}}, max_shard_bytes);
    EXPECT_OK(files.status());
    return *files;
  }
  void Replace(const std::string& from, const std::string& to) {
    std::string text = *env_.ReadFile(kIndex);
    ASSERT_NE(text.find(from), std::string::npos) << text;
    text.replace(text.find(from), from.size(), to);
    ASSERT_OK(WriteFileAtomically(&env_, kIndex, text));
  }
  absl::Status Open() { return SafetensorsSet::Open(&env_, kIndex).status(); }

  MemoryEnv env_;
  std::vector<uint8_t> buffer_;
};

TEST_F(SafetensorsSetTest, OneFileWhereEverythingFits) {
  const std::vector<WrittenSetFile> files = Write(64);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].name, "model.safetensors");
  ASSERT_OK_AND_ASSIGN(auto set, SafetensorsSet::Open(&env_, "/m/model.safetensors"));
  EXPECT_THAT(set->names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(set->metadata().at("k"), "v");
}

TEST_F(SafetensorsSetTest, ShardsHoldAtMostTheLimitAndTheIndexNamesThem) {
  const std::vector<WrittenSetFile> files = Write(24);  // a is larger: a shard of its own
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0].name, "model-00001-of-00002.safetensors");
  EXPECT_EQ(files[2].name, "model.safetensors.index.json");
  ASSERT_OK_AND_ASSIGN(auto set, SafetensorsSet::Open(&env_, kIndex));
  EXPECT_THAT(set->names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(set->PathOf("a"), "/m/model-00001-of-00002.safetensors");
  EXPECT_EQ(set->PathOf("c"), "/m/model-00002-of-00002.safetensors");
  ASSERT_OK_AND_ASSIGN(const TensorView c, set->Get("c"));
  EXPECT_EQ(c.bytes, absl::MakeConstSpan(std::vector<uint8_t>(16, 2)));
  EXPECT_THAT(*env_.ReadFile(kIndex), HasSubstr("\"total_size\": 64"));
}

TEST_F(SafetensorsSetTest, RefusesAnIndexThatDoesNotFitItsShards) {
  Write(24);
  Replace("\"total_size\": 64", "\"total_size\": 65");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the tensors have 64")));
  Write(24);
  Replace("\"b\": \"model-00002", "\"b\": \"model-00001");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("weight_map.b")));
  Write(24);
  Replace(",\n    \"c\": \"model-00002-of-00002.safetensors\"", "");
  EXPECT_THAT(Open(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("`c` of /m/model-00002-of-00002")));
  Write(24);
  Replace("\"model-00001-of-00002", "\"../model-00001-of-00002");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("plain file name")));
  Write(24);
  Replace("\"b\": ", "\"a\": ");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("`a` is given twice")));
  Write(24);
  Replace("{", "{{");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not JSON")));
  Write(24);
  Replace("\"weight_map\"", "\"weight_maps\"");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("`weight_map` is missing")));
  Write(24);
  ASSERT_OK(env_.RemoveFile("/m/model-00002-of-00002.safetensors"));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("model-00002-of-00002")));
}

TEST_F(SafetensorsSetTest, RefusesShardsOfTwoExports) {
  Write(24);
  std::vector<uint8_t> bytes(24);
  const std::vector<TensorToWrite> tensors = {
      {"b", DType::kF32, {2}, absl::MakeConstSpan(bytes).first(8)},
      {"c", DType::kF32, {4}, absl::MakeConstSpan(bytes).first(16)}};
  ASSERT_OK(
      WriteSafetensors(&env_, "/m/model-00002-of-00002.safetensors", tensors, {{"k", "other"}})
          .status());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not of one export")));
}

}  // namespace
}  // namespace tritter
