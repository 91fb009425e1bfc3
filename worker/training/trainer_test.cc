// The trainer through its public interface: splits, ranks, resume, evaluation, bad input.
#include "worker/training/trainer.h"

#include <c10/util/Exception.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <new>
#include <numeric>
#include <thread>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/gemm.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"
#include "worker/testing/commit_state.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/testing/tiny_training.h"
#include "worker/training/float_buffer.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

TEST(Trainer, FreshLossIsTheLogarithmOfTheVocabulary) {
  auto alone = SingleProcessCollective();
  for (const char* preset : {"tiny", "nano"}) {
    RunSpec spec = TinySpec();
    if (std::string(preset) == "nano") spec.model = *PresetConfig("nano");
    auto trainer = MakeTrainer(spec, alone.get());
    const double loss = Train(trainer.get(), spec, 0, 1, 8)[0];
    EXPECT_NEAR(loss, std::log(static_cast<double>(spec.model.vocab)),
                0.01 * std::log(static_cast<double>(spec.model.vocab)));
  }
}

// What must hold bit for bit holds for every arithmetic.
class Precisions : public ::testing::TestWithParam<const char*> {
 protected:
  RunSpec Spec() const {
    RunSpec spec = TinySpec();
    spec.precision = GetParam();
    return spec;
  }
};
INSTANTIATE_TEST_SUITE_P(Trainer, Precisions, ::testing::Values("fp32", "bf16"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Precisions, TwoRanksEqualOneThatAccumulatesBitForBitOverAHundredSteps) {
  const RunSpec spec = Spec();
  auto alone = SingleProcessCollective();
  auto single = MakeTrainer(spec, alone.get());
  const std::vector<double> want = Train(single.get(), spec, 0, 100, 4);

  auto group = MakeFakeGroup(2);
  std::vector<double> losses[2];
  std::string hashes[2];
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      auto trainer = MakeTrainer(spec, group[rank].get());
      for (int64_t step = 0; step < 100; ++step) {
        auto stats = trainer->Step(BatchOf(spec, step, rank * 4, 4), WeightSum(spec), 4,
                                   LrAt(step, spec.schedule));
        ASSERT_OK(stats.status());
        losses[rank].push_back(stats->loss);
      }
      hashes[rank] = *trainer->StateHash();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(losses[0], want);
  EXPECT_EQ(losses[1], want);
  EXPECT_EQ(hashes[0], *single->StateHash());
  EXPECT_EQ(hashes[1], *single->StateHash());
}

// The gradient of a fresh trainer's only step, every parameter of the rank's share by name: with
// zero moments before it, m = (1 - beta1) g.
std::map<std::string, std::vector<float>> FirstMoments(Trainer* trainer) {
  MemoryEnv env;
  const auto checkpoint = CommitState(trainer, CheckpointsOfRun(&env, "/run").get());
  auto share = checkpoint->Open(checkpoint->manifest().files.at(0).name);
  EXPECT_OK(share.status());
  auto file = SafetensorsFile::Open(*std::move(share), "share");
  EXPECT_OK(file.status());
  std::map<std::string, std::vector<float>> moments;
  for (const std::string& name : (*file)->names()) {
    if (!absl::StartsWith(name, "adam_m/")) continue;
    const TensorView tensor = *(*file)->Get(name);
    std::vector<float>& values = moments[name];
    values.resize(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  }
  return moments;
}

// |a - b| / |b| of every parameter must stay below 1e-6.
void ExpectSameGradient(const std::map<std::string, std::vector<float>>& a,
                        const std::map<std::string, std::vector<float>>& b,
                        const std::string& split) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, want] : b) {
    const std::vector<float>& got = a.at(name);
    double difference = 0, size = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      difference += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
      size += double{want[i]} * want[i];
    }
    EXPECT_GT(size, 0) << name;
    EXPECT_LE(std::sqrt(difference / size), 1e-6) << name << ", " << split;
  }
}

