#include "curation/shard_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

ShardWriterOptions Options(uint64_t shard_tokens) {
  ShardWriterOptions o;
  o.source = "s";
  o.tokenizer_hash = std::string(64, 'a');
  o.vocabulary = 264;
  o.shard_tokens = shard_tokens;
  o.options = {{"split_by", "blank-line"}};
  return o;
}

// `documents` documents of `length` equal ids; every third one is held out.
absl::Status Write(Env* env, const std::string& folder, int documents, int length,
                   uint64_t shard_tokens) {
  ASSIGN_OR_RETURN(const auto writer, ShardWriter::Create(env, folder, Options(shard_tokens)));
  for (int d = 0; d < documents; ++d) {
    std::vector<int32_t> ids(length, 8 + d % 200);
    ids.back() = 2;
    RETURN_IF_ERROR(
        writer->Add(d % 3 == 2 ? Split::kHeldOut : Split::kTrain,
                    {ids, static_cast<uint64_t>(length), DocumentLabel::kPositive, 1.0f}));
  }
  return writer->Finish({{"in.txt", 10, std::string(64, 'b')}}, {{"too_long", 1}}).status();
}

TEST(ShardWriter, ManifestTellsWhatIsThere) {
  MemoryEnv env;
  ASSERT_OK(Write(&env, "/d", 9, 4, 10));
  ASSERT_OK_AND_ASSIGN(const ShardManifest m, ReadShardManifest(&env, "/d"));
  EXPECT_EQ(m.source, "s");
  EXPECT_EQ(m.train.tokens, 24u);
  EXPECT_EQ(m.train.documents, 6u);
  EXPECT_EQ(m.train.raw_bytes, 24u);
  EXPECT_THAT(m.train.shards, SizeIs(3)) << "two documents of four tokens fit the limit of ten";
  EXPECT_EQ(m.heldout.tokens, 12u);
  EXPECT_THAT(m.heldout.shards, SizeIs(2));
  EXPECT_EQ(m.options_hash, HashOptions({{"split_by", "blank-line"}}));
  EXPECT_EQ(m.inputs.at(0).path, "in.txt");
  EXPECT_EQ(m.rejected.at("too_long"), 1u);
  ASSERT_OK_AND_ASSIGN(const auto names, env.ListDir("/d"));
  EXPECT_THAT(names, ElementsAre("heldout-00000.shard", "heldout-00001.shard", "manifest.json",
                                 "train-00000.shard", "train-00001.shard", "train-00002.shard"));
}

TEST(ShardWriter, SameDocumentsSameBytes) {
  MemoryEnv env;
  ASSERT_OK(Write(&env, "/a", 20, 5, 30));
  ASSERT_OK(Write(&env, "/b", 20, 5, 30));
  ASSERT_OK_AND_ASSIGN(const auto names, env.ListDir("/a"));
  for (const std::string& name : names) {
    ASSERT_OK_AND_ASSIGN(const std::string a, env.ReadFile("/a/" + name));
    ASSERT_OK_AND_ASSIGN(const std::string b, env.ReadFile("/b/" + name));
    EXPECT_EQ(a, b) << name;
  }
}

TEST(ShardWriter, WithoutFinishNothingIsAccepted) {
  MemoryEnv env;
  {
    ASSERT_OK_AND_ASSIGN(const auto writer, ShardWriter::Create(&env, "/d", Options(4)));
    const std::vector<int32_t> ids = {9, 9, 2};
    for (int i = 0; i < 5; ++i) ASSERT_OK(writer->Add(Split::kTrain, {ids, 2}));
  }
  ASSERT_TRUE(env.Exists("/d/train-00000.shard"));
  EXPECT_THAT(TokenSource::Open(&env, "/d", Split::kTrain, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("run it again")));
}

TEST(ShardWriter, ASecondRunClearsWhatTheFirstLeft) {
  MemoryEnv env;
  ASSERT_OK(Write(&env, "/d", 30, 4, 8));
  ASSERT_OK(Write(&env, "/d", 3, 4, 100));
  ASSERT_OK_AND_ASSIGN(const auto names, env.ListDir("/d"));
  EXPECT_THAT(names, ElementsAre("heldout-00000.shard", "manifest.json", "train-00000.shard"));
}

TEST(ShardWriter, LeavesAStrangersFolderAlone) {
  MemoryEnv env;
  ASSERT_OK(env.CreateDirs("/d"));
  ASSERT_OK(WriteFileAtomically(&env, "/d/manifest.json", "{\"name\": \"an app\"}"));
  EXPECT_THAT(ShardWriter::Create(&env, "/d", Options(8)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("choose another")));
  EXPECT_TRUE(env.Exists("/d/manifest.json"));
}

TEST(ShardWriter, RefusesBadDocuments) {
  MemoryEnv env;
  ASSERT_OK_AND_ASSIGN(const auto writer, ShardWriter::Create(&env, "/d", Options(4)));
  const std::vector<int32_t> high = {264}, negative = {-1}, five(5, 9);
  EXPECT_THAT(writer->Add(Split::kTrain, {}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(writer->Add(Split::kTrain, {high}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("actual 264")));
  EXPECT_THAT(writer->Add(Split::kTrain, {negative}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("actual -1")));
  EXPECT_THAT(writer->Add(Split::kTrain, {five}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 4")));
}

TEST(ShardWriter, AFullDiskIsSaidAndLeavesNothingAccepted) {
  MemoryEnv env;
  env.SetCapacity(300);
  EXPECT_THAT(Write(&env, "/d", 40, 40, 200), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(TokenSource::Open(&env, "/d", Split::kTrain, ""),
              StatusIs(absl::StatusCode::kNotFound));
}

// Cut at every change: afterwards the old or the new data set is there whole, or a reader says that
// there is none.
TEST(ShardWriter, ACrashAnywhereLeavesOldNewOrNothing) {
  const int cases = ForEachCrashPoint(
      [](MemoryEnv* env) { ASSERT_OK(Write(env, "/d", 6, 4, 8)); },
      [](Env* env) { return Write(env, "/d", 12, 4, 8); },
      [](MemoryEnv* env, const std::string& where) {
        for (const Split split : {Split::kTrain, Split::kHeldOut}) {
          const auto source = TokenSource::Open(env, "/d", split, "", /*verify_hashes=*/true);
          if (!source.ok()) {
            EXPECT_THAT(source,
                        StatusIs(AnyOf(absl::StatusCode::kNotFound, absl::StatusCode::kDataLoss)))
                << where;
          } else {
            const uint64_t share = split == Split::kTrain ? 16 : 8;
            EXPECT_THAT((*source)->tokens(), AnyOf(share, 2 * share)) << where;
          }
        }
        EXPECT_OK(Write(env, "/d", 12, 4, 8)) << where;  // and a new run starts clean
        EXPECT_OK(TokenSource::Open(env, "/d", Split::kTrain, "", true)) << where;
      });
  EXPECT_GT(cases, 20);
}

}  // namespace
}  // namespace tritter
