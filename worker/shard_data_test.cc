#include "worker/shard_data.h"

#include <set>
#include <string>
#include <vector>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "curation/shard_manifest.h"
#include "curation/shard_writer.h"

namespace tritter {
namespace {

using testing::HasSubstr;

constexpr int64_t kLength = 8;

class ShardDataTest : public testing::Test {
 protected:
  // Documents of ten tokens: 10·d + 8 … and eos; training weights 1 and 0.5 in turn.
  void WriteSource(const std::string& name, int train_documents, int held_out_documents,
                   char hash = 'a') {
    ShardWriterOptions options;
    options.source = name;
    options.tokenizer_hash = std::string(64, hash);
    options.vocabulary = 264;
    ASSERT_OK_AND_ASSIGN(auto writer, ShardWriter::Create(&env_, "/shards/" + name, options));
    for (int d = 0; d < train_documents + held_out_documents; ++d) {
      std::vector<int32_t> tokens(10, 8 + d % 200);
      tokens.back() = 2;
      DocumentToWrite document;
      document.tokens = tokens;
      document.raw_bytes = 9;
      document.weight = d % 2 == 0 ? 1.0f : 0.5f;
      ASSERT_OK(writer->Add(d < train_documents ? Split::kTrain : Split::kHeldOut, document));
    }
    ASSERT_OK(writer->Finish({}, {}));
  }
  RunSpec Spec(const std::vector<std::string>& sources) {
    RunSpec spec;
    spec.model.vocab = 264;
    spec.sequence_length = kLength;
    spec.global_batch = 6;
    spec.seed = 7;
    spec.schedule.decay_start_step = 10;
    for (const std::string& s : sources) spec.sources.push_back({s, "/shards/" + s, 1.0, 100});
    return spec;
  }

  MemoryEnv env_;
};

TEST_F(ShardDataTest, HashesOfTheDataAreThoseOfTokenizerAndShards) {
  WriteSource("text", 40, 0);
  WriteSource("code", 30, 2);
  ASSERT_OK_AND_ASSIGN(auto data, OpenShardData(&env_, Spec({"text", "code"})));
  ASSERT_EQ(data->hashes().size(), 2u);
  EXPECT_NE(data->hashes().at("text"), data->hashes().at("code"));
  for (const auto& [source, hash] : data->hashes()) {
    ASSERT_OK_AND_ASSIGN(ShardManifest manifest, ReadShardManifest(&env_, "/shards/" + source));
    EXPECT_EQ(hash, HashTokens(manifest)) << source;
    manifest.inputs = {{"/elsewhere/text", 1, "x"}};
    EXPECT_EQ(hash, HashTokens(manifest)) << "where the text lay does not matter";
    manifest.heldout.shards.swap(manifest.train.shards);
    EXPECT_NE(hash, HashTokens(manifest)) << "splits matter";
  }
}

TEST_F(ShardDataTest, SharesOfTheRanksTogetherAreTheWholeBatch) {
  WriteSource("text", 40, 0);
  ASSERT_OK_AND_ASSIGN(auto data, OpenShardData(&env_, Spec({"text"})));
  for (int64_t step = 0; step < 20; ++step) {
    ASSERT_OK_AND_ASSIGN(const auto whole, data->Read(step * 6, 6, 0, 6));
    ASSERT_EQ(whole.batch.tokens.size(), 6u * (kLength + 1));
    ASSERT_EQ(whole.batch.weights.size(), 6u * kLength);
    double sum = 0;
    for (const float w : whole.batch.weights) sum += w;
    EXPECT_EQ(whole.weight_sum, sum);
    std::vector<int64_t> tokens;
    std::vector<float> weights;
    for (const auto& [first, count] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 2}, {6, 0}}) {
      ASSERT_OK_AND_ASSIGN(const auto part, data->Read(step * 6, 6, first, count));
      EXPECT_EQ(part.batch.sequences, count);
      EXPECT_EQ(part.weight_sum, whole.weight_sum);
      tokens.insert(tokens.end(), part.batch.tokens.begin(), part.batch.tokens.end());
      weights.insert(weights.end(), part.batch.weights.begin(), part.batch.weights.end());
    }
    EXPECT_EQ(tokens, whole.batch.tokens);
    EXPECT_EQ(weights, whole.batch.weights);
  }
}

TEST_F(ShardDataTest, OnePassReadsEverySampleOnce) {
  WriteSource("text", 40, 0);  // 400 tokens, 49 samples
  ASSERT_OK_AND_ASSIGN(auto data, OpenShardData(&env_, Spec({"text"})));
  std::multiset<std::vector<int64_t>> seen, all;
  for (int64_t slot = 0; slot < 49; ++slot) {
    ASSERT_OK_AND_ASSIGN(const auto share, data->Read(slot, 1, 0, 1));
    seen.insert(share.batch.tokens);
    std::vector<int64_t> sample(kLength + 1);
    for (int64_t i = 0; i <= kLength; ++i) {
      const int64_t token = slot * kLength + i;
      sample[i] = token % 10 == 9 ? 2 : 8 + token / 10;
    }
    all.insert(sample);
  }
  EXPECT_EQ(seen, all);
}

