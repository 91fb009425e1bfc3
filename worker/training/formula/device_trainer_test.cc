// The device trainer on the CPU, with the plain formulas, against the CPU's own trainer.
#include "worker/training/formula/device_trainer.h"

#include <cmath>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"
#include "model/schedule.h"
#include "model/tokenizer.h"
#include "worker/testing/commit_state.h"
#include "worker/testing/device_group.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/training/formula/tensor_kernels.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

RunSpec SpecOf(Family family) {
  RunSpec spec = TinySpec();
  ApplyFamilyDefaults(family, &spec.model);
  spec.z_loss = 1e-3;
  return spec;
}

// What a run can ask for besides the default, each trained here as on the CPU.
struct Variant {
  std::string name;
  RunSpec spec;
};
std::vector<Variant> Variants() {
  std::vector<Variant> variants;
  const auto add = [&](const char* name, const std::function<void(RunSpec*)>& change) {
    RunSpec spec = SpecOf(Family::kTritter);
    spec.model.activations = ActivationRule::kNone;  // a flipped code would be the difference
    change(&spec);
    variants.push_back({name, spec});
  };
  add("muon", [](RunSpec* s) { s->optimizer = "muon"; });
  add("8 bits", [](RunSpec* s) { s->moments = "8bit"; });
  add("muon, 8 bits", [](RunSpec* s) { s->optimizer = "muon", s->moments = "8bit"; });
  add("checkpointing", [](RunSpec* s) { s->activation_checkpointing = 1; });
  add("prefix_lm", [](RunSpec* s) {
    s->model.attention = AttentionMode::kPrefixLm;
    s->model.prefix = 6;
  });
  add("documents", [](RunSpec* s) { s->model.attention = AttentionMode::kDocument; });
  add("documents, checkpointing", [](RunSpec* s) {
    s->model.attention = AttentionMode::kDocument;
    s->activation_checkpointing = 2;
  });
  add("sinks", [](RunSpec* s) {
    s->model.attention = AttentionMode::kSinks;
    s->model.window = 5;
    s->model.sinks = 2;
  });
  return variants;
}

Batch BatchOf(const RunSpec& spec, int64_t step, int64_t first, int64_t count) {
  Batch batch;
  batch.sequences = count;
  for (int64_t i = first; i < first + count; ++i) {
    std::vector<int64_t> tokens = TinyTokens(100 * step + i, spec.sequence_length + 1);
    tokens[3 + i % 5] = kEosId;
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    for (int64_t t = 0; t < spec.sequence_length; ++t)
      batch.weights.push_back(1.0f + 0.25f * static_cast<float>((i + t / 5) % 3));
  }
  return batch;
}
double WeightSum(const RunSpec& spec) {
  double sum = 0;
  for (float w : BatchOf(spec, 0, 0, spec.global_batch).weights) sum += w;
  return sum;
}

std::unique_ptr<Trainer> Make(const RunSpec& spec, Collective* collective, bool on_device) {
  return MakeTrainerOf(on_device ? TrainerKind::kDevice : TrainerKind::kCpu, spec, collective);
}

StepStats TrainStep(Trainer* trainer, const RunSpec& spec, int64_t micro) {
  const int64_t step = trainer->step();
  auto stats = trainer->Step(BatchOf(spec, step, 0, spec.global_batch), WeightSum(spec), micro,
                             LrAt(step, spec.schedule));
  EXPECT_OK(stats.status());
  return stats.ok() ? *stats : StepStats();
}

// A tensor of the state that `trainer` writes.
std::vector<float> StateOf(Trainer* trainer, const std::string& name) {
  MemoryEnv env;
  const auto checkpoint = CommitState(trainer, CheckpointsOfRun(&env, "/run").get());
  auto share = checkpoint->Open(checkpoint->manifest().files[0].name);
  EXPECT_OK(share.status());
  auto file = SafetensorsFile::Open(*std::move(share), "share");
  EXPECT_OK(file.status());
  auto tensor = (*file)->Get(name);
  EXPECT_OK(tensor.status());
  const float* values = reinterpret_cast<const float*>(tensor->bytes.data());
  return {values, values + tensor->bytes.size() / sizeof(float)};
}

double RelativeDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

class DeviceTrainerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Collective> alone_ = SingleProcessCollective();
};

