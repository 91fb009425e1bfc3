// The device trainer on a GPU: against the CPU trainer, in BF16, stopped and resumed.
#include "worker/training/trainer.h"

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "model/folder_checkpoint_store.h"
#include "model/schedule.h"
#include "model/tokenizer.h"
#include "tests/gpu/gpu_main.h"
#include "worker/host_staged_collective.h"
#include "worker/testing/commit_state.h"
#include "worker/testing/device_group.h"
#include "worker/testing/gloo_group.h"
#include "worker/testing/tiny_model.h"

namespace tritter {
namespace {

// Shapes that cuBLAS takes for int8, and the fused attention for BF16.
RunSpec SpecOf(Family family) {
  RunSpec spec = TinySpec();
  spec.model = *PresetConfig("nano");
  ApplyFamilyDefaults(family, &spec.model);
  spec.sequence_length = 64;
  spec.deterministic = true;
  return spec;
}

Batch BatchOf(const RunSpec& spec, int64_t step) {
  Batch batch;
  batch.sequences = spec.global_batch;
  batch.tokens = TinyTokens(step, batch.sequences * (spec.sequence_length + 1));
  for (size_t t = 20; t < batch.tokens.size(); t += 37) batch.tokens[t] = kEosId;
  batch.weights.assign(batch.sequences * spec.sequence_length, 1.0f);
  return batch;
}

class GpuTrainerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Collective> alone_ = SingleProcessCollective();

  std::unique_ptr<Trainer> Make(const RunSpec& spec, const TrainingDevice* device) {
    Trainer::Options options;
    options.spec = spec;
    options.collective = alone_.get();
    options.threads = 2;
    auto trainer =
        device != nullptr ? CreateDeviceTrainer(options, *device) : Trainer::Create(options);
    EXPECT_OK(trainer.status());
    EXPECT_OK((*trainer)->InitialiseFresh());
    return *std::move(trainer);
  }
  StepStats Train(Trainer* trainer, const RunSpec& spec, int64_t micro = 4) {
    const Batch batch = BatchOf(spec, trainer->step());
    auto stats = trainer->Step(batch, static_cast<double>(batch.weights.size()), micro,
                               LrAt(trainer->step(), spec.schedule));
    EXPECT_OK(stats.status());
    return stats.ok() ? *stats : StepStats();
  }
};

TEST_F(GpuTrainerTest, FirstStepIsThatOfTheCpuTrainer) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    const RunSpec spec = SpecOf(family);
    auto cpu = Make(spec, nullptr);
    const StepStats expected = Train(cpu.get(), spec);
    for (bool bf16 : {false, true}) {
      const TrainingDevice device = GpuUnderTest(bf16);
      auto gpu = Make(spec, &device);
      const StepStats actual = Train(gpu.get(), spec);
      EXPECT_NEAR(actual.loss, expected.loss, (bf16 ? 2e-3 : 1e-4) * expected.loss);
      EXPECT_NEAR(actual.grad_norm, expected.grad_norm, (bf16 ? 5e-2 : 1e-2) * expected.grad_norm);
    }
  }
}

// What a run can ask for besides the default; without activation codes, of which rounding may flip
// one.
std::vector<std::pair<std::string, RunSpec>> Variants() {
  std::vector<std::pair<std::string, RunSpec>> variants;
  const auto add = [&](const char* name, const std::function<void(RunSpec*)>& change) {
    RunSpec spec = SpecOf(Family::kTritter);
    spec.model.activations = ActivationRule::kNone;
    change(&spec);
    variants.emplace_back(name, spec);
  };
  const auto attention = [&](const char* name, AttentionMode mode, int64_t window, int64_t sinks,
                             int64_t prefix) {
    add(name, [=](RunSpec* s) {
      s->model.attention = mode;
      s->model.window = window;
      s->model.sinks = sinks;
      s->model.prefix = prefix;
      s->activation_checkpointing = 1;
    });
  };
  add("muon", [](RunSpec* s) { s->optimizer = "muon"; });
  add("8 bits", [](RunSpec* s) { s->moments = "8bit"; });
  add("sync outer", [](RunSpec* s) {
    s->sync = "outer";
    s->outer_steps = 2;
    s->outer_rate = 0.7;
    s->outer_momentum = 0.9;
    s->outer_compression = "int8";
  });
  attention("window", AttentionMode::kSlidingWindow, 20, 0, 0);
  attention("sinks", AttentionMode::kSinks, 20, 4, 0);
  attention("prefix_lm", AttentionMode::kPrefixLm, 0, 0, 30);
  attention("documents", AttentionMode::kDocument, 0, 0, 0);
  return variants;
}

TEST_F(GpuTrainerTest, EveryVariantTrainsAsOnTheCpu) {
  for (const auto& [name, spec] : Variants()) {
    for (bool bf16 : {false, true}) {
      const TrainingDevice device = GpuUnderTest(bf16);
      auto cpu = Make(spec, nullptr), gpu = Make(spec, &device);
      for (int step = 0; step < 4; ++step) {
        const StepStats a = Train(cpu.get(), spec), b = Train(gpu.get(), spec);
        EXPECT_NEAR(b.loss, a.loss, (bf16 ? 5e-3 : 2e-4) * a.loss) << name << ", step " << step;
        EXPECT_NEAR(b.grad_norm, a.grad_norm, (bf16 ? 5e-2 : 5e-3) * a.grad_norm)
            << name << ", step " << step;
      }
    }
  }
}

