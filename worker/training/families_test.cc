// What holds for the trainer of family tritter holds for family bitnet and for every switch of the
// network: fresh loss, learning, ranks, resume; and what is exported says what training evaluates,
// bit for bit.
#include <cmath>
#include <thread>

#include "absl/strings/str_replace.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/reference_model.h"
#include "model/export.h"
#include "model/folder_checkpoint_store.h"
#include "model/tpack.h"
#include "worker/testing/commit_state.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/testing/tiny_training.h"

namespace tritter {
namespace {

RunSpec SpecOf(const ModelConfig& model) {
  RunSpec spec = TinySpec();
  spec.model = model;
  spec.sources.emplace_back();
  spec.sources.back().name = "text";
  spec.sources.back().shards = "/shards";
  return spec;
}

// The switches that make another network, each in one model at least.
std::vector<ModelConfig> EveryKind() {
  ModelConfig dressed = TinyModel(Family::kTritter);
  dressed.norm = NormKind::kLayerNorm;
  dressed.bias = true;
  dressed.lm_head_ternary = true;
  dressed.weight_rule = WeightRule::kThreshold;
  ModelConfig tied = TinyModel(Family::kTritter);
  tied.tied_embeddings = true;
  tied.granularity = ScaleGranularity::kTensor;
  ModelConfig untied = TinyModel(Family::kBitnet);
  untied.tied_embeddings = false;
  untied.bias = true;
  untied.head_dim = 12;  // N·D is not H
  untied.head_dim_given = true;
  ModelConfig full_precision = TinyModel(Family::kBitnet);
  full_precision.weight_rule = WeightRule::kNone;
  ModelConfig half_quantised = TinyModel(Family::kTritter);
  half_quantised.activations = ActivationRule::kNone;
  half_quantised.lm_head_ternary = true;
  return {TinyModel(Family::kBitnet), dressed, tied, untied, full_precision, half_quantised};
}

std::string Name(const ModelConfig& model) {
  return absl::StrReplaceAll(ModelConfigToYaml(model, 0), {{"\n", ", "}});
}

TEST(Families, LlamaIsServedAndNotTrained) {
  auto alone = SingleProcessCollective();
  ModelConfig config = TinyModel(Family::kTritter);
  ApplyFamilyDefaults(Family::kLlama, &config);
  Trainer::Options options;
  options.spec = SpecOf(config);
  options.collective = alone.get();
  EXPECT_THAT(Trainer::Create(options).status(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       ::testing::HasSubstr("family llama cannot be trained")));
}

TEST(Families, FreshLossIsTheLogarithmOfTheVocabulary) {
  auto alone = SingleProcessCollective();
  std::vector<ModelConfig> models = EveryKind();
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    models.push_back(*PresetConfig("nano"));
    ApplyFamilyDefaults(family, &models.back());
    models.push_back(models.back());
    models.back().tied_embeddings = !models.back().tied_embeddings;
  }
  for (const ModelConfig& model : models) {
    const RunSpec spec = SpecOf(model);
    auto trainer = MakeTrainer(spec, alone.get());
    const double want = std::log(static_cast<double>(model.vocab));
    EXPECT_NEAR(Train(trainer.get(), spec, 0, 1, 8)[0], want, 0.01 * want) << Name(model);
  }
}

TEST(Families, TwoRanksEqualOneThatAccumulatesBitForBit) {
  for (const ModelConfig& model : EveryKind()) {
    const RunSpec spec = SpecOf(model);
    auto alone = SingleProcessCollective();
    auto single = MakeTrainer(spec, alone.get());
    const std::vector<double> want = Train(single.get(), spec, 0, 30, 4);
    EXPECT_LT(want.back(), 0.9 * want.front()) << Name(model);

    auto group = MakeFakeGroup(2);
    std::vector<double> losses[2];
    std::unique_ptr<Trainer> trainers[2];
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      trainers[rank] = MakeTrainer(spec, group[rank].get());
      threads.emplace_back(
          [&, rank] { losses[rank] = TrainShare(trainers[rank].get(), spec, 0, 30, rank, 2); });
    }
    for (std::thread& thread : threads) thread.join();
    for (int rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(losses[rank], want) << Name(model);
      EXPECT_EQ(*trainers[rank]->StateHash(), *single->StateHash()) << Name(model);
    }
  }
}