TEST(Trainer, ATokenCountsAsMuchAsItsDocumentWeighs) {
  // Weighing two sequences 3 to 1 gives the loss of a batch that holds the first three times.
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  const Batch two = BatchOf(spec, 0, 0, 2);
  const auto loss = [&](std::vector<int> rows, std::vector<float> weights) {
    Batch batch;
    batch.sequences = static_cast<int64_t>(rows.size());
    double sum = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = two.tokens.begin() + rows[i] * (spec.sequence_length + 1);
      batch.tokens.insert(batch.tokens.end(), row, row + spec.sequence_length + 1);
      batch.weights.insert(batch.weights.end(), spec.sequence_length, weights[i]);
      sum += weights[i] * static_cast<double>(spec.sequence_length);
    }
    return MakeTrainer(spec, alone.get())->Step(batch, sum, 4, 1e-3)->loss;
  };
  const double first = loss({0}, {1}), second = loss({1}, {1}), mixed = loss({0, 1}, {3, 1});
  EXPECT_GT(std::abs(first - second), 1e-4);
  EXPECT_NEAR(mixed, (3 * first + second) / 4, 1e-6 * mixed);
  EXPECT_NEAR(mixed, loss({0, 0, 1, 0}, {1, 1, 1, 1}), 1e-6 * mixed);
}

TEST(Trainer, AnySplitGivesTheSameLossAndGradient) {
  RunSpec spec = TinySpec();
  spec.global_batch = 16;
  spec.clip_norm = 0;  // the moments then hold the gradient itself
  auto alone = SingleProcessCollective();
  auto whole = MakeTrainer(spec, alone.get());
  ASSERT_OK_AND_ASSIGN(const StepStats want,
                       whole->Step(BatchOf(spec, 0, 0, 16, /*mixed=*/true),
                                   WeightSum(spec, /*mixed=*/true), 16, 1e-3));
  const auto gradient = FirstMoments(whole.get());
  const std::vector<int64_t> splits[] = {{16},    {8, 8},       {11, 5},
                                         {1, 15}, {4, 4, 4, 4}, {7, 1, 5, 3}};
  for (const std::vector<int64_t>& sequences : splits) {
    const int ranks = static_cast<int>(sequences.size());
    for (int64_t micro : {8, 4, 3, 2, 1}) {
      if (micro > 16 / ranks) continue;
      const std::string split =
          absl::StrCat(absl::StrJoin(sequences, "+"), ", micro-batches of ", micro);
      auto group = MakeFakeGroup(ranks);
      std::vector<std::thread> threads;
      std::vector<std::map<std::string, std::vector<float>>> shares(ranks);
      for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&, rank] {
          auto trainer = MakeTrainer(spec, group[rank].get());
          const int64_t first =
              std::accumulate(sequences.begin(), sequences.begin() + rank, int64_t{0});
          auto stats = trainer->Step(BatchOf(spec, 0, first, sequences[rank], /*mixed=*/true),
                                     WeightSum(spec, /*mixed=*/true), micro, 1e-3);
          ASSERT_OK(stats.status());
          EXPECT_NEAR(stats->loss, want.loss, 1e-6 * want.loss) << split;
          EXPECT_NEAR(stats->grad_norm, want.grad_norm, 1e-6 * want.grad_norm) << split;
          shares[rank] = FirstMoments(trainer.get());
        });
      }
      for (std::thread& thread : threads) thread.join();
      for (int rank = 1; rank < ranks; ++rank) shares[0].merge(shares[rank]);
      ExpectSameGradient(shares[0], gradient, split);
    }
  }
}

TEST(Trainer, SeveralThreadsGiveTheSameLossAndTheSameBitsEveryTime) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto one = MakeTrainer(spec, alone.get());
  const double want = Train(one.get(), spec, 0, 1, 8)[0];
  std::string hash;
  for (int repeat = 0; repeat < 2; ++repeat) {
    Trainer::Options options;
    options.spec = spec;
    options.collective = alone.get();
    options.threads = 3;
    ASSERT_OK_AND_ASSIGN(auto trainer, Trainer::Create(options));
    ASSERT_OK(trainer->InitialiseFresh());
    const std::vector<double> losses = Train(trainer.get(), spec, 0, 10, 8);
    EXPECT_NEAR(losses[0], want, 1e-6 * want);
    if (repeat == 0) hash = *trainer->StateHash();
    EXPECT_EQ(*trainer->StateHash(), hash);
  }
}