// One group over Gloo, the GPU's buffers staged; a quarter of the batch and the rest.
TEST_F(GpuTrainerTest, ACpuAndTheGpuHaveTheSameWeightsAfterEveryStep) {
  for (bool bf16 : {false, true}) {
    RunSpec spec = SpecOf(Family::kTritter);
    spec.shard_optimizer = true;
    const TrainingDevice device = GpuUnderTest(bf16);
    auto group = MakeGlooGroup(2);
    group[1] = HostStagedCollective(std::move(group[1]), device.ordinal);
    std::vector<StepStats> stats[2];
    std::vector<std::map<std::string, std::string>> weights[2];
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        Trainer::Options options;
        options.spec = spec;
        options.collective = group[rank].get();
        options.mixed_devices = true;
        auto created = rank == 0 ? Trainer::Create(options) : CreateDeviceTrainer(options, device);
        ASSERT_OK(created.status());
        const std::unique_ptr<Trainer> trainer = *std::move(created);
        ASSERT_OK(trainer->InitialiseFresh());
        const int64_t first = rank == 0 ? 0 : 2, count = rank == 0 ? 2 : 6;
        for (int64_t step = 0; step < 5; ++step) {
          const Batch whole = BatchOf(spec, step);
          const auto part = [&](const auto& of, int64_t each) {
            return std::decay_t<decltype(of)>(of.begin() + first * each,
                                              of.begin() + (first + count) * each);
          };
          Batch batch;
          batch.sequences = count;
          batch.tokens = part(whole.tokens, spec.sequence_length + 1);
          batch.weights = part(whole.weights, spec.sequence_length);
          auto done = trainer->Step(batch, static_cast<double>(whole.weights.size()), 4,
                                    LrAt(step, spec.schedule));
          ASSERT_OK(done.status());
          stats[rank].push_back(*done);
          weights[rank].push_back(TakeTensors(trainer.get(), "weight/"));
          trainer->Rebind(group[rank].get());
        }
        group[rank].reset();
      });
    }
    for (std::thread& rank : ranks) rank.join();
    spec.shard_optimizer = false;
    auto cpu = Make(spec, nullptr);
    ASSERT_EQ(stats[0].size(), 5u);
    ASSERT_EQ(stats[1].size(), 5u);
    for (size_t step = 0; step < 5; ++step) {
      EXPECT_TRUE(weights[1][step] == weights[0][step]) << step;
      EXPECT_EQ(stats[1][step].loss, stats[0][step].loss);
      EXPECT_EQ(stats[1][step].grad_norm, stats[0][step].grad_norm);
      const double want = Train(cpu.get(), spec).loss;
      EXPECT_NEAR(stats[0][step].loss, want, 1e-2 * want) << step;
    }
  }
}

TEST_F(GpuTrainerTest, LearnsAsTheCpuTrainerDoes) {
  const RunSpec spec = SpecOf(Family::kTritter);
  const TrainingDevice device = GpuUnderTest(true);
  auto cpu = Make(spec, nullptr), gpu = Make(spec, &device);
  double a = 0, b = 0;
  for (int step = 0; step < 100; ++step) {
    const double on_cpu = Train(cpu.get(), spec).loss, on_gpu = Train(gpu.get(), spec).loss;
    if (step >= 80) a += on_cpu / 20, b += on_gpu / 20;
  }
  EXPECT_LT(a, 3.0);
  EXPECT_NEAR(b, a, 0.03 * a);
}

TEST_F(GpuTrainerTest, AResumedRunEndsInTheSameBits) {
  for (bool bf16 : {false, true}) {
    const RunSpec spec = SpecOf(Family::kTritter);
    const TrainingDevice device = GpuUnderTest(bf16);
    auto straight = Make(spec, &device);
    for (int step = 0; step < 5; ++step) Train(straight.get(), spec);
    MemoryEnv env;
    const auto checkpoint = CommitState(straight.get(), CheckpointsOfRun(&env, "/run").get());
    auto resumed = Make(spec, &device);
    ASSERT_OK(resumed->Load(*checkpoint));
    for (int step = 0; step < 5; ++step) {
      Train(straight.get(), spec);
      Train(resumed.get(), spec);
    }
    EXPECT_EQ(*resumed->StateHash(), *straight->StateHash());
  }
}

TEST_F(GpuTrainerTest, EvaluationIsCloseToServing) {
  const RunSpec spec = SpecOf(Family::kTritter);
  const TrainingDevice device = GpuUnderTest(true);
  auto cpu = Make(spec, nullptr), gpu = Make(spec, &device);
  for (int step = 0; step < 10; ++step) Train(gpu.get(), spec);
  MemoryEnv env;
  const auto checkpoint = CommitState(gpu.get(), CheckpointsOfRun(&env, "/run").get());
  ASSERT_OK(cpu->Load(*checkpoint));
  const auto windows = [] {
    return [k = 0](std::vector<int64_t>* window) mutable {
      *window = TinyTokens(70 + k, 65);
      return k++ < 8;
    };
  };
  ASSERT_OK_AND_ASSIGN(const EvaluationResult a, cpu->Evaluate(windows(), true));
  ASSERT_OK_AND_ASSIGN(const EvaluationResult b, gpu->Evaluate(windows(), true));
  EXPECT_EQ(b.tokens, a.tokens);
  EXPECT_NEAR(b.nats, a.nats, 5e-3 * a.nats);
}

}  // namespace
}  // namespace tritter
