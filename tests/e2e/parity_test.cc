// What the worker says and what the served file says is the same, on the worker's greedy text of 20
// prompts. Two comparisons with the served logits: those of the worker's evaluation, which uses the
// serving arithmetic (equal to the last float operations of the head), and those of the forward
// pass that training differentiates, whose other order of float operations may flip an int8 code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/env.h"
#include "common/testing/status_matchers.h"
#include "model/folder_checkpoint_store.h"
#include "model/run_spec.h"
#include "model/tokenizer.h"
#include "tests/e2e/cluster.h"
#include "worker/collective.h"
#include "worker/testing/training_logits.h"
#include "worker/training/trainer.h"

namespace tritter::e2e {
namespace {

constexpr int kSteps = 80, kPrompts = 20, kNewTokens = 64;

struct Best {
  int64_t id = 0;
  double gap = 0;     // between the two best logits
  double stddev = 0;  // of all logits
};

Best BestOf(const float* logits, int64_t vocabulary) {
  Best best;
  best.id = std::max_element(logits, logits + vocabulary) - logits;
  double second = -1e30, sum = 0, squares = 0;
  for (int64_t i = 0; i < vocabulary; ++i) {
    if (i != best.id) second = std::max(second, double{logits[i]});
    sum += logits[i];
    squares += double{logits[i]} * logits[i];
  }
  const double n = static_cast<double>(vocabulary);
  best.gap = logits[best.id] - second;
  best.stddev = std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)));
  return best;
}

// Positions at which two sets of logits were compared.
struct Agreement {
  int64_t positions = 0, equal = 0;
  int64_t decided_wrong = 0;  // other tokens although the worker's two best differ by over 1 %
  double worst = 0;           // largest |difference| of a served best logit, in deviations

  void Add(const float* logits, int64_t vocabulary, const v1::Candidate& served) {
    const Best mine = BestOf(logits, vocabulary);
    ++positions;
    if (served.id() == mine.id) ++equal;
    if (served.id() != mine.id && mine.gap > 0.01 * mine.stddev) ++decided_wrong;
    worst = std::max(worst, std::abs(served.logit() - logits[served.id()]) / mine.stddev);
  }
  double share() const { return static_cast<double>(equal) / static_cast<double>(positions); }
  void Print(const char* name) const {
    std::printf(
        "%s: positions %ld, same most likely token %ld (%.3f %%), decided otherwise %ld, largest "
        "difference %.2e of the logits' deviation\n",
        name, positions, equal, 100.0 * share(), decided_wrong, worst);
  }
};

class Parity : public testing::TestWithParam<const char*> {};  // of a family
INSTANTIATE_TEST_SUITE_P(Families, Parity, testing::Values("tritter", "bitnet"));

TEST_P(Parity, WorkerAndServedModelAgree) {
  const std::string folder = TempFolder(std::string("parity-") + GetParam());
  ASSERT_OK(MakeShards(folder));
  Cluster cluster(folder);
  ASSERT_OK(cluster.StartCoordinator());
  ASSERT_OK(cluster.StartWorker("w0"));
  ASSERT_OK(cluster.StartWorker("w1"));
  ASSERT_OK_AND_ASSIGN(const std::string run_id,
                       cluster.Submit(RunYaml(
                           "parity", {{"steps", std::to_string(kSteps)}, {"family", GetParam()}})));
  ASSERT_OK_AND_ASSIGN(const v1::Run run, cluster.WaitForEnd(run_id));
  ASSERT_EQ(run.state(), v1::RUN_STATE_COMPLETED) << run.reason() << cluster.LogTails();
  ASSERT_EQ(run.artifacts_size(), 1);

  ASSERT_OK_AND_ASSIGN(const RunSpec spec, ParseRunSpec(run.spec_yaml(), "effective", folder));
  ASSERT_OK_AND_ASSIGN(const auto checkpoint,
                       CheckpointsOfRun(Env::Real(), run.run_dir())->Open(kSteps));
  auto alone = SingleProcessCollective();
  Trainer::Options options;
  options.spec = spec;
  options.collective = alone.get();
  ASSERT_OK_AND_ASSIGN(auto trainer, Trainer::Create(options));
  ASSERT_OK(trainer->Load(*checkpoint));

  ASSERT_OK_AND_ASSIGN(auto server,
                       ModelServer::Start(folder, {"--model", run.artifacts(0).path()}));
  const char* prompts[kPrompts] = {
      "ROMEO:",     "JULIET:",  "First Citizen:", "What light",  "O,",          "KING RICHARD III:",
      "To be",      "My lord,", "Now is the",     "Good morrow", "GLOUCESTER:", "The",
      "And so",     "I",        "But, soft!",     "Friends,",    "MENENIUS:",   "Fare thee",
      "Come, come", "Exeunt"};
  const int64_t vocabulary = spec.model.vocab;
  Agreement evaluation, training;
  std::vector<std::vector<int64_t>> texts;
  std::vector<v1::ScoreResponse> responses;
  for (const char* prompt : prompts) {
    std::vector<int64_t> ids = {kBosId};
    for (int32_t id : ByteIds(prompt)) ids.push_back(id);
    std::vector<float> logits;
    for (int i = 0; i < kNewTokens; ++i) {
      ASSERT_OK_AND_ASSIGN(logits, trainer->Logits(ids, /*averaged=*/true));
      ids.push_back(BestOf(logits.data() + (ids.size() - 1) * vocabulary, vocabulary).id);
    }
    ASSERT_OK_AND_ASSIGN(logits, trainer->Logits(ids, true));

    grpc::ClientContext context;
    v1::ScoreRequest request;
    for (int64_t id : ids) request.mutable_tokens()->add_ids(static_cast<int32_t>(id));
    request.set_top(2);
    v1::ScoreResponse response;
    const grpc::Status status = server->stub().Score(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.tokens_size(), static_cast<int>(ids.size()) - 1);
    for (int p = 0; p < response.tokens_size(); ++p) {
      evaluation.Add(logits.data() + p * vocabulary, vocabulary, response.tokens(p).top(0));
    }
    texts.push_back(ids);
    responses.push_back(response);
  }
  ASSERT_OK_AND_ASSIGN(const auto trained, TrainingLogits(spec.model, *checkpoint, texts));
  for (size_t i = 0; i < texts.size(); ++i) {
    for (int p = 0; p < responses[i].tokens_size(); ++p) {
      training.Add(trained[i].data() + p * vocabulary, vocabulary, responses[i].tokens(p).top(0));
    }
  }
  evaluation.Print("evaluation");
  training.Print("training");
  EXPECT_GE(evaluation.positions, kPrompts * kNewTokens);
  EXPECT_EQ(evaluation.decided_wrong, 0);
  EXPECT_GE(evaluation.share(), 0.995);
  EXPECT_LT(evaluation.worst, 1e-4);
  EXPECT_GE(training.share(), 0.995);
}

}  // namespace
}  // namespace tritter::e2e
