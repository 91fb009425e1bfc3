#include "model/tpack.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "model/testing/tpack_test_model.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Text(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::unique_ptr<TpackWriter> NewWriter(Env* env, const ModelConfig& config) {
  auto writer = TpackWriter::Create(env, "/m.tpack", config, kTestTokenizerHash, {});
  EXPECT_OK(writer);
  return *std::move(writer);
}

TEST(Tpack, GivesBackWhatWasWritten) {
  MemoryEnv env;
  const ModelConfig config = TinyModelConfig();
  ASSERT_OK(WriteRandomTpack(&env, "/m.tpack", config, 1));
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file, TpackFile::Open(&env, "/m.tpack"));
  EXPECT_EQ(ModelConfigToYaml(file->config(), 0), ModelConfigToYaml(config, 0));
  EXPECT_EQ(file->tokenizer_hash(), kTestTokenizerHash);
  EXPECT_EQ(file->provenance().run_id, "run-test");
  EXPECT_EQ(file->provenance().step, 7);
  EXPECT_EQ(file->provenance().checkpoint_hash, std::string(64, 'c'));
  EXPECT_EQ(file->provenance().weights, "averaged");
  EXPECT_EQ(file->provenance().code_version, "test");
  ASSERT_OK_AND_ASSIGN(const uint64_t size, env.FileSize("/m.tpack"));
  EXPECT_EQ(file->file_bytes(), size);
  const std::vector<ParameterSpec> parameters = ParameterTable(config);
  ASSERT_EQ(file->names().size(), parameters.size());
  const uint8_t* last = nullptr;
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(file->names()[i], parameters[i].name);
    const TpackTensorToWrite want = RandomTpackTensor(config, parameters[i], 1);
    ASSERT_OK_AND_ASSIGN(const TpackTensor tensor, file->Get(parameters[i].name));
    EXPECT_EQ(tensor.name, want.name);
    EXPECT_EQ(tensor.shape, want.shape);
    EXPECT_EQ(tensor.type, want.type);
    EXPECT_EQ(Text(tensor.data), want.data);
    EXPECT_EQ(std::vector<float>(tensor.scales.begin(), tensor.scales.end()), want.scales);
    if (last != nullptr)
      EXPECT_EQ((tensor.data.data() - last) % 64, 0) << "not on a multiple of 64";
    last = tensor.data.data();
  }
  EXPECT_OK(file->VerifyAll());
  EXPECT_THAT(file->Get("layers.9.attn.q.weight"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("layers.9")));
}

TEST(Tpack, EveryTypeAndTensorGranularityRoundTrip) {
  MemoryEnv env;
  ModelConfig config = TinyModelConfig();
  config.granularity = ScaleGranularity::kTensor;
  auto writer = NewWriter(&env, config);
  std::vector<TpackTensorToWrite> written;
  for (const ParameterSpec& parameter : ParameterTable(config)) {
    TpackTensorToWrite tensor = RandomTpackTensor(config, parameter, 1);
    if (parameter.kind == ParameterKind::kEmbedding) {
      tensor.type = TpackType::kBF16;
      tensor.data.resize(tensor.data.size() / 2);
    } else if (parameter.kind == ParameterKind::kHead) {
      tensor.type = TpackType::kRowInt8;
      tensor.data.resize(tensor.data.size() / 4);
      tensor.scales.assign(parameter.shape[0], 0.5f);
    } else if (parameter.name == "layers.0.attn.q.weight") {
      tensor.type = TpackType::kTernaryLogical;
      tensor.data.assign(24 * 6, '\x55');
      tensor.scales = {0.25f};
    }
    ASSERT_OK(writer->Add(tensor));
    written.push_back(tensor);
  }
  ASSERT_OK(writer->Finish());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file, TpackFile::Open(&env, "/m.tpack"));
  for (const TpackTensorToWrite& want : written) {
    ASSERT_OK_AND_ASSIGN(const TpackTensor tensor, file->Get(want.name));
    EXPECT_EQ(tensor.type, want.type);
    EXPECT_EQ(Text(tensor.data), want.data);
    EXPECT_EQ(std::vector<float>(tensor.scales.begin(), tensor.scales.end()), want.scales);
  }
  EXPECT_OK(file->VerifyAll());
}

