#include "model/import.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "common/random.h"
#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "kernels/packing.h"
#include "kernels/quantise.h"
#include "model/safetensors.h"
#include "model/testing/random_weights.h"
#include "model/tokenizer.h"
#include "model/tpack.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;
using Files = std::map<std::string, std::string>;

ModelConfig SmallModel(Family family) {
  ModelConfig c;
  ApplyFamilyDefaults(family, &c);
  c.hidden = 24;
  c.layers = 2;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 12;
  c.ffn = 40;
  c.vocab = 264;
  c.context = 64;
  return c;
}

class ImportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(env_.CreateDirs("/in"));
    ASSERT_OK(env_.CreateDirs("/out"));
  }
  Files ReadFolder(const std::string& folder) {
    Files files;
    const auto names = env_.ListDir(folder);
    EXPECT_OK(names.status());
    for (const std::string& name : *names) {
      const std::string path = JoinPath(folder, name);
      if (!env_.IsDirectory(path)) files[name] = *env_.ReadFile(path);
    }
    return files;
  }
  // Exports random weights; returns what to import.
  std::string Export(Family family, const std::string& path, const ExportOptions& options) {
    RandomWeights weights(SmallModel(family), 3);
    const auto result = ExportWeights(&env_, &weights, path, options);
    EXPECT_OK(result.status());
    return result.ok() ? result->path : "";
  }
  // Import as a checkpoint, and export that.
  absl::Status There(const std::string& from, const std::string& checkpoint) {
    auto source = OpenForeignWeights(&env_, from);
    if (!source.ok()) return source.status();
    return WriteCheckpointOf(&env_, source->get(), checkpoint).status();
  }
  std::string ThereAndBack(const std::string& from, const std::string& to,
                           const ExportOptions& options) {
    const std::string checkpoint = to + "-checkpoint";
    EXPECT_OK(There(from, checkpoint));
    const auto result = ExportCheckpoint(&env_, checkpoint, to, options);
    EXPECT_OK(result.status());
    return result.ok() ? result->path : "";
  }
  absl::Status Refusal(const std::string& from) {
    const auto source = OpenForeignWeights(&env_, from);
    if (!source.ok()) return source.status();
    for (const ParameterSpec& parameter : ParameterTable((*source)->config())) {
      if (const auto values = (*source)->Get(parameter); !values.ok()) return values.status();
    }
    return absl::OkStatus();
  }
  void Replace(const std::string& file, const std::string& from, const std::string& to) {
    std::string text = *env_.ReadFile(file);
    ASSERT_NE(text.find(from), std::string::npos) << text;
    text.replace(text.find(from), from.size(), to);
    ASSERT_OK(WriteFileAtomically(&env_, file, text));
  }
  // Writes the folder /in/<name> anew with tensors changed by `edit`.
  struct Tensor {
    DType dtype;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  using Tensors = std::map<std::string, Tensor>;
  void Rewrite(const std::string& folder, const std::function<void(Tensors*)>& edit) {
    const std::string path = JoinPath(folder, "model.safetensors");
    Tensors tensors;
    std::map<std::string, std::string> metadata;
    {
      ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(&env_, path));
      for (const std::string& name : file->names()) {
        const TensorView view = *file->Get(name);
        tensors[name] = {view.dtype, view.shape, std::string(view.bytes.begin(), view.bytes.end())};
      }
      metadata = file->metadata();
    }
    edit(&tensors);
    std::vector<TensorToWrite> out;
    for (const auto& [name, t] : tensors) {
      out.push_back({name,
                     t.dtype,
                     t.shape,
                     {reinterpret_cast<const uint8_t*>(t.bytes.data()), t.bytes.size()}});
    }
    ASSERT_OK(WriteSafetensors(&env_, path, out, metadata).status());
  }

  MemoryEnv env_;
};