// The state of `trainer`, which is alone, put into `store` by `world` ranks; what would commit it.
CheckpointManifest PutWithRanks(Trainer* trainer, const RunSpec& spec, int world,
                                CheckpointStore* store) {
  const auto alone = CommitState(trainer, store);
  CheckpointManifest manifest = alone->manifest();
  manifest.attempt = "together";
  manifest.files.clear();
  const CheckpointAttempt attempt{manifest.step, manifest.attempt};
  EXPECT_OK(store->Begin(attempt));
  const auto group = MakeFakeGroup(world);
  for (const auto& member : group) {
    auto rank = MakeTrainer(spec, member.get());
    EXPECT_OK(rank->Load(*alone));
    const auto files = (*rank->Snapshot())->WriteShare(store, attempt);
    EXPECT_OK(files.status());
    manifest.files.insert(manifest.files.end(), files->begin(), files->end());
  }
  return manifest;
}

TEST_P(Precisions, StoppedAndResumedEqualsUndisturbedWhateverTheNumberOfShares) {
  const RunSpec spec = Spec();
  auto alone = SingleProcessCollective();
  auto whole = MakeTrainer(spec, alone.get());
  Train(whole.get(), spec, 0, 12, 8);
  auto first = MakeTrainer(spec, alone.get());
  Train(first.get(), spec, 0, 7, 8);
  for (int world : {1, 3}) {
    MemoryEnv env;
    const auto store = CheckpointsOfRun(&env, "/run");
    ASSERT_OK_AND_ASSIGN(const auto checkpoint,
                         store->Commit(PutWithRanks(first.get(), spec, world, store.get())));
    auto resumed = MakeTrainer(spec, alone.get());
    ASSERT_OK(resumed->Load(*checkpoint));
    EXPECT_EQ(resumed->step(), 7);
    EXPECT_EQ(*resumed->StateHash(), *first->StateHash());
    Train(resumed.get(), spec, 7, 12, 8);
    EXPECT_EQ(*resumed->StateHash(), *whole->StateHash()) << world;
  }
}

TEST(Trainer, ASnapshotDoesNotChangeWithTraining) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  Train(trainer.get(), spec, 0, 2, 8);
  ASSERT_OK_AND_ASSIGN(auto snapshot, trainer->Snapshot());
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  ASSERT_OK(store->Create());
  ASSERT_OK(store->Begin({2, "a"}));
  ASSERT_OK_AND_ASSIGN(auto before, snapshot->WriteShare(store.get(), {2, "a"}));
  Train(trainer.get(), spec, 2, 4, 8);
  ASSERT_OK_AND_ASSIGN(auto after, snapshot->WriteShare(store.get(), {2, "a"}));
  EXPECT_EQ(before[0].sha256, after[0].sha256);
}

TEST(Trainer, AFullDiskLeavesNoHalfShareAndTheSnapshotCanBeWrittenAgain) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  ASSERT_OK_AND_ASSIGN(auto snapshot, trainer->Snapshot());
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  ASSERT_OK(store->Create());
  ASSERT_OK(store->Begin({0, "a"}));
  env.SetCapacity(1000);
  EXPECT_THAT(snapshot->WriteShare(store.get(), {0, "a"}).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("share-0-of-1")));
  EXPECT_THAT(store->FileBytes({0, "a"}, "share-0-of-1.safetensors"),
              StatusIs(absl::StatusCode::kNotFound));
  env.SetCapacity(uint64_t{1} << 40);
  EXPECT_OK(snapshot->WriteShare(store.get(), {0, "a"}).status());
}

TEST(Trainer, LoadNamesWhatIsMissing) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, "/run");
  CheckpointManifest manifest = PutWithRanks(trainer.get(), spec, 2, store.get());
  manifest.files.pop_back();
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, store->Commit(manifest));
  EXPECT_THAT(trainer->Load(*checkpoint),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no share holds")));
}

TEST(Trainer, WhatThrowsInEvaluationOrLoadingIsAStatus) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  EXPECT_THAT(
      trainer->Evaluate([](std::vector<int64_t>*) -> bool { throw std::bad_alloc(); }, false)
          .status(),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("out of memory in evaluation")));
  EXPECT_THAT(trainer
                  ->Evaluate(
                      [](std::vector<int64_t>*) {
                        TORCH_CHECK(false, "no kernel");
                        return false;
                      },
                      false)
                  .status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no kernel")));
  class NoMemory : public CheckpointReader {
   public:
    explicit NoMemory(CheckpointManifest manifest)
        : CheckpointReader("/checkpoint", "", std::move(manifest)) {}
    absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string&) const override {
      throw std::bad_alloc();
    }
  };
  CheckpointManifest manifest;
  manifest.files = {{"share-0-of-1.safetensors", 1, ""}};
  EXPECT_THAT(trainer->Load(NoMemory(manifest)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("reading the checkpoint")));
}

