// Every attention mode: the whole network against the formulas in FP64, what each position may
// depend on, what is trained, and that evaluation computes the same.
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer.h"
#include "worker/testing/fake_collective.h"
#include "worker/testing/tiny_model.h"
#include "worker/testing/tiny_training.h"
#include "worker/training/attention_rule.h"
#include "worker/training/formula/formula_network.h"
#include "worker/training/trainer.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSequences = 2, kLength = 24;

struct Mode {
  std::string name;
  ModelConfig config;
};

std::vector<Mode> Modes(Family family) {
  std::vector<Mode> modes;
  const auto add = [&](AttentionMode mode, int64_t window, int64_t sinks, int64_t prefix) {
    ModelConfig config = TinyModel(family);
    config.attention = mode;
    config.window = window;
    config.sinks = sinks;
    config.prefix = prefix;
    EXPECT_OK(ValidateConfig(config));
    modes.push_back({absl::StrCat(FamilyName(family), " ", AttentionModeName(mode), " window ",
                                  window, " sinks ", sinks, " prefix ", prefix),
                     config});
  };
  add(AttentionMode::kCausal, 0, 0, 0);
  for (int64_t window : {1, 5, 16}) {
    add(AttentionMode::kSlidingWindow, window, 0, 0);
    add(AttentionMode::kSinks, window, 2, 0);
  }
  add(AttentionMode::kBidirectional, 0, 0, 0);
  for (int64_t prefix : {1, 7, 20}) add(AttentionMode::kPrefixLm, 0, 0, prefix);
  add(AttentionMode::kDocument, 0, 0, 0);
  add(AttentionMode::kEmbedding, 0, 0, 0);
  return modes;
}
std::vector<Mode> AllModes() {
  std::vector<Mode> modes = Modes(Family::kTritter), more = Modes(Family::kBitnet);
  modes.insert(modes.end(), more.begin(), more.end());
  return modes;
}

// Text with documents of very different lengths, empty ones among them.
std::vector<int64_t> Documents(uint64_t seed, int64_t count) {
  std::vector<int64_t> tokens = TinyTokens(seed, count);
  for (int64_t t = static_cast<int64_t>(seed % 5); t < count; t += 1 + (t * 7 + 3) % 11)
    tokens[t] = kEosId;
  return tokens;
}

at::Tensor Grid(const std::vector<int64_t>& tokens, int64_t length) {
  return at::tensor(at::ArrayRef<int64_t>(tokens)).view({-1, length});
}

// The network with plain matrices, so that no rounding to codes hides or spreads a difference, away
// from where it starts.
std::unique_ptr<TinyNetwork> PlainNetwork(ModelConfig config) {
  config.weight_rule = WeightRule::kNone;
  config.activations = ActivationRule::kNone;
  EXPECT_OK(ValidateConfig(config));
  auto net = std::make_unique<TinyNetwork>(config);
  at::manual_seed(5);
  for (const ParameterSlot& slot : net->parameters.slots()) {
    at::Tensor w = net->Weight(slot.spec.name);
    if (slot.spec.kind == ParameterKind::kNorm) w.uniform_(0.5, 1.5);
    if (slot.spec.kind == ParameterKind::kTernary) w.normal_(0, 0.3);
    if (slot.spec.kind == ParameterKind::kEmbedding) w.normal_();
  }
  return net;
}