// The first moment after the first step is the gradient. A last bit may flip an activation code
// here and there, which moves the gradients of early layers most.
TEST_F(DeviceTrainerTest, LossAndGradientsAreThoseOfTheCpuTrainer) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    const RunSpec spec = SpecOf(family);
    auto cpu = Make(spec, alone_.get(), false), device = Make(spec, alone_.get(), true);
    EXPECT_EQ(*device->StateHash(), *cpu->StateHash());
    const StepStats a = TrainStep(cpu.get(), spec, 8), b = TrainStep(device.get(), spec, 8);
    EXPECT_NEAR(b.loss, a.loss, 1e-4 * a.loss);
    EXPECT_NEAR(b.grad_norm, a.grad_norm, 1e-2 * a.grad_norm);
    for (const ParameterSpec& parameter : ParameterTable(spec.model)) {
      const std::string name = "adam_m/" + parameter.name;
      EXPECT_LT(RelativeDifference(StateOf(device.get(), name), StateOf(cpu.get(), name)), 3e-2)
          << name;
    }
  }
}

TEST_F(DeviceTrainerTest, WithoutActivationCodesEveryGradientIsThatOfTheCpuTrainer) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    RunSpec spec = SpecOf(family);
    spec.model.activations = ActivationRule::kNone;
    auto cpu = Make(spec, alone_.get(), false), device = Make(spec, alone_.get(), true);
    const StepStats a = TrainStep(cpu.get(), spec, 8), b = TrainStep(device.get(), spec, 8);
    EXPECT_NEAR(b.loss, a.loss, 1e-5 * a.loss);
    EXPECT_NEAR(b.grad_norm, a.grad_norm, 1e-4 * a.grad_norm);
    for (const ParameterSpec& parameter : ParameterTable(spec.model)) {
      const std::string name = "adam_m/" + parameter.name;
      EXPECT_LT(RelativeDifference(StateOf(device.get(), name), StateOf(cpu.get(), name)), 1e-4)
          << name;
    }
  }
}

TEST_F(DeviceTrainerTest, EveryVariantTrainsAsOnTheCpu) {
  for (const auto& [name, spec] : Variants()) {
    auto cpu = Make(spec, alone_.get(), false), device = Make(spec, alone_.get(), true);
    EXPECT_EQ(*device->StateHash(), *cpu->StateHash()) << name;
    for (int step = 0; step < 4; ++step) {
      const StepStats a = TrainStep(cpu.get(), spec, 3), b = TrainStep(device.get(), spec, 3);
      EXPECT_NEAR(b.loss, a.loss, 1e-4 * a.loss) << name << ", step " << step;
      EXPECT_NEAR(b.grad_norm, a.grad_norm, 2e-3 * a.grad_norm) << name << ", step " << step;
    }
    for (const ParameterSpec& parameter : ParameterTable(spec.model)) {
      for (const char* kind : {"weight/", "ema/"}) {
        const std::string tensor = kind + parameter.name;
        EXPECT_LT(RelativeDifference(StateOf(device.get(), tensor), StateOf(cpu.get(), tensor)),
                  1e-3)
            << name << ": " << tensor;
      }
    }
    const auto window = [] {
      return [done = false](std::vector<int64_t>* tokens) mutable {
        *tokens = TinyTokens(70, 17);
        (*tokens)[8] = kEosId;
        return !std::exchange(done, true);
      };
    };
    ASSERT_OK_AND_ASSIGN(const EvaluationResult a, cpu->Evaluate(window(), true));
    ASSERT_OK_AND_ASSIGN(const EvaluationResult b, device->Evaluate(window(), true));
    EXPECT_EQ(b.tokens, a.tokens) << name;
    EXPECT_EQ(b.not_predicted, a.not_predicted) << name;
    EXPECT_NEAR(b.nats, a.nats, 1e-3 * a.nats) << name;
  }
}

TEST_F(DeviceTrainerTest, EveryVariantResumesInTheSameBits) {
  for (const auto& [name, spec] : Variants()) {
    auto straight = Make(spec, alone_.get(), true);
    TrainStep(straight.get(), spec, 4);
    MemoryEnv env;
    const auto checkpoint = CommitState(straight.get(), CheckpointsOfRun(&env, "/run").get());
    TrainStep(straight.get(), spec, 4);
    auto resumed = Make(spec, alone_.get(), true);
    ASSERT_OK(resumed->Load(*checkpoint));
    TrainStep(resumed.get(), spec, 4);
    EXPECT_EQ(*resumed->StateHash(), *straight->StateHash()) << name;
  }
}