ExportOptions Hf(bool packed, uint64_t max_shard_bytes = kDefaultMaxShardBytes) {
  ExportOptions options;
  options.format = "hf";
  options.masters = !packed;
  options.max_shard_bytes = max_shard_bytes;
  return options;
}
ExportOptions Safetensors(uint64_t max_shard_bytes = kDefaultMaxShardBytes) {
  ExportOptions options;
  options.format = "safetensors";
  options.max_shard_bytes = max_shard_bytes;
  return options;
}

TEST_F(ImportTest, HfFolderSurvivesImportAndExportByteForByte) {
  int i = 0;
  for (const auto& [family, packed] : {std::pair{Family::kBitnet, false},
                                       {Family::kBitnet, true},
                                       {Family::kTritter, false},
                                       {Family::kTritter, true}}) {
    for (const uint64_t limit : {kDefaultMaxShardBytes, uint64_t{20000}}) {
      const std::string a = "/out/a" + std::to_string(++i), b = "/out/b" + std::to_string(i);
      Export(family, a, Hf(packed, limit));
      ThereAndBack(a, b, Hf(packed, limit));
      const Files files = ReadFolder(a);
      EXPECT_EQ(files, ReadFolder(b)) << packed << " " << limit;
      EXPECT_EQ(files.count("model.safetensors"), limit == kDefaultMaxShardBytes ? 1 : 0);
      EXPECT_EQ(files.count("model.safetensors.index.json"),
                limit == kDefaultMaxShardBytes ? 0 : 1);
      for (const char* name : {"config.json", "generation_config.json", "tokenizer.json",
                               "tokenizer_config.json", "README.md"}) {
        EXPECT_EQ(files.count(name), 1) << name;
      }
    }
  }
}

TEST_F(ImportTest, SafetensorsSurviveImportAndExportByteForByte) {
  for (const Family family : {Family::kTritter, Family::kBitnet}) {
    const std::string name = FamilyName(family);
    const std::string one = Export(family, "/in/" + name + ".safetensors", Safetensors());
    EXPECT_EQ(one, "/in/" + name + ".safetensors");
    ThereAndBack(one, "/out/" + name + ".safetensors", Safetensors());
    EXPECT_EQ(*env_.ReadFile(one), *env_.ReadFile("/out/" + name + ".safetensors"));

    const std::string index =
        Export(family, "/in/s-" + name + ".safetensors", Safetensors(uint64_t{30000}));
    EXPECT_EQ(index, "/in/s-" + name + ".safetensors.index.json");
    ASSERT_OK(env_.CreateDirs("/out/shards-" + name));
    const std::string again = ThereAndBack(
        index, "/out/shards-" + name + "/s-" + name + ".safetensors", Safetensors(uint64_t{30000}));
    Files in = ReadFolder("/in");
    for (const auto& [file, content] : ReadFolder("/out/shards-" + name)) {
      EXPECT_EQ(in[file], content) << file;
    }
    EXPECT_EQ(Basename(again), Basename(index));
  }
}

// Every matrix of two tpacks: the same codes and scales.
void ExpectSameModel(MemoryEnv* env, const std::string& a, const std::string& b) {
  ASSERT_OK_AND_ASSIGN(const auto first, TpackFile::Open(env, a));
  ASSERT_OK_AND_ASSIGN(const auto second, TpackFile::Open(env, b));
  for (const ParameterSpec& parameter : ParameterTable(first->config())) {
    const TpackTensor x = *first->Get(parameter.name), y = *second->Get(parameter.name);
    EXPECT_EQ(x.data, y.data) << parameter.name;
    EXPECT_EQ(std::vector<float>(x.scales.begin(), x.scales.end()),
              std::vector<float>(y.scales.begin(), y.scales.end()))
        << parameter.name;
  }
}

