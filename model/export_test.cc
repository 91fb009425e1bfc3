#include "model/export.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "common/random.h"
#include "common/sha256.h"
#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"
#include "model/checkpoint_manifest.h"
#include "model/run_spec.h"
#include "model/safetensors.h"
#include "model/testing/tpack_test_model.h"
#include "model/tokenizer.h"
#include "model/tpack.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

constexpr char kFolder[] = "/run/checkpoints/step-00000012";

std::vector<float> Values(absl::string_view prefix, const ParameterSpec& parameter) {
  int64_t n = 1;
  for (const int64_t dim : parameter.shape) n *= dim;
  Philox random(MixKey(HashString(prefix), HashString(parameter.name)));
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(0.1 * random.Normal());
  return values;
}

absl::Span<const uint8_t> Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

class ExportTest : public ::testing::Test {
 protected:
  void SetUp() override { config_ = TinyModelConfig(); }

  // Two shares, the parameters of each in turn, every kind of state in them.
  void WriteCheckpoint(Env* env, int64_t step = 12) {
    ASSERT_OK(env->CreateDirs(kFolder));
    CheckpointManifest manifest;
    manifest.run_id = "run-test";
    manifest.step = step;
    manifest.attempt = "1";
    manifest.spec_yaml = SpecYaml();
    manifest.spec_hash = Sha256Hex(manifest.spec_yaml);
    manifest.code_version = "test";
    const std::vector<ParameterSpec> parameters = ParameterTable(config_);
    for (int share = 0; share < 2; ++share) {
      std::vector<std::vector<float>> values;
      std::vector<std::pair<std::string, std::vector<int64_t>>> names;
      for (size_t i = share; i < parameters.size(); i += 2) {
        for (const char* prefix : {"weight/", "ema/", "adam_m/"}) {
          if (left_out_ == prefix + parameters[i].name) continue;
          values.push_back(Values(prefix, parameters[i]));
          if (poisoned_ == prefix + parameters[i].name)
            values.back()[3] = std::numeric_limits<float>::quiet_NaN();
          names.emplace_back(prefix + parameters[i].name, parameters[i].shape);
        }
      }
      std::vector<TensorToWrite> tensors;
      for (size_t i = 0; i < names.size(); ++i) {
        tensors.push_back({names[i].first, DType::kF32, names[i].second, Bytes(values[i])});
      }
      const std::string name = "share-" + std::to_string(share) + "-of-2.safetensors";
      ASSERT_OK_AND_ASSIGN(const WrittenFile written,
                           WriteSafetensors(env, JoinPath(kFolder, name), tensors, {}));
      manifest.files.push_back({name, written.bytes, written.sha256});
    }
    ASSERT_OK(
        WriteFileAtomically(env, JoinPath(kFolder, "manifest.json"), ManifestToJson(manifest)));
  }

  std::string SpecYaml() const {
    RunSpec spec;
    spec.name = "test";
    spec.model = config_;
    spec.sources = {{"text", "/shards", 1.0, 4.0}};
    spec.steps = 20;
    spec.sequence_length = 32;
    spec.global_batch = 4;
    spec.schedule.total_steps = 20;
    spec.schedule.decay_start_step = 16;
    return CanonicalYaml(spec);
  }

  MemoryEnv env_;
  ModelConfig config_;
  std::string left_out_, poisoned_;
};