TEST_F(DeviceTrainerTest, CheckpointingDoesNotChangeTheBits) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    RunSpec spec = SpecOf(family);
    auto kept = Make(spec, alone_.get(), true);
    spec.activation_checkpointing = 1;
    auto again = Make(spec, alone_.get(), true);
    for (int step = 0; step < 2; ++step) {
      const StepStats a = TrainStep(kept.get(), spec, 3), b = TrainStep(again.get(), spec, 3);
      EXPECT_EQ(b.loss, a.loss);
    }
    EXPECT_EQ(*again->StateHash(), *kept->StateHash());
  }
}

TEST_F(DeviceTrainerTest, ARunWithoutATokenToPredictIsRefused) {
  RunSpec spec = SpecOf(Family::kTritter);
  spec.model.attention = AttentionMode::kDocument;
  auto trainer = Make(spec, alone_.get(), true);
  Batch batch = BatchOf(spec, 0, 0, 8);
  std::fill(batch.tokens.begin(), batch.tokens.end(), kEosId);
  EXPECT_THAT(trainer->Step(batch, WeightSum(spec), 8, 1e-3).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no token to predict")));
}

TEST_F(DeviceTrainerTest, TrainsAsTheCpuTrainerDoes) {
  const RunSpec spec = SpecOf(Family::kTritter);
  auto cpu = Make(spec, alone_.get(), false), device = Make(spec, alone_.get(), true);
  double a = 0, b = 0;
  for (int step = 0; step < 60; ++step) {
    const double on_cpu = TrainStep(cpu.get(), spec, 8).loss,
                 on_device = TrainStep(device.get(), spec, 8).loss;
    if (step >= 50) a += on_cpu / 10, b += on_device / 10;
  }
  EXPECT_LT(a, 4.0);
  EXPECT_NEAR(b, a, 0.03 * a);
}

TEST_F(DeviceTrainerTest, AStepDoesNotDependOnTheSplit) {
  const RunSpec spec = SpecOf(Family::kBitnet);
  auto whole = Make(spec, alone_.get(), true), parts = Make(spec, alone_.get(), true);
  const StepStats a = TrainStep(whole.get(), spec, 8), b = TrainStep(parts.get(), spec, 3);
  EXPECT_NEAR(b.loss, a.loss, 1e-6 * a.loss);
  EXPECT_NEAR(b.grad_norm, a.grad_norm, 1e-5 * a.grad_norm);
}

TEST_F(DeviceTrainerTest, TwoRanksEqualOneThatAccumulatesBitForBit) {
  const RunSpec spec = SpecOf(Family::kTritter);
  auto alone = Make(spec, alone_.get(), true);
  TrainStep(alone.get(), spec, 4);
  TrainStep(alone.get(), spec, 4);
  auto group = MakeFakeGroup(2);
  std::vector<std::string> hashes(2);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      auto trainer = Make(spec, group[rank].get(), true);
      for (int64_t step = 0; step < 2; ++step) {
        EXPECT_OK(trainer
                      ->Step(BatchOf(spec, step, 4 * rank, 4), WeightSum(spec), 4,
                             LrAt(step, spec.schedule))
                      .status());
      }
      hashes[rank] = *trainer->StateHash();
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(hashes[0], *alone->StateHash());
  EXPECT_EQ(hashes[1], *alone->StateHash());
}

// Each rank keeps moments and averages of its part alone.
TEST_F(DeviceTrainerTest, AShardedOptimiserGivesTheBitsOfAWholeOne) {
  for (auto [name, spec] : Variants()) {
    auto alone = Make(spec, alone_.get(), true);
    TrainStep(alone.get(), spec, 4);
    TrainStep(alone.get(), spec, 4);
    const auto window = [] {
      return [done = false](std::vector<int64_t>* tokens) mutable {
        *tokens = TinyTokens(70, 17);
        return !std::exchange(done, true);
      };
    };
    const double held_out = alone->Evaluate(window(), true)->nats;
    const std::vector<float> logits = *alone->Logits(TinyTokens(9, 12), true);
    spec.shard_optimizer = true;
    auto group = MakeFakeGroup(2);
    std::vector<std::string> hashes(2);
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        auto trainer = Make(spec, group[rank].get(), true);
        for (int64_t step = 0; step < 2; ++step) {
          EXPECT_OK(trainer
                        ->Step(BatchOf(spec, step, 4 * rank, 4), WeightSum(spec), 4,
                               LrAt(step, spec.schedule))
                        .status());
        }
        EXPECT_EQ(*trainer->Logits(TinyTokens(9, 12), true), logits);
        EXPECT_EQ(trainer->Evaluate(window(), true)->nats, 2 * held_out);
        EXPECT_FALSE(trainer->whole()) << "no rank has all of it";
        hashes[rank] = *trainer->StateHash();
      });
    }
    for (std::thread& rank : ranks) rank.join();
    EXPECT_EQ(hashes[0], *alone->StateHash()) << name;
    EXPECT_EQ(hashes[1], *alone->StateHash()) << name;
  }
}