TEST(Tpack, WriterRefusesWhatTheFileCouldNotSay) {
  MemoryEnv env;
  const ModelConfig config = TinyModelConfig();
  const std::vector<ParameterSpec> parameters = ParameterTable(config);
  auto writer = NewWriter(&env, config);
  EXPECT_THAT(writer->Add(RandomTpackTensor(config, parameters[1], 1)),
              StatusIs(kInvalid, HasSubstr("expected embed.weight")));
  TpackTensorToWrite embed = RandomTpackTensor(config, parameters[0], 1);
  embed.shape = {24, 264};
  EXPECT_THAT(writer->Add(embed), StatusIs(kInvalid, HasSubstr("24x264, expected 264x24")));
  embed = RandomTpackTensor(config, parameters[0], 1);
  embed.data.pop_back();
  EXPECT_THAT(writer->Add(embed),
              StatusIs(kInvalid, HasSubstr("25343 bytes and 0 scales, expected 25344 and 0")));
  embed.type = TpackType::kTernaryTile16x16;
  EXPECT_THAT(writer->Add(embed), StatusIs(kInvalid, HasSubstr("cannot be stored as ternary")));
  EXPECT_THAT(writer->Finish(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("the next is embed.weight")));
  ASSERT_OK(writer->Add(RandomTpackTensor(config, parameters[0], 1)));
  ASSERT_OK(writer->Add(RandomTpackTensor(config, parameters[1], 1)));
  TpackTensorToWrite q = RandomTpackTensor(config, parameters[2], 1);
  ASSERT_EQ(q.type, TpackType::kTernaryTile16x16);
  q.data[5] |= 0x0C;
  EXPECT_THAT(writer->Add(q), StatusIs(kInvalid, HasSubstr("byte 5")));
  q = RandomTpackTensor(config, parameters[2], 1);
  q.scales[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(writer->Add(q), StatusIs(kInvalid, HasSubstr("scale 3")));
  for (const float bad : {0.0f, -0.5f}) {
    q.scales[3] = bad;
    EXPECT_THAT(writer->Add(q),
                StatusIs(kInvalid, HasSubstr("scale 3: expected a finite number above 0")));
  }
}

TEST(Tpack, UnfinishedWriterLeavesNothing) {
  MemoryEnv env;
  const ModelConfig config = TinyModelConfig();
  {
    auto writer = NewWriter(&env, config);
    ASSERT_OK(writer->Add(RandomTpackTensor(config, ParameterTable(config)[0], 1)));
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, env.ListDir("/"));
  EXPECT_TRUE(names.empty());
}

TEST(Tpack, FullDiskIsResourceExhaustedAndLeavesNothing) {
  MemoryEnv env;
  ASSERT_OK(WriteRandomTpack(&env, "/m.tpack", TinyModelConfig(), 1));
  ASSERT_OK_AND_ASSIGN(const uint64_t size, env.FileSize("/m.tpack"));
  ASSERT_OK(env.RemoveFile("/m.tpack"));
  for (const uint64_t capacity : {size / 2, size + size / 2}) {
    env.SetCapacity(capacity);
    EXPECT_THAT(WriteRandomTpack(&env, "/m.tpack", TinyModelConfig(), 1),
                StatusIs(absl::StatusCode::kResourceExhausted));
    ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, env.ListDir("/"));
    EXPECT_TRUE(names.empty());
  }
}

// Whatever write, sync or rename fails, and whatever the crash after it loses: the old file whole,
// or the new one whole.
TEST(Tpack, CrashAtAnyPointLeavesTheOldOrTheNewFile) {
  ModelConfig config = TinyModelConfig();
  const auto prepare = [&](MemoryEnv* mem) {
    ASSERT_OK(WriteRandomTpack(mem, "/m.tpack", config, 1));
  };
  const auto act = [&](Env* env) { return WriteRandomTpack(env, "/m.tpack", config, 2); };
  const auto check = [&](MemoryEnv* mem, const std::string& where) {
    SCOPED_TRACE(where);
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file, TpackFile::Open(mem, "/m.tpack"));
    EXPECT_OK(file->VerifyAll());
  };
  EXPECT_GT(ForEachCrashPoint(prepare, act, check), 100);
}

}  // namespace
}  // namespace tritter