TEST_F(ImportTest, EveryHfFormGivesTheSamePackedModel) {
  RandomWeights weights(SmallModel(Family::kBitnet), 3);
  ASSERT_OK(ExportWeights(&env_, &weights, "/out/m.tpack", {}).status());
  Export(Family::kBitnet, "/in/plain", Hf(false));
  Export(Family::kBitnet, "/in/packed", Hf(true));
  // bitlinear keeps the inverse of the scale, and the library may have unpacked the codes.
  Export(Family::kBitnet, "/in/inverse", Hf(true));
  Replace("/in/inverse/config.json", "\"autobitlinear\"", "\"bitlinear\"");
  Rewrite("/in/inverse", [](Tensors* tensors) {
    for (auto& [name, tensor] : *tensors) {
      if (name.find("weight_scale") == std::string::npos) continue;
      float scale;
      std::memcpy(&scale, tensor.bytes.data(), sizeof(scale));
      scale = 1.0f / scale;
      std::memcpy(tensor.bytes.data(), &scale, sizeof(scale));
      tensor.shape = {};
    }
  });
  Export(Family::kBitnet, "/in/unpacked", Hf(true));
  Rewrite("/in/unpacked", [](Tensors* tensors) {
    for (auto& [name, tensor] : *tensors) {
      if (tensor.dtype != DType::kU8) continue;
      const int64_t quarter = tensor.shape[0], cols = tensor.shape[1];
      std::vector<float> codes(4 * quarter * cols);
      for (int64_t i = 0; i < 4 * quarter * cols; ++i) {
        const int64_t row = i / cols, byte = (row % quarter) * cols + i % cols;
        codes[i] = static_cast<float>(((tensor.bytes[byte] >> (row / quarter * 2)) & 3) - 1);
      }
      tensor = {DType::kF32,
                {4 * quarter, cols},
                std::string(reinterpret_cast<const char*>(codes.data()), codes.size() * 4)};
    }
  });
  for (const std::string form : {"plain", "packed", "unpacked"}) {
    ASSERT_OK_AND_ASSIGN(const auto source, OpenForeignWeights(&env_, "/in/" + form));
    const std::string path = "/out/" + form + ".tpack";
    ASSERT_OK(ExportWeights(&env_, source.get(), path, {}).status());
    SCOPED_TRACE(form);
    ExpectSameModel(&env_, "/out/m.tpack", path);
  }
  // 1 / (1 / s) is s but for the last bit: the codes are the same, and exported again they stay.
  ASSERT_OK_AND_ASSIGN(const auto source, OpenForeignWeights(&env_, "/in/inverse"));
  ASSERT_OK(ExportWeights(&env_, source.get(), "/out/inverse.tpack", {}).status());
  ASSERT_OK_AND_ASSIGN(const auto want, TpackFile::Open(&env_, "/out/m.tpack"));
  ASSERT_OK_AND_ASSIGN(const auto got, TpackFile::Open(&env_, "/out/inverse.tpack"));
  for (const ParameterSpec& parameter : ParameterTable(want->config())) {
    const TpackTensor x = *want->Get(parameter.name), y = *got->Get(parameter.name);
    EXPECT_EQ(x.data, y.data) << parameter.name;
    if (!x.scales.empty()) EXPECT_NEAR(y.scales[0] / x.scales[0], 1, 1e-6) << parameter.name;
  }
}

TEST_F(ImportTest, AFolderInAnotherFormIsStableOnceExported) {
  Export(Family::kBitnet, "/in/half", Hf(false));
  ASSERT_OK(env_.RemoveFile("/in/half/tokenizer.json"));
  ASSERT_OK(env_.RemoveFile("/in/half/README.md"));
  Rewrite("/in/half", [](Tensors* tensors) {
    for (auto& [name, tensor] : *tensors) {  // BF16: the upper halves
      std::string halves;
      for (size_t i = 0; i < tensor.bytes.size(); i += 4) halves += tensor.bytes.substr(i + 2, 2);
      tensor.dtype = DType::kBF16;
      tensor.bytes = halves;
    }
    (*tensors)["lm_head.weight"] = (*tensors)["model.embed_tokens.weight"];
  });
  ThereAndBack("/in/half", "/out/a", Hf(false));
  ThereAndBack("/out/a", "/out/b", Hf(false));
  EXPECT_EQ(ReadFolder("/out/a"), ReadFolder("/out/b"));
  ThereAndBack("/in/half", "/out/c", Hf(true));
  ThereAndBack("/out/c", "/out/d", Hf(true));
  EXPECT_EQ(ReadFolder("/out/c"), ReadFolder("/out/d"));
}