TEST_F(ShardDataTest, APredictedTokenWeighsWhatItsDocumentWeighs) {
  WriteSource("text", 40, 0);
  for (const bool set : {false, true}) {
    RunSpec spec = Spec({"text"});
    if (set) spec.label_weights = {{"positive", 3.0}};
    ASSERT_OK_AND_ASSIGN(auto data, OpenShardData(&env_, spec));
    int mixed = 0;
    for (int64_t slot = 0; slot < 49; ++slot) {
      ASSERT_OK_AND_ASSIGN(const auto share, data->Read(slot, 1, 0, 1));
      double sum = 0;
      for (int64_t i = 0; i < kLength; ++i) {
        // Of the token that is predicted; eos belongs to the document it ends.
        const int64_t token = share.batch.tokens[i + 1];
        const int64_t document = token == 2 ? share.batch.tokens[i] - 8 : token - 8;
        const float want = set ? 3.0f : document % 2 == 0 ? 1.0f : 0.5f;
        EXPECT_EQ(share.batch.weights[i], want) << slot << " " << i;
        sum += want;
      }
      EXPECT_EQ(share.weight_sum, sum);
      mixed += share.batch.weights.front() != share.batch.weights.back();
    }
    EXPECT_EQ(mixed > 0, !set) << "samples that span documents of different weights";
  }
}

TEST_F(ShardDataTest, UnknownLabelIsRefused) {
  WriteSource("text", 40, 0);
  RunSpec spec = Spec({"text"});
  spec.label_weights = {{"good", 2.0}};
  EXPECT_THAT(OpenShardData(&env_, spec).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label 'good'")));
}

TEST_F(ShardDataTest, TheWeightsOfAStageHoldFromItsFirstStepOn) {
  WriteSource("a", 40, 0);
  WriteSource("b", 40, 0);
  RunSpec spec = Spec({"a", "b"});
  spec.stages = {{.from = 10, .weights = {{"b", 1.0}}}};
  ASSERT_OK_AND_ASSIGN(auto decaying, OpenShardData(&env_, spec));
  RunSpec only_b = Spec({"b"});
  ASSERT_OK_AND_ASSIGN(auto b, OpenShardData(&env_, only_b));
  std::set<std::vector<int64_t>> samples_of_b;
  for (int64_t slot = 0; slot < 49; ++slot) {
    ASSERT_OK_AND_ASSIGN(const auto share, b->Read(slot, 1, 0, 1));
    samples_of_b.insert(share.batch.tokens);
  }
  for (int64_t slot = 60; slot < 90; ++slot) {  // step 10 on
    ASSERT_OK_AND_ASSIGN(const auto share, decaying->Read(slot, 1, 0, 1));
    EXPECT_EQ(samples_of_b.count(share.batch.tokens), 1u);
  }
}

TEST_F(ShardDataTest, WindowsOfAllRanksPredictEveryHeldOutTokenButTheFirstOnce) {
  WriteSource("text", 10, 7);  // 70 held-out tokens
  ASSERT_OK_AND_ASSIGN(auto data, OpenShardData(&env_, Spec({"text"})));
  ASSERT_EQ(data->held_out().size(), 1u);
  EXPECT_EQ(data->held_out()[0].source, "text");
  EXPECT_EQ(data->held_out()[0].raw_bytes, 63);
  const std::vector<std::vector<WindowShare>> divisions = {{{}},
                                                           {{0, 1, 2}, {1, 1, 2}},
                                                           {{0, 1, 3}, {1, 1, 3}, {2, 1, 3}},
                                                           {{0, 1, 8}, {1, 0, 8}, {1, 7, 8}}};
  for (const auto& ranks : divisions) {
    const size_t world = ranks.size();
    size_t predicted = 0, windows = 0;
    for (const WindowShare& share : ranks) {
      absl::Status failure;
      const auto next = data->Windows(0, share, &failure);
      for (std::vector<int64_t> window; next(&window); ++windows) predicted += window.size() - 1;
      EXPECT_OK(failure);
    }
    EXPECT_EQ(predicted, 69u) << world;
    EXPECT_EQ(windows, 9u) << world;
  }
}

TEST_F(ShardDataTest, SourceWithoutHeldOutDocumentsIsNotEvaluated) {
  WriteSource("text", 10, 0);
  ASSERT_OK_AND_ASSIGN(auto data, OpenShardData(&env_, Spec({"text"})));
  EXPECT_TRUE(data->held_out().empty());
}

TEST_F(ShardDataTest, SaysWhatIsWrong) {
  EXPECT_THAT(OpenShardData(&env_, Spec({"nothing"})).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/shards/nothing")));
  WriteSource("a", 10, 0);
  WriteSource("b", 10, 0, 'b');
  EXPECT_THAT(OpenShardData(&env_, Spec({"a", "b"})).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
  RunSpec longer = Spec({"a"});
  longer.sequence_length = 100;
  EXPECT_THAT(OpenShardData(&env_, longer).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("needs 101")));
  RunSpec smaller = Spec({"a"});
  smaller.model.vocab = 10;
  ASSERT_OK_AND_ASSIGN(auto data, OpenShardData(&env_, smaller));
  EXPECT_THAT(data->Read(0, 6, 0, 6).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("vocabulary is 10")));
}

}  // namespace
}  // namespace tritter
