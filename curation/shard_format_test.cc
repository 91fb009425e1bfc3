#include "curation/shard_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

ShardHeader Example() {
  ShardHeader h;
  h.token_width = 2;
  h.vocabulary = 264;
  h.tokens = 5;
  h.documents = 2;
  h.raw_bytes = 7;
  for (size_t i = 0; i < h.tokenizer_hash.size(); ++i)
    h.tokenizer_hash[i] = static_cast<uint8_t>(3 * i);
  return h;
}

std::string ExampleFile() {
  std::string file = EncodeShardHeader(Example());
  file.resize(Example().file_bytes(), '\0');
  return file;
}

absl::StatusOr<ShardHeader> Decode(const std::string& file) {
  return DecodeShardHeader(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(file.data()), file.size()), "a.shard");
}

TEST(ShardFormat, HeaderRoundTrips) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader h, Decode(ExampleFile()));
  EXPECT_EQ(h.token_width, 2u);
  EXPECT_EQ(h.vocabulary, 264u);
  EXPECT_EQ(h.tokens, 5u);
  EXPECT_EQ(h.documents, 2u);
  EXPECT_EQ(h.raw_bytes, 7u);
  EXPECT_EQ(h.tokenizer_hash, Example().tokenizer_hash);
}

TEST(ShardFormat, FieldsLieWhereTheDocumentSays) {
  const std::string file = ExampleFile();
  const auto* p = reinterpret_cast<const uint8_t*>(file.data());
  EXPECT_EQ(file.substr(0, 8), "TRITSHRD");
  EXPECT_EQ(LoadLittle32(p + 8), 1u);
  EXPECT_EQ(LoadLittle32(p + 12), 128u);
  EXPECT_EQ(LoadLittle64(p + 24), 5u);
  EXPECT_EQ(LoadLittle64(p + 48), 144u);  // 128 + 10, up to a multiple of 8
  EXPECT_EQ(LoadLittle64(p + 56), 168u);  // three document offsets
  EXPECT_EQ(LoadLittle64(p + 64), 184u);  // two records
  EXPECT_EQ(p[72 + 1], 3);
}

TEST(ShardFormat, RefusesAFlippedBitAnywhereInTheHeader) {
  for (size_t bit = 0; bit < kShardHeaderBytes * 8; ++bit) {
    std::string file = ExampleFile();
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_THAT(Decode(file).status(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a.shard: offset")))
        << "bit " << bit;
  }
}

TEST(ShardFormat, RefusesEveryOtherLength) {
  const std::string file = ExampleFile();
  for (size_t n = 0; n < file.size(); ++n) {
    EXPECT_THAT(Decode(file.substr(0, n)).status(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("expected")))
        << n;
  }
  EXPECT_THAT(
      Decode(file + "x").status(),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("file size: expected 184, actual 185")));
}

TEST(ShardFormat, CountsThatWouldOverflowAreRefusedBeforeTheyAreUsed) {
  ShardHeader h = Example();
  h.tokens = ~uint64_t{0} / 2;
  std::string file = EncodeShardHeader(h);  // a correct checksum over impossible counts
  file.resize(184, '\0');
  EXPECT_THAT(Decode(file).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("token count")));
  h = Example();
  h.documents = ~uint64_t{0};
  file = EncodeShardHeader(h);
  file.resize(184, '\0');
  EXPECT_THAT(Decode(file).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("document count")));
}

TEST(ShardFormat, WidthFollowsTheVocabulary) {
  EXPECT_EQ(TokenWidthFor(264), 2u);
  EXPECT_EQ(TokenWidthFor(65536), 2u);
  EXPECT_EQ(TokenWidthFor(65537), 4u);
}

}  // namespace
}  // namespace tritter