TEST(FloatBuffer, ThrowsWhenThereIsNoMemory) {
  const auto allocate = [] {
    FloatBuffer buffer(int64_t{1} << 55);
    float* volatile used = buffer.data();  // or the compiler leaves the allocation out
    EXPECT_EQ(used, nullptr);
  };
  EXPECT_THROW(allocate(), std::bad_alloc);
}

TEST(Trainer, EvaluationAgreesWithTraining) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  Train(trainer.get(), spec, 0, 30, 8);
  Batch batch = BatchOf(spec, 500, 0, 8);
  batch.weights.assign(batch.weights.size(), 1.0f);
  int64_t at = 0;
  const auto windows = [&](std::vector<int64_t>* window) {
    if (at == 8) return false;
    window->assign(batch.tokens.begin() + at * 17, batch.tokens.begin() + (at + 1) * 17);
    ++at;
    return true;
  };
  ASSERT_OK_AND_ASSIGN(const EvaluationResult result, trainer->Evaluate(windows, false));
  EXPECT_EQ(result.tokens, 128);
  ASSERT_OK_AND_ASSIGN(const StepStats stats, trainer->Step(batch, 128.0, 8, 0.0));
  EXPECT_NEAR(result.nats / 128, stats.loss, 2e-3 * stats.loss);
}

TEST(Trainer, PaddingIsNotEvaluated) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  const std::vector<int64_t> tokens = TinyTokens(3, 10);
  const auto nats = [&](int padding) {
    bool given = false;
    return trainer->Evaluate(
        [&](std::vector<int64_t>* window) {
          *window = tokens;
          window->insert(window->end(), padding, -1);
          return !std::exchange(given, true);
        },
        true);
  };
  ASSERT_OK_AND_ASSIGN(const EvaluationResult plain, nats(0));
  ASSERT_OK_AND_ASSIGN(const EvaluationResult padded, nats(5));
  EXPECT_EQ(plain.tokens, 9);
  EXPECT_EQ(padded.tokens, 9);
  EXPECT_EQ(padded.nats, plain.nats);
}

TEST(Trainer, OneBlockOverfitsARepeatedString) {
  RunSpec spec = TinySpec();
  spec.model.layers = 1;
  spec.model.hidden = 64;
  spec.model.head_dim = 16;
  spec.model.ffn = 128;
  spec.sequence_length = 64;
  spec.global_batch = 1;
  spec.weight_decay = 0;
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  Batch batch;
  batch.sequences = 1;
  batch.weights.assign(64, 1.0f);
  for (int i = 0; i <= 64; ++i)
    batch.tokens.push_back(
        8 + "To be, or not to be, that is the question: whether 'tis nobler i"[i % 64]);
  double loss = 0;
  for (int step = 0; step < 300; ++step) loss = trainer->Step(batch, 64.0, 1, 5e-3)->loss;
  EXPECT_LT(loss, 0.1);
}

TEST(Trainer, SaysWhichPrecisionItTookAndThatItChose) {
  RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  EXPECT_THAT(MakeTrainer(spec, alone.get())->description(), HasSubstr("cpu, fp32, "));
  spec.precision = "auto";
  EXPECT_THAT(MakeTrainer(spec, alone.get())->description(),
              HasSubstr(HasBf16Gemm() ? "cpu, bf16 (auto), " : "cpu, fp32 (auto), "));
}

TEST(Trainer, Bf16TrainsAsFp32DoesAndNotTheSame) {
  RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  spec.precision = "fp32";
  auto fp32 = MakeTrainer(spec, alone.get());
  spec.precision = "bf16";
  auto bf16 = MakeTrainer(spec, alone.get());
  EXPECT_THAT(bf16->description(), ::testing::HasSubstr("bf16"));
  const std::vector<double> want = Train(fp32.get(), spec, 0, 60, 8),
                            got = Train(bf16.get(), spec, 0, 60, 8);
  EXPECT_NEAR(got[0], want[0], 1e-3 * want[0]);
  EXPECT_NEAR(got[59], want[59], 0.1 * want[59]);
  EXPECT_NE(fp32->StateHash(), bf16->StateHash());
}

