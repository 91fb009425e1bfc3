#include "worker/text_samples.h"

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/tokenizer.h"
#include "nlohmann/json.hpp"
#include "worker/testing/fake_epoch_parts.h"

namespace tritter {
namespace {

class TextSamplesTest : public testing::Test {
 protected:
  void SetUp() override {
    spec_.model.vocab = kByteVocabulary;
    spec_.model.context = 16;
    spec_.sample_prompts = {"ab", "x"};
    spec_.sample_tokens = 6;
    spec_.seed = 3;
    collective_ = SingleProcessCollective();
    ASSERT_OK_AND_ASSIGN(trainer_, parts_.CreateTrainer(spec_, collective_.get()));
    ASSERT_OK(trainer_->InitialiseFresh());
  }

  FakeEpochParts parts_;
  RunSpec spec_;
  std::unique_ptr<Collective> collective_;
  std::unique_ptr<Trainer> trainer_;
  Cancellation cancellation_;
};

TEST_F(TextSamplesTest, ContinuesEachPromptByTheLikeliestAndByDrawnTokens) {
  ASSERT_OK_AND_ASSIGN(const auto samples, SampleTexts(trainer_.get(), spec_, cancellation_));
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].prompt, "ab");
  EXPECT_EQ(samples[0].likeliest, "cdefgh");  // the fake's likeliest token is the next byte
  EXPECT_EQ(samples[1].likeliest, "yz{|}~");
  EXPECT_NE(samples[0].drawn, samples[0].likeliest);
  ASSERT_OK_AND_ASSIGN(const auto again, SampleTexts(trainer_.get(), spec_, cancellation_));
  EXPECT_EQ(again[0].drawn, samples[0].drawn);
  spec_.seed = 4;
  ASSERT_OK_AND_ASSIGN(const auto other, SampleTexts(trainer_.get(), spec_, cancellation_));
  EXPECT_NE(other[0].drawn, samples[0].drawn);
  EXPECT_EQ(other[0].likeliest, samples[0].likeliest);
}

TEST_F(TextSamplesTest, EndsAtTheContextAndAtEos) {
  spec_.sample_tokens = 1000;
  ASSERT_OK_AND_ASSIGN(const auto samples, SampleTexts(trainer_.get(), spec_, cancellation_));
  EXPECT_EQ(samples[0].likeliest.size(), 15u);      // 16 inputs, and what the last of them predicts
  spec_.sample_prompts = {std::string("\xff", 1)};  // id 263; after it 0, 1, then eos
  ASSERT_OK_AND_ASSIGN(const auto ended, SampleTexts(trainer_.get(), spec_, cancellation_));
  EXPECT_EQ(ended[0].likeliest, "");
}

TEST_F(TextSamplesTest, EndWithTheEpoch) {
  spec_.sample_tokens = 1000;
  cancellation_.Cancel(absl::CancelledError("worker-b was lost"));
  EXPECT_THAT(SampleTexts(trainer_.get(), spec_, cancellation_),
              StatusIs(absl::StatusCode::kAborted, testing::HasSubstr("worker-b was lost")));
}

TEST_F(TextSamplesTest, StandInTheRunsFolderAsJson) {
  MemoryEnv env;
  EXPECT_THAT(WriteSamples(&env, "/run", 250, {}),
              StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("was the run deleted")));
  EXPECT_FALSE(env.Exists("/run")) << "of a deleted run nothing is made anew";
  ASSERT_OK(env.CreateDirs("/run"));
  ASSERT_OK(WriteSamples(&env, "/run", 250, {{"The ", "a\xff", "b\n"}}));
  ASSERT_OK_AND_ASSIGN(const std::string text, env.ReadFile("/run/samples/step-00000250.json"));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["step"], 250);
  EXPECT_EQ(json["samples"][0]["prompt"], "The ");
  EXPECT_EQ(json["samples"][0]["likeliest"],
            "a\xef\xbf\xbd");  // bytes that are no text are shown as such
  EXPECT_EQ(json["samples"][0]["drawn"], "b\n");
}

}  // namespace
}  // namespace tritter