TEST_F(ImportTest, AForeignTokenizerIsNeverTakenForOurs) {
  Export(Family::kBitnet, "/in/m", Hf(false));
  ASSERT_OK(WriteFileAtomically(&env_, "/in/m/tokenizer.json", "{}"));
  ThereAndBack("/in/m", "/out/m", Hf(false));
  EXPECT_FALSE(env_.Exists("/out/m/tokenizer.json"));
  EXPECT_THAT(*env_.ReadFile("/out/m/config.json"), HasSubstr("\"eos_token_id\": null"));
  ASSERT_OK(ExportCheckpoint(&env_, "/out/m-checkpoint", "/out/m.tpack", {}).status());
  ASSERT_OK_AND_ASSIGN(const auto file, TpackFile::Open(&env_, "/out/m.tpack"));
  EXPECT_EQ(file->tokenizer_hash(), Sha256Hex("{}"));
}

TEST_F(ImportTest, TheCheckpointHoldsFreshMomentsAndSaysWhereItComesFrom) {
  Export(Family::kTritter, "/in/m.safetensors", Safetensors());
  ASSERT_OK(There("/in/m.safetensors", "/out/c"));
  ASSERT_OK_AND_ASSIGN(const auto share,
                       SafetensorsFile::Open(&env_, "/out/c/share-0-of-1.safetensors"));
  RandomWeights weights(SmallModel(Family::kTritter), 3);
  for (const ParameterSpec& parameter : ParameterTable(weights.config())) {
    const absl::Span<const float> want = *weights.Get(parameter);
    for (const char* prefix : {"weight/", "ema/"}) {
      ASSERT_OK_AND_ASSIGN(const TensorView view, share->Get(prefix + parameter.name));
      EXPECT_EQ(std::memcmp(view.bytes.data(), want.data(), view.bytes.size()), 0);
    }
    for (const char* prefix : {"adam_m/", "adam_v/"}) {
      ASSERT_OK_AND_ASSIGN(const TensorView view, share->Get(prefix + parameter.name));
      EXPECT_EQ(std::count(view.bytes.begin(), view.bytes.end(), 0), view.bytes.size());
    }
  }
  EXPECT_THAT(*env_.ReadFile("/out/c/manifest.json"), HasSubstr("\"run_id\": \"random\""));
  EXPECT_THAT(There("/in/m.safetensors", "/out/c"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("/out/c")));
}