TEST_F(ExportTest, TheHeadIsQuantisedByRowsWhenAskedFor) {
  WriteCheckpoint(&env_);
  for (const auto& [name, type] :
       {std::pair{"int8", TpackType::kRowInt8}, {"int4", TpackType::kRowInt4}}) {
    ExportOptions options;
    options.head = name;
    ASSERT_OK(ExportCheckpoint(&env_, kFolder, "/out/m.tpack", options).status());
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file,
                         TpackFile::Open(&env_, "/out/m.tpack"));
    for (const ParameterSpec& parameter : ParameterTable(config_)) {
      if (parameter.kind == ParameterKind::kTernary) continue;
      ASSERT_OK_AND_ASSIGN(const TpackTensor tensor, file->Get(parameter.name));
      if (parameter.kind != ParameterKind::kHead) {
        EXPECT_EQ(tensor.type, TpackType::kF32) << parameter.name;
        continue;
      }
      ASSERT_EQ(tensor.type, type);
      const std::vector<float> want = Values("ema/", parameter);
      const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
      std::vector<uint8_t> codes(QuantisedRowBytes(*RowFormatOf(type), cols));
      for (int64_t r = 0; r < rows; ++r) {
        EXPECT_EQ(tensor.scales[r],
                  QuantiseRowCodes(*RowFormatOf(type), &want[r * cols], cols, codes.data()));
        EXPECT_EQ(std::memcmp(&tensor.data[r * codes.size()], codes.data(), codes.size()), 0);
      }
    }
  }
  ExportOptions options;
  options.head = "int3";
  EXPECT_THAT(ExportCheckpoint(&env_, kFolder, "/out/m.tpack", options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("int3")));
  options = {.format = "safetensors", .head = "int8"};
  EXPECT_THAT(ExportCheckpoint(&env_, kFolder, "/out/m.safetensors", options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is for format tpack")));
}

TEST_F(ExportTest, TpackHoldsTheQuantisedAverages) {
  WriteCheckpoint(&env_);
  ASSERT_OK_AND_ASSIGN(const ExportResult result,
                       ExportCheckpoint(&env_, kFolder, "/out/m.tpack", {}));
  EXPECT_EQ(result.path, "/out/m.tpack");
  EXPECT_EQ(result.step, 12);
  ASSERT_OK_AND_ASSIGN(const std::string content, env_.ReadFile("/out/m.tpack"));
  EXPECT_EQ(result.bytes, content.size());
  EXPECT_EQ(result.sha256, Sha256Hex(content));

  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file,
                       TpackFile::Open(&env_, "/out/m.tpack"));
  EXPECT_EQ(file->tokenizer_hash(), ByteTokenizer().hash());
  EXPECT_EQ(file->provenance().run_id, "run-test");
  EXPECT_EQ(file->provenance().step, 12);
  EXPECT_EQ(file->provenance().weights, "averaged");
  ASSERT_OK_AND_ASSIGN(const std::string manifest,
                       env_.ReadFile(JoinPath(kFolder, "manifest.json")));
  EXPECT_EQ(file->provenance().checkpoint_hash, Sha256Hex(manifest));
  for (const ParameterSpec& parameter : ParameterTable(config_)) {
    ASSERT_OK_AND_ASSIGN(const TpackTensor tensor, file->Get(parameter.name));
    const std::vector<float> want = Values("ema/", parameter);
    if (parameter.kind != ParameterKind::kTernary) {
      EXPECT_EQ(tensor.type, TpackType::kF32);
      EXPECT_EQ(tensor.data, Bytes(want)) << parameter.name;
      continue;
    }
    const int64_t rows = parameter.shape[0], cols = parameter.shape[1];
    std::vector<int8_t> q(want.size()), got(want.size());
    std::vector<float> scales(rows);
    QuantiseWeights(want.data(), rows, cols, /*per_row=*/true, q.data(), scales.data());
    std::vector<uint8_t> logical(rows * LogicalRowBytes(cols));
    TiledToLogical(tensor.data.data(), rows, cols, logical.data());
    int64_t bad = -1;
    ASSERT_TRUE(UnpackLogical(logical.data(), rows, cols, got.data(), &bad));
    EXPECT_EQ(got, q) << parameter.name;
    EXPECT_EQ(std::vector<float>(tensor.scales.begin(), tensor.scales.end()), scales);
  }
}

TEST_F(ExportTest, RawWeightsOnRequestAndOneScaleForGranularityTensor) {
  config_.granularity = ScaleGranularity::kTensor;
  WriteCheckpoint(&env_);
  ASSERT_OK(ExportCheckpoint(&env_, kFolder, "/m.tpack", {"tpack", /*raw=*/true}));
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file, TpackFile::Open(&env_, "/m.tpack"));
  EXPECT_EQ(file->provenance().weights, "raw");
  for (const ParameterSpec& parameter : ParameterTable(config_)) {
    if (parameter.kind != ParameterKind::kTernary) continue;
    const std::vector<float> w = Values("weight/", parameter);
    std::vector<int8_t> q(w.size());
    float scale = 0;
    QuantiseWeights(w.data(), parameter.shape[0], parameter.shape[1], /*per_row=*/false, q.data(),
                    &scale);
    ASSERT_OK_AND_ASSIGN(const TpackTensor tensor, file->Get(parameter.name));
    ASSERT_EQ(tensor.scales.size(), 1u);
    EXPECT_EQ(tensor.scales[0], scale);
  }
}

TEST_F(ExportTest, SafetensorsHoldsEveryWeightAsF32) {
  WriteCheckpoint(&env_);
  ASSERT_OK_AND_ASSIGN(const ExportResult result,
                       ExportCheckpoint(&env_, kFolder, "/m.safetensors", {"safetensors", false}));
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<SafetensorsFile> file,
                       SafetensorsFile::Open(&env_, "/m.safetensors"));
  const std::vector<ParameterSpec> parameters = ParameterTable(config_);
  EXPECT_EQ(file->names().size(), parameters.size());
  for (const ParameterSpec& parameter : parameters) {
    ASSERT_OK_AND_ASSIGN(const TensorView view, file->Get(parameter.name));
    EXPECT_EQ(view.dtype, DType::kF32);
    EXPECT_EQ(view.shape, parameter.shape);
    EXPECT_EQ(view.bytes, Bytes(Values("ema/", parameter)));
  }
  EXPECT_EQ(file->metadata().at("step"), "12");
  EXPECT_EQ(file->metadata().at("weights"), "averaged");
  ASSERT_OK_AND_ASSIGN(const std::string content, env_.ReadFile("/m.safetensors"));
  EXPECT_EQ(result.sha256, Sha256Hex(content));
}