TEST_F(DeviceTrainerTest, AResumedRunEndsInTheSameBits) {
  const RunSpec spec = SpecOf(Family::kTritter);
  auto straight = Make(spec, alone_.get(), true);
  for (int step = 0; step < 3; ++step) TrainStep(straight.get(), spec, 4);
  MemoryEnv env;
  const auto checkpoint = CommitState(straight.get(), CheckpointsOfRun(&env, "/run").get());
  TrainStep(straight.get(), spec, 4);
  auto resumed = Make(spec, alone_.get(), true);
  ASSERT_OK(resumed->Load(*checkpoint));
  EXPECT_EQ(resumed->step(), 3);
  TrainStep(resumed.get(), spec, 4);
  EXPECT_EQ(*resumed->StateHash(), *straight->StateHash());
}

// A member that is new gets the state of one that trained in an earlier group, and both go on.
TEST_F(DeviceTrainerTest, AStateOutlivesItsGroupAndIsShared) {
  for (const auto& [name, spec] : Variants()) {
    auto alone = Make(spec, alone_.get(), true), survivor = Make(spec, alone_.get(), true);
    for (Trainer* trainer : {alone.get(), survivor.get()}) TrainStep(trainer, spec, 4);
    TrainStep(alone.get(), spec, 4);
    EXPECT_TRUE(survivor->whole());
    survivor->Rebind(nullptr);
    EXPECT_EQ(survivor->step(), 1);
    auto group = MakeFakeGroup(2);
    std::vector<std::string> hashes(2);
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        auto fresh = rank == 0 ? Make(spec, group[0].get(), true) : nullptr;
        Trainer* trainer = rank == 0 ? fresh.get() : survivor.get();
        trainer->Rebind(group[rank].get());
        trainer->set_yield_wish([rank] { return rank == 1; });
        EXPECT_OK(trainer->ShareState(1, /*take=*/rank == 0));
        EXPECT_EQ(trainer->step(), 1);
        const auto stats = trainer->Step(BatchOf(spec, 1, 4 * rank, 4), WeightSum(spec), 4,
                                         LrAt(1, spec.schedule));
        EXPECT_OK(stats.status());
        EXPECT_TRUE(stats->yield) << "one that wishes is enough";
        EXPECT_TRUE(trainer->whole());
        hashes[rank] = *trainer->StateHash();
      });
    }
    for (std::thread& rank : ranks) rank.join();
    EXPECT_EQ(hashes[0], *alone->StateHash()) << name;
    EXPECT_EQ(hashes[1], *alone->StateHash()) << name;
  }
}

TEST_F(DeviceTrainerTest, SharesAreThoseOfTheCpuTrainer) {
  const RunSpec spec = SpecOf(Family::kBitnet);
  auto device = Make(spec, alone_.get(), true), cpu = Make(spec, alone_.get(), false);
  TrainStep(device.get(), spec, 8);
  MemoryEnv env;
  ASSERT_OK(cpu->Load(*CommitState(device.get(), CheckpointsOfRun(&env, "/run").get())));
  EXPECT_EQ(*cpu->StateHash(), *device->StateHash());
}