TEST(AttentionModes, TheWholeNetworkAndItsGradientsAreTheFormulas) {
  const std::vector<int64_t> tokens = Documents(3, kSequences * kLength);
  for (const Mode& mode : AllModes()) {
    const auto fast = PlainNetwork(mode.config);
    FormulaNetwork formula(fast->config,
                           LeafParameters(fast->config, fast->parameters.weight(), at::kDouble));
    const FormulaBatch batch{Grid(tokens, kLength), 0, mode.config.prefix};
    const at::Tensor want = formula.Hidden(formula.Embed(batch.tokens), batch);
    const at::Tensor gradient = at::randn({kSequences * kLength, mode.config.hidden});
    want.backward(gradient.to(at::kDouble).view(want.sizes()));

    const std::vector<int32_t> documents = DocumentStarts(mode.config, tokens, kLength);
    fast->sink.BeginMicroBatch(true, true);
    const at::Tensor embedded = fast->network->Embed(tokens);
    const at::Tensor got =
        fast->network->Forward(embedded, {kSequences, kLength, documents.data()});
    got.backward(gradient);
    fast->network->CommitEmbeddingGradient(embedded.grad(), tokens);
    EXPECT_LT(RelativeError(got, want.detach().view(got.sizes())), 1e-5) << mode.name;
    for (const auto& [name, leaf] : formula.parameters()) {
      if (!leaf.grad().defined()) continue;                    // an untied head: it is the loss's
      if (leaf.grad().norm().item<double>() < 1e-9) continue;  // q and k of a window of 1
      EXPECT_LT(RelativeError(fast->Gradient(name), leaf.grad()), 1e-4) << name << mode.name;
    }
  }
}

// What reaches a position in as many steps as there are layers, exactly: gradient to everything
// else, the future of every causal mode among it, is zero.
TEST(AttentionModes, GradientReachesWhatIsSeenAndNothingElse) {
  const std::vector<int64_t> tokens = Documents(4, kLength);
  for (const Mode& mode : AllModes()) {
    const auto fast = PlainNetwork(mode.config);
    const at::Tensor sees =
        VisibleKeys(mode.config, {Grid(tokens, kLength), 0, mode.config.prefix})[0].to(at::kFloat);
    const at::Tensor reaches = at::mm(sees, sees) > 0;  // two layers
    const std::vector<int32_t> documents = DocumentStarts(mode.config, tokens, kLength);
    for (int64_t t : {0, 3, 11, 23}) {
      fast->sink.BeginMicroBatch(true, true);
      const at::Tensor embedded = fast->network->Embed(tokens);
      const at::Tensor hidden = fast->network->Forward(embedded, {1, kLength, documents.data()});
      at::Tensor gradient = at::zeros_like(hidden);
      gradient[t].normal_();
      hidden.backward(gradient);
      const at::Tensor reached = embedded.grad().abs().amax(1) > 0;
      EXPECT_TRUE(reached.equal(reaches[t])) << mode.name << " position " << t << "\n"
                                             << reached << reaches[t];
    }
  }
}

struct Operation {
  explicit Operation(const ModelConfig& config) : net(config) {
    if (!config.qk_norm()) return;
    at::manual_seed(9);
    for (const char* name : {"q_norm", "k_norm"})
      net.Weight(absl::StrCat("layers.0.attn.", name, ".weight")).uniform_(0.5, 1.5);
    slots.q_norm = *FindNorm(net.parameters, config.norm, "layers.0.attn.q_norm");
    slots.k_norm = *FindNorm(net.parameters, config.norm, "layers.0.attn.k_norm");
  }
  at::Tensor Run(const at::Tensor& qkv, const std::vector<int64_t>& tokens,
                 int64_t first_position) {
    rope = MakeRopeTables(net.config, first_position, kLength);
    documents = DocumentStarts(net.config, tokens, kLength);
    return Attention(net.context, slots, rope, {kSequences, kLength, documents.data()}, qkv);
  }

  TinyNetwork net;
  AttentionSlots slots;
  RopeTables rope;
  std::vector<int32_t> documents;
};

TEST(AttentionModes, NothingChangesWhenEveryPositionShifts) {
  const std::vector<int64_t> tokens = Documents(3, kSequences * kLength);
  for (const Mode& mode : AllModes()) {
    Operation operation(mode.config);
    const at::Tensor qkv = at::randn({kSequences * kLength, 64});
    const at::Tensor start = operation.Run(qkv, tokens, 0);
    EXPECT_LT(RelativeError(operation.Run(qkv, tokens, 1000), start), 1e-5) << mode.name;
  }
}

