// What the worker says and what the served file says is the same: on the worker's greedy text of 20
// prompts the most likely token agrees, and the logits are equal to the last float operations of
// the head.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/env.h"
#include "common/testing/status_matchers.h"
#include "model/checkpoint_manifest.h"
#include "model/run_spec.h"
#include "model/tokenizer.h"
#include "tests/e2e/cluster.h"
#include "worker/collective.h"
#include "worker/trainer.h"

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

TEST(Parity, WorkerAndServedModelAgree) {
  const std::string folder = TempFolder("parity");
  ASSERT_OK(MakeShards(folder));
  Cluster cluster(folder);
  ASSERT_OK(cluster.StartCoordinator());
  ASSERT_OK(cluster.StartWorker("w0"));
  ASSERT_OK(cluster.StartWorker("w1"));
  ASSERT_OK_AND_ASSIGN(const std::string run_id,
                       cluster.Submit(RunYaml("parity", {{"steps", std::to_string(kSteps)}})));
  ASSERT_OK_AND_ASSIGN(const v1::Run run, cluster.WaitForEnd(run_id));
  ASSERT_EQ(run.state(), v1::RUN_STATE_COMPLETED) << run.reason() << cluster.LogTails();
  ASSERT_EQ(run.artifacts_size(), 1);

  ASSERT_OK_AND_ASSIGN(const RunSpec spec, ParseRunSpec(run.spec_yaml(), "effective", folder));
  const std::string checkpoint =
      JoinPath(JoinPath(run.run_dir(), "checkpoints"), CheckpointFolderName(kSteps));
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest manifest, ReadManifest(Env::Real(), checkpoint));
  auto alone = SingleProcessCollective();
  Trainer::Options options;
  options.spec = spec;
  options.collective = alone.get();
  ASSERT_OK_AND_ASSIGN(auto trainer, Trainer::Create(options));
  ASSERT_OK(trainer->Load(Env::Real(), checkpoint, manifest));

  ASSERT_OK_AND_ASSIGN(auto server, ModelServer::Start(folder, run.artifacts(0).path()));
  const char* prompts[kPrompts] = {
      "ROMEO:",     "JULIET:",  "First Citizen:", "What light",  "O,",          "KING RICHARD III:",
      "To be",      "My lord,", "Now is the",     "Good morrow", "GLOUCESTER:", "The",
      "And so",     "I",        "But, soft!",     "Friends,",    "MENENIUS:",   "Fare thee",
      "Come, come", "Exeunt"};
  const int64_t vocabulary = spec.model.vocab;
  int64_t positions = 0, equal = 0, decided_wrong = 0;
  double worst = 0;
  for (const char* prompt : prompts) {
    std::vector<int64_t> ids = {kBosId};
    for (int32_t id : ByteTokenizer().Encode(prompt)) ids.push_back(id);
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
      const Best mine = BestOf(logits.data() + p * vocabulary, vocabulary);
      const v1::Candidate& served = response.tokens(p).top(0);
      ++positions;
      if (served.id() == mine.id) ++equal;
      if (served.id() != mine.id && mine.gap > 0.01 * mine.stddev) ++decided_wrong;
      worst = std::max(
          worst, std::abs(served.logit() - logits[p * vocabulary + served.id()]) / mine.stddev);
    }
  }
  std::printf(
      "positions %ld, same most likely token %ld (%.3f %%), largest difference %.2e of the logits' "
      "deviation\n",
      positions, equal, 100.0 * equal / positions, worst);
  EXPECT_GE(positions, kPrompts * kNewTokens);
  EXPECT_EQ(decided_wrong, 0);
  EXPECT_GE(static_cast<double>(equal), 0.995 * static_cast<double>(positions));
  EXPECT_LT(worst, 1e-4);
}

}  // namespace
}  // namespace tritter::e2e