TEST_F(DeviceTrainerTest, EvaluationIsCloseToServing) {
  const RunSpec spec = SpecOf(Family::kTritter);
  auto device = Make(spec, alone_.get(), true), cpu = Make(spec, alone_.get(), false);
  for (int step = 0; step < 5; ++step) TrainStep(device.get(), spec, 8);
  MemoryEnv env;
  ASSERT_OK(cpu->Load(*CommitState(device.get(), CheckpointsOfRun(&env, "/run").get())));
  const auto windows = [] {
    return [k = 0](std::vector<int64_t>* window) mutable {
      *window = TinyTokens(70 + k, 17);
      if (k == 3) std::fill(window->begin() + 9, window->end(), -1);
      return k++ < 5;
    };
  };
  for (bool averaged : {false, true}) {
    ASSERT_OK_AND_ASSIGN(const EvaluationResult a, cpu->Evaluate(windows(), averaged));
    ASSERT_OK_AND_ASSIGN(const EvaluationResult b, device->Evaluate(windows(), averaged));
    EXPECT_EQ(b.tokens, a.tokens);
    EXPECT_NEAR(b.nats, a.nats, 1e-3 * a.nats);
    ASSERT_OK_AND_ASSIGN(const auto logits, device->Logits(TinyTokens(9, 12), averaged));
    ASSERT_OK_AND_ASSIGN(const auto served, cpu->Logits(TinyTokens(9, 12), averaged));
    EXPECT_LT(RelativeDifference(logits, served), 3e-2);
  }
}

TEST_F(DeviceTrainerTest, NamesTheFirstBadTensor) {
  const RunSpec spec = SpecOf(Family::kTritter);
  auto trainer = Make(spec, alone_.get(), true);
  const Batch batch = BatchOf(spec, 0, 0, 8);
  ASSERT_OK(trainer->Step(batch, WeightSum(spec), 8, std::nan("")).status());
  EXPECT_THAT(trainer->Step(batch, WeightSum(spec), 8, 1e-3).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("weight embed.weight")));
}

// After a step of that length weights are finite, what a layer makes of them is not: the loss is
// looked at before the backward pass, and the layers in the order in which they were computed, as
// on the CPU.
TEST_F(DeviceTrainerTest, NamesTheFirstLayerWhoseOutputIsBad) {
  RunSpec spec = SpecOf(Family::kTritter);
  spec.model.weight_rule = WeightRule::kNone;
  auto trainer = Make(spec, alone_.get(), true);
  const Batch batch = BatchOf(spec, 0, 0, 8);
  ASSERT_OK(trainer->Step(batch, WeightSum(spec), 8, 1e30).status());
  const absl::Status status = trainer->Step(batch, WeightSum(spec), 8, 1e-3).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                               AllOf(HasSubstr("the loss of step 1 is"),
                                     HasSubstr("first bad tensor: output of layers.0 "))));
  EXPECT_TRUE(status.GetPayload(kFirstBadTensor).has_value());
}

TEST_F(DeviceTrainerTest, RefusesBadInput) {
  const RunSpec spec = SpecOf(Family::kTritter);
  auto trainer = Make(spec, alone_.get(), true);
  Batch batch = BatchOf(spec, 0, 0, 8);
  batch.tokens[3] = spec.model.vocab;
  EXPECT_THAT(trainer->Step(batch, 1, 8, 1e-3).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside the vocabulary")));
  EXPECT_THAT(trainer->Logits({-1}, false).status(), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(DeviceTrainerTest, RefusesWhatGpusDoNotTrain) {
  static const TensorKernels kernels;
  Trainer::Options options;
  options.spec = SpecOf(Family::kTritter);
  options.spec.model.head_dim = 258;
  options.spec.model.head_dim_given = true;
  options.collective = alone_.get();
  TrainingDevice device;
  device.kernels = &kernels;
  EXPECT_THAT(CreateDeviceTrainer(options, device).status(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("model.head_dim is 258, at most 256 on a GPU")));
}

TEST_F(DeviceTrainerTest, SaysWhatItRunsOn) {
  RunSpec automatic = SpecOf(Family::kTritter);
  automatic.precision = "auto";
  EXPECT_EQ(Make(automatic, alone_.get(), true)->description(),
            "cpu, cpu, fp32 (auto), LibTorch's formulas");
  RunSpec given = SpecOf(Family::kTritter);
  given.precision = "fp32";
  EXPECT_EQ(Make(given, alone_.get(), true)->description(), "cpu, cpu, fp32, LibTorch's formulas");
}

}  // namespace
}  // namespace tritter