TEST(AttentionModes, GroupedHeadsEqualDuplicatedOnes) {
  const std::vector<int64_t> tokens = Documents(3, kSequences * kLength);
  const int64_t rows = kSequences * kLength;
  for (const Mode& mode : AllModes()) {
    ModelConfig all = mode.config;
    all.kv_heads = all.heads;
    Operation grouped(mode.config), full(all);
    const at::Tensor q = at::randn({rows, 32}), k = at::randn({rows, 2, 8}),
                     v = at::randn({rows, 2, 8});
    const auto join = [&](const at::Tensor& keys, const at::Tensor& values) {
      return at::cat({q, keys.reshape({rows, -1}), values.reshape({rows, -1})}, 1);
    };
    const at::Tensor few = grouped.Run(join(k, v), tokens, 0);
    const at::Tensor many =
        full.Run(join(k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)), tokens, 0);
    EXPECT_LT(RelativeError(few, many), 1e-6) << mode.name;
  }
}

// --- The trainer -----------------------------------------------------------------------------

RunSpec SpecOf(const ModelConfig& config) {
  RunSpec spec = TinySpec();
  spec.model = config;
  spec.sequence_length = kLength;
  return spec;
}
std::vector<Mode> TrainedModes() {
  std::vector<Mode> modes;
  for (const Mode& mode : AllModes()) {
    if (CheckTrainable(mode.config).ok()) modes.push_back(mode);
  }
  return modes;
}
constexpr int64_t kBatch = 8;
Batch BatchOf(int64_t first, int64_t count) {
  Batch batch;
  batch.sequences = count;
  for (int64_t i = first; i < first + count; ++i) {
    const std::vector<int64_t> tokens = Documents(i, kLength + 1);
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    for (int64_t t = 0; t < kLength; ++t)
      batch.weights.push_back(1.0f + 0.25f * static_cast<float>((i + t / 9) % 3));
  }
  return batch;
}
double SumOfWeights() {
  double sum = 0;
  for (float w : BatchOf(0, kBatch).weights) sum += w;
  return sum;
}

// One sequence after the other through the arithmetic of serving: the mean over what is predicted.
TEST(AttentionModes, TheLossOfAStepIsTheMeanOverWhatThePositionsPredict) {
  auto alone = SingleProcessCollective();
  for (const Mode& mode : TrainedModes()) {
    auto trainer = MakeTrainer(SpecOf(mode.config), alone.get());
    // Away from equal logits.
    for (int i = 0; i < 20; ++i)
      ASSERT_OK(trainer->Step(BatchOf(0, kBatch), SumOfWeights(), 4, 1e-2));
    const Batch batch = BatchOf(0, kBatch);
    double loss = 0, weight = 0;
    for (int64_t s = 0; s < kBatch; ++s) {
      const absl::Span<const int64_t> row(&batch.tokens[s * (kLength + 1)], kLength + 1);
      ASSERT_OK_AND_ASSIGN(std::vector<float> logits, trainer->Logits(row.first(kLength), false));
      for (int64_t t = 0; t < kLength; ++t) {
        const bool inside = mode.config.attention != AttentionMode::kPrefixLm ||
                            t + 1 >= mode.config.prefix;  // the predicted token is of the suffix
        const bool border = mode.config.attention == AttentionMode::kDocument && row[t] == kEosId;
        if (!inside || border) continue;
        const float* of = &logits[t * mode.config.vocab];
        double sum = 0;
        for (int64_t v = 0; v < mode.config.vocab; ++v) sum += std::exp(double{of[v]});
        const double w = batch.weights[s * kLength + t];
        loss += w * (std::log(sum) - of[row[t + 1]]);
        weight += w;
      }
    }
    ASSERT_OK_AND_ASSIGN(const StepStats stats, trainer->Step(batch, SumOfWeights(), 4, 1e-3));
    EXPECT_NEAR(stats.loss, loss / weight, 5e-3 * loss / weight) << mode.name;
  }
}

