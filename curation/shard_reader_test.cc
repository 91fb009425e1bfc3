#include "curation/shard_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "curation/shard_writer.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

const std::string kHash(64, 'c');

// 100 documents of 1 to 10 tokens over several shards; `all` gets the concatenated training tokens,
// `weights` one each.
void WriteExample(Env* env, uint32_t vocabulary, std::vector<int64_t>* all,
                  std::vector<float>* weights) {
  ShardWriterOptions o;
  o.source = "s";
  o.tokenizer_hash = kHash;
  o.vocabulary = vocabulary;
  o.shard_tokens = 64;
  ASSERT_OK_AND_ASSIGN(const auto writer, ShardWriter::Create(env, "/d", o));
  for (int d = 0; d < 100; ++d) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 1 + d * 7 % 10; ++i)
      ids.push_back(static_cast<int32_t>((d * 7919 + i * 31) % vocabulary));
    const DocumentLabel label = static_cast<DocumentLabel>(d % 3);
    const float weight = 1.0f - 0.25f * static_cast<float>(d % 3);
    ASSERT_OK(writer->Add(Split::kTrain, {ids, ids.size(), label, weight}));
    for (const int32_t id : ids) {
      all->push_back(id);
      weights->push_back(weight);
    }
  }
  ASSERT_OK(writer->Finish({}, {}));
}

class ShardReaderTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override { WriteExample(&env_, GetParam(), &all_, &weights_); }
  std::string TrainShard(int index) {
    return JoinPath("/d", ReadShardManifest(&env_, "/d")->train.shards.at(index).file);
  }
  MemoryEnv env_;
  std::vector<int64_t> all_;
  std::vector<float> weights_;
};
INSTANTIATE_TEST_SUITE_P(Widths, ShardReaderTest, ::testing::Values(264, 128256));

TEST_P(ShardReaderTest, GivesBackEveryRangeAcrossShards) {
  ASSERT_OK_AND_ASSIGN(const auto source,
                       TokenSource::Open(&env_, "/d", Split::kTrain, kHash, true));
  ASSERT_EQ(source->tokens(), all_.size());
  EXPECT_EQ(source->documents(), 100u);
  EXPECT_EQ(source->raw_bytes(), all_.size());
  EXPECT_EQ(source->tokenizer_hash(), kHash);
  for (size_t first = 0; first <= all_.size(); first += 13) {
    for (size_t count = 0; first + count <= all_.size(); count += 37) {
      std::vector<int64_t> out(count, -1);
      ASSERT_OK(source->Read(first, absl::MakeSpan(out)));
      ASSERT_EQ(out, std::vector<int64_t>(all_.begin() + first, all_.begin() + first + count));
    }
  }
}

TEST_P(ShardReaderTest, EachTokenHasItsDocumentsWeight) {
  ASSERT_OK_AND_ASSIGN(const auto source, TokenSource::Open(&env_, "/d", Split::kTrain, ""));
  for (size_t first = 0; first <= all_.size(); first += 7) {
    for (size_t count = 0; first + count <= all_.size(); count += 29) {
      std::vector<float> out(count, -1);
      ASSERT_OK(source->ReadWeights(first, {}, absl::MakeSpan(out)));
      ASSERT_EQ(out,
                std::vector<float>(weights_.begin() + first, weights_.begin() + first + count));
    }
  }
}

TEST_P(ShardReaderTest, AWeightOfTheLabelTakesTheShardsPlace) {
  ASSERT_OK_AND_ASSIGN(const auto source, TokenSource::Open(&env_, "/d", Split::kTrain, ""));
  LabelWeights of_label;
  of_label[static_cast<int>(DocumentLabel::kNegative)] = 0.125f;
  std::vector<float> out(all_.size());
  ASSERT_OK(source->ReadWeights(0, of_label, absl::MakeSpan(out)));
  for (size_t i = 0; i < out.size(); ++i)  // the negative ones were written with 0.75
    ASSERT_EQ(out[i], weights_[i] == 0.75f ? 0.125f : weights_[i]) << i;
}

TEST_P(ShardReaderTest, DamagedRecordsAreDataLossWithTheirPlace) {
  const std::string path = TrainShard(0);
  ASSERT_OK_AND_ASSIGN(std::string bytes, env_.ReadFile(path));
  const uint64_t records = LoadLittle64(reinterpret_cast<const uint8_t*>(bytes.data()) + 56);
  const auto read = [&](size_t at, uint32_t value) {
    std::string damaged = bytes, field;
    AppendLittle32(&field, value);
    damaged.replace(at, 4, field);
    EXPECT_OK(WriteFileAtomically(&env_, path, damaged));
    const auto source = TokenSource::Open(&env_, "/d", Split::kTrain, "");
    EXPECT_OK(source);
    std::vector<float> out(5);
    return (*source)->ReadWeights(0, {}, absl::MakeSpan(out));
  };
  EXPECT_THAT(
      read(records + 8, 3),
      StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(absl::StrCat("offset ", records + 8)),
                                                  HasSubstr("label: expected below 3, actual 3"))));
  EXPECT_THAT(read(records + 4, 0x7fc00000),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("weight: expected more than 0")));
  EXPECT_THAT(read(records + 4, 0), StatusIs(absl::StatusCode::kDataLoss,
                                             HasSubstr("weight: expected more than 0, actual 0")));
}