TEST_F(ExportTest, RefusesWhatItCannotExport) {
  EXPECT_THAT(ExportCheckpoint(&env_, "/none", "/m.tpack", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
  WriteCheckpoint(&env_);
  EXPECT_THAT(ExportCheckpoint(&env_, kFolder, "/m", {"onnx", false}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'onnx', expected tpack, safetensors, hf or gguf")));
  EXPECT_FALSE(env_.Exists("/m"));
}

TEST(CheckExportable, FamilyBitnetNeedsOneScaleAMatrix) {
  ModelConfig config = TinyModelConfig();
  EXPECT_OK(CheckExportable(config, {}));
  config.family = Family::kBitnet;
  EXPECT_THAT(CheckExportable(config, {}), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("granularity row of family bitnet")));
  EXPECT_OK(CheckExportable(config, {"safetensors", false}));
  config.granularity = ScaleGranularity::kTensor;
  EXPECT_OK(CheckExportable(config, {}));
  config.weight_rule = WeightRule::kThreshold;
  EXPECT_THAT(CheckExportable(config, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("safetensors")));
}

TEST_F(ExportTest, RefusesMissingAndDivergedTensors) {
  left_out_ = "ema/norm.weight";
  WriteCheckpoint(&env_);
  EXPECT_THAT(ExportCheckpoint(&env_, kFolder, "/m.tpack", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("ema/norm.weight")));
  left_out_ = "";
  poisoned_ = "ema/layers.0.ffn.up.weight";
  WriteCheckpoint(&env_);
  EXPECT_THAT(ExportCheckpoint(&env_, kFolder, "/m.tpack", {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("element 3 is nan")));
  EXPECT_OK(ExportCheckpoint(&env_, kFolder, "/m.tpack", {"tpack", /*raw=*/true}));
}

TEST_F(ExportTest, DamagedShareIsDataLossAndLeavesTheOldExport) {
  WriteCheckpoint(&env_);
  ASSERT_OK(WriteFileAtomically(&env_, "/m.tpack", "old"));
  const std::string share = JoinPath(kFolder, "share-1-of-2.safetensors");
  ASSERT_OK_AND_ASSIGN(std::string content, env_.ReadFile(share));
  content[content.size() - 9] ^= 4;
  ASSERT_OK(WriteFileAtomically(&env_, share, content));
  EXPECT_THAT(ExportCheckpoint(&env_, kFolder, "/m.tpack", {}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(share)));
  ASSERT_OK_AND_ASSIGN(const std::string old, env_.ReadFile("/m.tpack"));
  EXPECT_EQ(old, "old");
}

TEST_F(ExportTest, FullDiskLeavesNothingBehind) {
  WriteCheckpoint(&env_);
  ASSERT_OK_AND_ASSIGN(const uint64_t free, env_.FreeBytes("/"));
  env_.SetCapacity(std::numeric_limits<uint64_t>::max() - free + 20000);
  for (const char* format : {"tpack", "safetensors"}) {
    EXPECT_THAT(ExportCheckpoint(&env_, kFolder, "/m.safetensors", {format, false}),
                StatusIs(absl::StatusCode::kResourceExhausted));
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, env_.ListDir("/"));
  EXPECT_EQ(names, (std::vector<std::string>{"run"}));
}

TEST_F(ExportTest, CrashAtAnyPointLeavesAWholeExport) {
  WriteCheckpoint(&env_);
  ASSERT_OK(ExportCheckpoint(&env_, kFolder, "/out/m.tpack", {"tpack", true}));
  const auto prepare = [&](MemoryEnv* mem) {
    for (const char* folder : {kFolder, "/out"}) {
      ASSERT_OK(mem->CreateDirs(folder));
      ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, env_.ListDir(folder));
      for (const std::string& name : names) {
        ASSERT_OK_AND_ASSIGN(const std::string content, env_.ReadFile(JoinPath(folder, name)));
        ASSERT_OK(WriteFileAtomically(mem, JoinPath(folder, name), content));
      }
    }
  };
  const auto act = [&](Env* env) {
    return ExportCheckpoint(env, kFolder, "/out/m.tpack", {}).status();
  };
  const auto check = [&](MemoryEnv* mem, const std::string& where) {
    SCOPED_TRACE(where);
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<TpackFile> file,
                         TpackFile::Open(mem, "/out/m.tpack"));
    EXPECT_OK(file->VerifyAll());
  };
  EXPECT_GT(ForEachCrashPoint(prepare, act, check), 100);
}

}  // namespace
}  // namespace tritter