TEST(AttentionModes, AnySplitOverMicroBatchesAndRanksGivesTheSameLoss) {
  for (const Mode& mode : TrainedModes()) {
    const RunSpec spec = SpecOf(mode.config);
    std::vector<double> losses, norms;
    for (const auto& [ranks, micro] :
         std::vector<std::pair<int, int64_t>>{{1, 8}, {1, 1}, {2, 4}}) {
      auto group = MakeFakeGroup(ranks);
      std::vector<std::thread> threads;
      std::vector<StepStats> stats(ranks);
      const int64_t share = kBatch / ranks;
      for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&, rank, micro = micro] {
          auto trainer = MakeTrainer(spec, group[rank].get());
          auto step = trainer->Step(BatchOf(rank * share, share), SumOfWeights(), micro, 1e-3);
          ASSERT_OK(step.status());
          stats[rank] = *step;
        });
      }
      for (std::thread& thread : threads) thread.join();
      for (const StepStats& s : stats) {
        losses.push_back(s.loss);
        norms.push_back(s.grad_norm);
      }
    }
    for (size_t i = 1; i < losses.size(); ++i) {
      EXPECT_NEAR(losses[i], losses[0], 1e-6 * losses[0]) << mode.name;
      EXPECT_NEAR(norms[i], norms[0], 1e-5 * norms[0]) << mode.name;
    }
  }
}

TEST(AttentionModes, ActivationCheckpointingGivesTheSameBits) {
  auto alone = SingleProcessCollective();
  for (const Mode& mode : TrainedModes()) {
    RunSpec spec = SpecOf(mode.config);
    std::string all;
    for (int64_t layers : {0, 1, 2}) {
      spec.activation_checkpointing = layers;
      auto trainer = MakeTrainer(spec, alone.get());
      for (int i = 0; i < 3; ++i)
        ASSERT_OK(trainer->Step(BatchOf(0, kBatch), SumOfWeights(), 4, 1e-2));
      ASSERT_OK_AND_ASSIGN(const std::string hash, trainer->StateHash());
      if (layers == 0) all = hash;
      EXPECT_EQ(hash, all) << mode.name << ", segments of " << layers;
    }
  }
}

TEST(AttentionModes, EvaluationCountsWhatIsPredicted) {
  auto alone = SingleProcessCollective();
  for (const Mode& mode : TrainedModes()) {
    auto trainer = MakeTrainer(SpecOf(mode.config), alone.get());
    const std::vector<int64_t> tokens = Documents(1, kLength + 1);
    int64_t expected = kLength;
    if (mode.config.attention == AttentionMode::kPrefixLm) expected -= mode.config.prefix - 1;
    if (mode.config.attention == AttentionMode::kDocument)
      expected -= std::count(tokens.begin(), tokens.end() - 1, kEosId);
    bool given = false;
    ASSERT_OK_AND_ASSIGN(const EvaluationResult result, trainer->Evaluate(
                                                            [&](std::vector<int64_t>* window) {
                                                              *window = tokens;
                                                              return !std::exchange(given, true);
                                                            },
                                                            false));
    EXPECT_EQ(result.tokens, expected) << mode.name;
    EXPECT_EQ(result.tokens + result.not_predicted, kLength) << mode.name;
    // A fresh network knows nothing (its tied head is not near zero).
    EXPECT_NEAR(result.nats / static_cast<double>(expected), std::log(264.0), 0.5) << mode.name;
  }
}

TEST(AttentionModes, AModeWithoutAnObjectiveIsRefusedByName) {
  auto alone = SingleProcessCollective();
  for (const AttentionMode mode : {AttentionMode::kBidirectional, AttentionMode::kEmbedding}) {
    ModelConfig config = TinyModel();
    config.attention = mode;
    Trainer::Options options;
    options.spec = SpecOf(config);
    options.collective = alone.get();
    EXPECT_THAT(Trainer::Create(options).status(),
                StatusIs(absl::StatusCode::kUnimplemented,
                         HasSubstr(absl::StrCat("attention ", AttentionModeName(mode),
                                                " has no training objective yet"))));
  }
}

TEST(AttentionModes, ABatchThatPredictsNothingIsRefused) {
  auto alone = SingleProcessCollective();
  ModelConfig config = TinyModel();
  config.attention = AttentionMode::kDocument;
  auto trainer = MakeTrainer(SpecOf(config), alone.get());
  Batch batch = BatchOf(0, 1);
  batch.tokens.assign(batch.tokens.size(), kEosId);
  EXPECT_THAT(trainer->Step(batch, kLength, 1, 1e-3).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no token to predict under attention document")));
}

}  // namespace
}  // namespace tritter
