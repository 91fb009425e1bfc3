#include "curation/shard_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

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
  EXPECT_THAT(names, ElementsAre(StartsWith("heldout-00000-"), StartsWith("heldout-00001-"),
                                 "manifest.json", StartsWith("train-00000-"),
                                 StartsWith("train-00001-"), StartsWith("train-00002-")));
  EXPECT_EQ(m.train.shards[0].file,
            "train-00000-" + m.train.shards[0].sha256.substr(0, 16) + ".shard");
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

TEST(ShardWriter, WithoutFinishNothingIsLeft) {
  MemoryEnv env;
  {
    ASSERT_OK_AND_ASSIGN(const auto writer, ShardWriter::Create(&env, "/d", Options(4)));
    const std::vector<int32_t> ids = {9, 9, 2};
    for (int i = 0; i < 5; ++i) ASSERT_OK(writer->Add(Split::kTrain, {ids, 2}));
    ASSERT_OK_AND_ASSIGN(const auto names, env.ListDir("/d"));
    ASSERT_THAT(names, SizeIs(4));
  }
  ASSERT_OK_AND_ASSIGN(const auto names, env.ListDir("/d"));
  EXPECT_THAT(names, SizeIs(0));
  EXPECT_THAT(TokenSource::Open(&env, "/d", Split::kTrain, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("run it again")));
}

TEST(ShardWriter, ASecondRunRemovesTheFirstOnceItIsThere) {
  MemoryEnv env;
  ASSERT_OK(Write(&env, "/d", 30, 4, 8));
  ASSERT_OK(WriteFileAtomically(&env, "/d/train-notes.shard", "a user's"));
  ASSERT_OK(Write(&env, "/d", 3, 4, 100));
  ASSERT_OK_AND_ASSIGN(const auto names, env.ListDir("/d"));
  EXPECT_THAT(names, ElementsAre(StartsWith("heldout-00000-"), "manifest.json",
                                 StartsWith("train-00000-"), "train-notes.shard"));
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

TEST(ShardWriter, AFullDiskIsSaidAndLeavesTheEarlierDataSetAlone) {
  MemoryEnv env;
  ASSERT_OK(Write(&env, "/d", 6, 4, 8));
  ASSERT_OK_AND_ASSIGN(const auto before, env.ListDir("/d"));
  ASSERT_OK_AND_ASSIGN(const uint64_t free, env.FreeBytes("/d"));
  env.SetCapacity(UINT64_MAX - free + 1000);  // room for two shards more
  EXPECT_THAT(Write(&env, "/d", 40, 40, 200), StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_OK_AND_ASSIGN(const auto source, TokenSource::Open(&env, "/d", Split::kTrain, "", true));
  EXPECT_EQ(source->tokens(), 16u);
  EXPECT_EQ(*env.ListDir("/d"), before) << "and takes no space";
}

// Cut at every change: afterwards the old or the new data set is there, whole.
TEST(ShardWriter, ACrashAnywhereLeavesOldOrNew) {
  const int cases = ForEachCrashPoint(
      [](MemoryEnv* env) { ASSERT_OK(Write(env, "/d", 6, 4, 8)); },
      [](Env* env) { return Write(env, "/d", 12, 4, 8); },
      [](MemoryEnv* env, const std::string& where) {
        SCOPED_TRACE(where);
        uint64_t tokens[2];
        for (const Split split : {Split::kTrain, Split::kHeldOut}) {
          ASSERT_OK_AND_ASSIGN(const auto source,
                               TokenSource::Open(env, "/d", split, "", /*verify_hashes=*/true));
          tokens[split == Split::kTrain ? 0 : 1] = source->tokens();
        }
        EXPECT_THAT(tokens, AnyOf(ElementsAre(16u, 8u), ElementsAre(32u, 16u)));
        EXPECT_OK(Write(env, "/d", 12, 4, 8));  // and a new run starts clean
        ASSERT_OK_AND_ASSIGN(const auto names, env->ListDir("/d"));
        EXPECT_THAT(names, SizeIs(7));
      });
  EXPECT_GT(cases, 20);
}

}  // namespace
}  // namespace tritter