TEST_P(ShardReaderTest, BeyondTheEndIsOutOfRange) {
  ASSERT_OK_AND_ASSIGN(const auto source, TokenSource::Open(&env_, "/d", Split::kTrain, ""));
  std::vector<int64_t> out(2);
  EXPECT_THAT(source->Read(all_.size() - 1, absl::MakeSpan(out)),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(source->Read(~uint64_t{0}, absl::MakeSpan(out)),
              StatusIs(absl::StatusCode::kOutOfRange));
  std::vector<float> weights(2);
  EXPECT_THAT(source->ReadWeights(all_.size() - 1, {}, absl::MakeSpan(weights)),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_P(ShardReaderTest, CountsWholeSamples) {
  ASSERT_OK_AND_ASSIGN(const auto source, TokenSource::Open(&env_, "/d", Split::kTrain, ""));
  EXPECT_EQ(source->Samples(10), (all_.size() - 1) / 10);
  EXPECT_EQ(source->Samples(static_cast<int64_t>(all_.size()) - 1), 1u);
  EXPECT_EQ(source->Samples(static_cast<int64_t>(all_.size())), 0u);
  EXPECT_EQ(source->Samples(0), 0u);
}

TEST_P(ShardReaderTest, AnEmptySplitIsASourceWithoutTokens) {
  ASSERT_OK_AND_ASSIGN(const auto source,
                       TokenSource::Open(&env_, "/d", Split::kHeldOut, "", true));
  EXPECT_EQ(source->tokens(), 0u);
  EXPECT_EQ(source->Samples(8), 0u);
}

TEST_P(ShardReaderTest, AnotherTokenizerIsRefused) {
  EXPECT_THAT(TokenSource::Open(&env_, "/d", Split::kTrain, std::string(64, 'd')),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("expected ddd"), HasSubstr("actual ccc"))));
}

TEST_P(ShardReaderTest, MissingThingsAreNotFoundAndSayWhatToDo) {
  EXPECT_THAT(TokenSource::Open(&env_, "/nowhere", Split::kTrain, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("tritterctl curate")));
  const std::string path = TrainShard(2);
  ASSERT_OK(env_.RemoveFile(path));
  EXPECT_THAT(TokenSource::Open(&env_, "/d", Split::kTrain, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(path + ": shard is missing")));
}

// Truncated to any length and flipped at any bit: with hashes always seen; without, at least in the
// header.
TEST_P(ShardReaderTest, DamageIsDataLossWithPlaceAndValues) {
  const std::string path = TrainShard(1);
  ASSERT_OK_AND_ASSIGN(const std::string good, env_.ReadFile(path));
  const auto open_with = [&](const std::string& bytes, bool hashes) {
    EXPECT_OK(WriteFileAtomically(&env_, path, bytes));
    return TokenSource::Open(&env_, "/d", Split::kTrain, "", hashes).status();
  };
  const auto data_loss =
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr(path), HasSubstr("expected"), HasSubstr("actual")));
  for (size_t n = 0; n < good.size(); n += 3)
    ASSERT_THAT(open_with(good.substr(0, n), false), data_loss) << n;
  ASSERT_THAT(open_with(good + "x", false), data_loss);
  for (size_t bit = 0; bit < good.size() * 8; bit += 5) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    if (bit < 128 * 8) ASSERT_THAT(open_with(bad, false), data_loss) << bit;
    ASSERT_THAT(open_with(bad, true), data_loss) << bit;
  }
  ASSERT_OK(open_with(good, true));
}

TEST_P(ShardReaderTest, AnIdOutsideTheVocabularyIsDataLossWhenRead) {
  const std::string path = TrainShard(0);
  ASSERT_OK_AND_ASSIGN(std::string bytes, env_.ReadFile(path));
  bytes[kShardHeaderBytes + 2 * TokenWidthFor(GetParam()) - 1] =
      '\xff';  // highest byte of the second token
  ASSERT_OK(WriteFileAtomically(&env_, path, bytes));
  ASSERT_OK_AND_ASSIGN(const auto source, TokenSource::Open(&env_, "/d", Split::kTrain, ""));
  std::vector<int64_t> out(1);
  EXPECT_OK(source->Read(0, absl::MakeSpan(out)));
  EXPECT_THAT(source->Read(1, absl::MakeSpan(out)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("token id")));
}

TEST_P(ShardReaderTest, ADamagedManifestIsNeverTrusted) {
  ASSERT_OK_AND_ASSIGN(const std::string good, env_.ReadFile("/d/manifest.json"));
  for (size_t n = 0; n + 2 < good.size(); n += 7) {
    ASSERT_OK(WriteFileAtomically(&env_, "/d/manifest.json", good.substr(0, n)));
    ASSERT_THAT(TokenSource::Open(&env_, "/d", Split::kTrain, ""),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("manifest.json")))
        << n;
  }
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"format\": 1", "\"format\": 2"},
           {"\"train-00000-", "\"../train-00000-"},
           {"\"documents\": 100", "\"documents\": 99"},
           {"\"tokens\": ", "\"tokens\": -"},
           {"\"options_hash\": \"", "\"options_hash\": \"0"},
           {"\"shards\": [", "\"shards\": 5, \"x\": ["}}) {
    std::string bad = good;
    const size_t at = bad.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bad.replace(at, from.size(), to);
    ASSERT_OK(WriteFileAtomically(&env_, "/d/manifest.json", bad));
    EXPECT_THAT(TokenSource::Open(&env_, "/d", Split::kTrain, ""),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("expected")))
        << to;
  }
}

}  // namespace
}  // namespace tritter
