// The device trainer on the CPU, with the plain formulas, against the CPU's own trainer.
#include "worker/training/formula/device_trainer.h"

#include <cmath>
#include <thread>

#include "absl/strings/match.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"
#include "model/schedule.h"
#include "worker/testing/commit_state.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/training/formula/tensor_kernels.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

RunSpec SpecOf(Family family) {
  RunSpec spec = TinySpec();
  ApplyFamilyDefaults(family, &spec.model);
  spec.z_loss = 1e-3;
  return spec;
}

Batch BatchOf(const RunSpec& spec, int64_t step, int64_t first, int64_t count) {
  Batch batch;
  batch.sequences = count;
  for (int64_t i = first; i < first + count; ++i) {
    const std::vector<int64_t> tokens = TinyTokens(100 * step + i, spec.sequence_length + 1);
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
  static const TensorKernels kernels;
  Trainer::Options options;
  options.spec = spec;
  options.collective = collective;
  TrainingDevice device;
  device.kernels = &kernels;
  auto trainer = on_device ? CreateDeviceTrainer(options, device) : Trainer::Create(options);
  EXPECT_OK(trainer.status());
  EXPECT_OK((*trainer)->InitialiseFresh());
  return *std::move(trainer);
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

TEST_F(DeviceTrainerTest, RefusesBadInput) {
  const RunSpec spec = SpecOf(Family::kTritter);
  auto trainer = Make(spec, alone_.get(), true);
  Batch batch = BatchOf(spec, 0, 0, 8);
  batch.tokens[3] = spec.model.vocab;
  EXPECT_THAT(trainer->Step(batch, 1, 8, 1e-3).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside the vocabulary")));
  EXPECT_THAT(trainer->Logits({-1}, false).status(), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(DeviceTrainerTest, RefusesWhatOnlyTheCpuTrains) {
  static const TensorKernels kernels;
  Trainer::Options options;
  options.spec = SpecOf(Family::kTritter);
  options.spec.activation_checkpointing = 2;
  options.collective = alone_.get();
  TrainingDevice device;
  device.kernels = &kernels;
  EXPECT_THAT(CreateDeviceTrainer(options, device).status(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("training.activation_checkpointing 2 is trained on the CPU alone; "
                                 "use 0")));
}

TEST_F(DeviceTrainerTest, SaysWhatItRunsOn) {
  EXPECT_EQ(Make(SpecOf(Family::kTritter), alone_.get(), true)->description(),
            "cpu, cpu, fp32, LibTorch's formulas");
}

}  // namespace
}  // namespace tritter