TEST(Families, StoppedAndResumedEqualsUndisturbed) {
  auto alone = SingleProcessCollective();
  for (const ModelConfig& model : EveryKind()) {
    const RunSpec spec = SpecOf(model);
    auto whole = MakeTrainer(spec, alone.get());
    Train(whole.get(), spec, 0, 12, 8);
    auto first = MakeTrainer(spec, alone.get());
    Train(first.get(), spec, 0, 7, 8);
    MemoryEnv env;
    const auto checkpoint = CommitState(first.get(), CheckpointsOfRun(&env, "/run").get());
    auto resumed = MakeTrainer(spec, alone.get());
    ASSERT_OK(resumed->Load(*checkpoint));
    Train(resumed.get(), spec, 7, 12, 8);
    EXPECT_EQ(*resumed->StateHash(), *whole->StateHash()) << Name(model);
  }
}

TEST(Families, OneBlockOverfitsARepeatedString) {
  auto alone = SingleProcessCollective();
  ModelConfig layer_norm = TinyModel(Family::kTritter);
  layer_norm.norm = NormKind::kLayerNorm;
  layer_norm.bias = true;
  for (ModelConfig model : {TinyModel(Family::kBitnet), layer_norm}) {
    model.layers = 1;
    model.hidden = 64;
    model.head_dim = 16;
    model.ffn = 128;
    RunSpec spec = SpecOf(model);
    spec.sequence_length = 64;
    spec.global_batch = 1;
    spec.weight_decay = 0;
    auto trainer = MakeTrainer(spec, alone.get());
    Batch batch;
    batch.sequences = 1;
    batch.weights.assign(64, 1.0f);
    for (int i = 0; i <= 64; ++i)
      batch.tokens.push_back(
          8 + "To be, or not to be, that is the question: whether 'tis nobler i"[i % 64]);
    double loss = 0;
    for (int step = 0; step < 300; ++step) loss = trainer->Step(batch, 64.0, 1, 5e-3)->loss;
    EXPECT_LT(loss, 0.1) << Name(model);
  }
}

// Evaluation in training = the exported file as docs/numerics.md reads it (which is what the engine
// equals: inference/forward_test).
TEST(Families, TheExportedModelSaysWhatTrainingEvaluatesBitForBit) {
  auto alone = SingleProcessCollective();
  ModelConfig untied = TinyModel(Family::kBitnet), tied = TinyModel(Family::kTritter);
  untied.tied_embeddings = false;
  tied.tied_embeddings = true;
  tied.granularity = ScaleGranularity::kTensor;
  tied.kv_heads = 1;
  ModelConfig window = TinyModel(Family::kTritter), sinks = TinyModel(Family::kBitnet);
  window.attention = AttentionMode::kSlidingWindow;
  window.window = 6;
  sinks.attention = AttentionMode::kSinks;
  sinks.window = 11;
  sinks.sinks = 3;
  for (const ModelConfig& model :
       {TinyModel(Family::kTritter), TinyModel(Family::kBitnet), untied, tied, window, sinks}) {
    const RunSpec spec = SpecOf(model);
    auto trainer = MakeTrainer(spec, alone.get());
    Train(trainer.get(), spec, 0, 20, 8);
    MemoryEnv env;
    const auto checkpoint =
        CommitState(trainer.get(), CheckpointsOfRun(&env, "/run").get(), CanonicalYaml(spec));
    const std::vector<int64_t> tokens = TinyTokens(77, 40);
    for (bool averaged : {true, false}) {
      ExportOptions options;
      options.raw = !averaged;
      ASSERT_OK(ExportCheckpoint(&env, *checkpoint, "/m.tpack", options).status());
      ASSERT_OK_AND_ASSIGN(const auto file, TpackFile::Open(&env, "/m.tpack"));
      ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, trainer->Logits(tokens, averaged));
      const auto served =
          ReferenceModel(file.get()).Logits(std::vector<int32_t>(tokens.begin(), tokens.end()));
      for (size_t t = 0; t < tokens.size(); ++t) {
        const auto row = logits.begin() + static_cast<int64_t>(t) * model.vocab;
        ASSERT_EQ(std::vector<float>(row, row + model.vocab), served[t]) << t << " " << Name(model);
      }
    }
  }
}

}  // namespace
}  // namespace tritter