TEST_F(ImportTest, SaysWhatIsWrongWithAFolder) {
  constexpr absl::StatusCode kData = absl::StatusCode::kDataLoss;
  const auto expect = [&](absl::StatusCode code, const std::string& message) {
    EXPECT_THAT(Refusal("/in/m"), StatusIs(code, HasSubstr(message)));
    ASSERT_OK(env_.RemoveTree("/in/m"));
    Export(Family::kBitnet, "/in/m", Hf(true));
  };
  EXPECT_THAT(Refusal("/none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
  ASSERT_OK(env_.CreateDirs("/in/m"));
  expect(absl::StatusCode::kNotFound, "/in/m/config.json");
  ASSERT_OK(env_.RemoveFile("/in/m/model.safetensors"));
  expect(absl::StatusCode::kNotFound, "/in/m/model.safetensors: missing");
  const std::string down = "model.layers.1.mlp.down_proj.weight";
  Rewrite("/in/m", [&](Tensors* t) { t->erase(down); });
  expect(kData, "`" + down + "` is missing, expected [6, 40]");
  Rewrite("/in/m", [&](Tensors* t) { t->erase(down + "_scale"); });
  expect(kData, "`" + down + "_scale` is missing");
  Rewrite("/in/m", [&](Tensors* t) { (*t)[down].shape = {12, 20}; });
  expect(kData, "is U8 [12, 20], expected U8 [6, 40]");
  Rewrite("/in/m", [&](Tensors* t) { (*t)["extra"] = {DType::kU8, {1}, "x"}; });
  expect(kData, "`extra` does not belong to this model");
  Rewrite("/in/m", [&](Tensors* t) { (*t)[down].bytes[5] = '\x03'; });
  expect(kData, "byte 5 is 3, which holds the code 3");
  Rewrite("/in/m", [&](Tensors* t) {
    const float tiny = 1e-7f;
    (*t)[down + "_scale"].bytes.assign(reinterpret_cast<const char*>(&tiny), sizeof(tiny));
  });
  expect(absl::StatusCode::kFailedPrecondition, "its scale is 1e-07");
  Rewrite("/in/m", [&](Tensors* t) {
    const float nan = std::nanf("");
    (*t)["model.norm.weight"].bytes.replace(8, 4, reinterpret_cast<const char*>(&nan), 4);
  });
  expect(absl::StatusCode::kFailedPrecondition, "`model.norm.weight`, element 2 is nan");
  Rewrite("/in/m", [&](Tensors* t) {
    (*t)["lm_head.weight"] = (*t)["model.embed_tokens.weight"];
    (*t)["lm_head.weight"].bytes[0] ^= 1;
  });
  expect(kData, "`lm_head.weight` differs");
}

TEST_F(ImportTest, SaysWhatIsWrongWithASafetensorsFile) {
  Export(Family::kBitnet, "/in/m", Hf(false));
  EXPECT_THAT(Refusal("/in/m/model.safetensors"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name the folder")));
  EXPECT_THAT(Refusal("/in/m/README.md"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected a Hugging Face")));
  const std::string path = Export(Family::kTritter, "/in/m.safetensors", Safetensors());
  const std::string whole = *env_.ReadFile(path);
  Replace(path, "heads: 2", "heads: 0");
  EXPECT_THAT(Refusal(path), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("heads")));
  ASSERT_OK(WriteFileAtomically(&env_, path, whole));
  Replace(path, "vocab: 264", "vocab: 265");
  EXPECT_THAT(Refusal(path),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("`embed.weight` is F32 [264, 24], expected F32 [265, 24]")));
  // Whatever the first bytes become: a status, or the weights, never a crash.
  Philox random(1);
  for (int i = 0; i < 500; ++i) {
    std::string broken = whole;
    for (int k = 0; k < 3; ++k) broken[random.Below(2000)] = static_cast<char>(random.Below(256));
    ASSERT_OK(WriteFileAtomically(&env_, path, broken));
    Refusal(path).IgnoreError();
  }
}

TEST_F(ImportTest, AnExportNeverMixesWithAnOlderOne) {
  Export(Family::kBitnet, "/out/m", Hf(false));
  RandomWeights weights(SmallModel(Family::kBitnet), 4);
  EXPECT_THAT(ExportWeights(&env_, &weights, "/out/m", Hf(false)).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("README.md")));
  Export(Family::kBitnet, "/out/s.safetensors", Safetensors());
  EXPECT_THAT(ExportWeights(&env_, &weights, "/out/s.safetensors", Safetensors(10000)).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("one file")));
  EXPECT_FALSE(env_.Exists("/out/s.safetensors.unverified"));
  ModelConfig wide = SmallModel(Family::kBitnet);
  wide.head_dim = 16;
  wide.head_dim_given = true;
  RandomWeights wrong(wide, 4);
  EXPECT_THAT(ExportWeights(&env_, &wrong, "/out/t", Hf(false)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("head_dim 16")));
  ModelConfig rows = SmallModel(Family::kBitnet);
  rows.granularity = ScaleGranularity::kRow;
  RandomWeights per_row(rows, 4);
  EXPECT_THAT(ExportWeights(&env_, &per_row, "/out/t", Hf(false)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("granularity row")));
  EXPECT_FALSE(env_.Exists("/out/t"));
}

}  // namespace
}  // namespace tritter