TEST_P(Precisions, ActivationCheckpointingGivesTheSameBits) {
  RunSpec spec = Spec();
  auto alone = SingleProcessCollective();
  auto all = MakeTrainer(spec, alone.get());
  const std::vector<double> want = Train(all.get(), spec, 0, 5, 4);
  for (int64_t layers : {1, 2, 3}) {
    spec.activation_checkpointing = layers;
    auto trainer = MakeTrainer(spec, alone.get());
    EXPECT_EQ(Train(trainer.get(), spec, 0, 5, 4), want) << layers;
    EXPECT_EQ(trainer->StateHash(), all->StateHash()) << layers;
  }
}

// Written on a CPU with AVX-512. Another instruction set rounds differently and may flip single
// codes: 1 %.
TEST(Trainer, GoldenLosses) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  const std::vector<double> losses = Train(trainer.get(), spec, 0, 60, 8);
  const std::vector<std::pair<int, double>> golden = {
      {0, 5.57820}, {19, 3.78929}, {39, 2.19389}, {59, 1.27939}};
  for (const auto& [step, loss] : golden) EXPECT_NEAR(losses[step], loss, 0.01 * loss) << step;
}

TEST(Trainer, RefusesBadBatches) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  Batch batch = BatchOf(spec, 0, 0, 2);
  batch.tokens[3] = 264;
  EXPECT_THAT(trainer->Step(batch, 32, 2, 1e-3).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("token 264")));
  batch.tokens.pop_back();
  EXPECT_THAT(trainer->Step(batch, 32, 2, 1e-3).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("33 tokens")));
  EXPECT_EQ(trainer->step(), 0);
}

// Trains a step, then one more with element `at` of `name` set to `value`.
absl::Status StepAfter(const std::string& name, int64_t at, float value) {
  const RunSpec spec = TinySpec();
  auto alone = SingleProcessCollective();
  auto trainer = MakeTrainer(spec, alone.get());
  Train(trainer.get(), spec, 0, 1, 8);
  MemoryEnv env;
  const auto checkpoint = CommitState(trainer.get(), CheckpointsOfRun(&env, "/run").get());
  const std::string path = checkpoint->LocationOf(checkpoint->manifest().files[0].name);
  ASSIGN_OR_RETURN(std::string bytes, env.ReadFile(path));
  {
    ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(&env, path));
    ASSIGN_OR_RETURN(const auto whole, env.MapFile(path));
    ASSIGN_OR_RETURN(const TensorView tensor, file->Get("weight/" + name));
    const std::string_view all(reinterpret_cast<const char*>(whole->bytes().data()),
                               whole->bytes().size());
    const size_t offset = all.find(
        std::string_view(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()));
    std::memcpy(bytes.data() + offset + at * sizeof(float), &value, sizeof(float));
  }
  RETURN_IF_ERROR(WriteFileAtomically(&env, path, bytes));
  RETURN_IF_ERROR(trainer->Load(*checkpoint));
  return trainer->Step(BatchOf(spec, 1, 0, 8), WeightSum(spec), 8, 1e-3).status();
}

TEST(Trainer, NamesTheFirstBadTensor) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const absl::Status weight = StepAfter("layers.1.attn.o.weight", 7, kNan);
  EXPECT_THAT(weight, StatusIs(absl::StatusCode::kInternal,
                               HasSubstr("the loss of step 1 is nan; first bad tensor: weight "
                                         "layers.1.attn.o.weight (element 7 is nan)")));
  EXPECT_EQ(weight.GetPayload(kFirstBadTensor),
            absl::Cord("weight layers.1.attn.o.weight (element 7 is nan)"));
  // A weight of 1e38 is finite; what its layer makes of it is not.
  EXPECT_THAT(StepAfter("layers.0.ffn.gate.weight", 3, 1e38f),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("first bad tensor: output of layers.0 (element ")));
}

TEST(Trainer, RefusesASequenceBeyondTheContext) {
  auto alone = SingleProcessCollective();
  Trainer::Options options;
  options.spec = TinySpec();
  options.collective = alone.get();
  options.spec.sequence_length = 4096;
  EXPECT_THAT(Trainer::Create(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sequence_length")));
}

}  // namespace
}  // namespace tritter
