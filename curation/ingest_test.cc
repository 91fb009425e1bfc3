#include "curation/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "curation/shard_reader.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

void Put(Env* env, const std::string& path, absl::string_view text) {
  ASSERT_OK(env->CreateDirs(Dirname(path)));
  ASSERT_OK(WriteFileAtomically(env, path, text));
}

// Documents of a split, each with the text between its eos tokens.
std::vector<std::string> Documents(Env* env, const std::string& folder, Split split) {
  std::vector<std::string> out;
  auto source = TokenSource::Open(env, folder, split, ByteTokenizer().hash(), true);
  EXPECT_OK(source);
  if (!source.ok()) return out;
  std::vector<int64_t> ids((*source)->tokens());
  EXPECT_OK((*source)->Read(0, absl::MakeSpan(ids)));
  std::string text;
  for (const int64_t id : ids) {
    if (id == kEosId) {
      out.push_back(std::move(text));
      text.clear();
    } else {
      text.push_back(static_cast<char>(id - kFirstByteId));
    }
  }
  EXPECT_THAT(text, IsEmpty()) << "the last document has no eos";
  return out;
}

TEST(Ingest, EveryDocumentGoesToTheSplitItsHashSays) {
  MemoryEnv env;
  std::string text;
  std::vector<std::string> train, heldout, all;
  for (int i = 0; i < 500; ++i) {
    const std::string document = absl::StrCat("line ", i, "\nsecond");
    (DigestMod(Sha256(document), 1000) < 300 ? heldout : train).push_back(document);
    absl::StrAppend(&text, document, i % 2 == 0 ? "\n\n" : "\n\n\n");
  }
  Put(&env, "/in.txt", text);
  IngestOptions options;
  options.heldout_per_mille = 300;
  options.shard_tokens = 1000;
  options.max_document_bytes = 100;
  ASSERT_OK_AND_ASSIGN(const IngestReport report, Ingest(&env, "/in.txt", "/out/corpus", options));
  EXPECT_EQ(report.documents_seen, 500u);
  EXPECT_EQ(report.manifest.source, "corpus");
  EXPECT_GT(report.manifest.train.shards.size(), 1u);
  EXPECT_EQ(report.manifest.inputs.at(0).sha256, Sha256Hex(text));
  EXPECT_EQ(Documents(&env, "/out/corpus", Split::kTrain), train);
  EXPECT_EQ(Documents(&env, "/out/corpus", Split::kHeldOut), heldout);
}

TEST(Ingest, HeldOutTextIsExactlyWhatRawBytesCounts) {
  MemoryEnv env;
  Put(&env, "/in.txt", "a b\n\n\nc\nd\n\ne\n");
  IngestOptions options;
  options.heldout_per_mille = 1000;
  options.heldout_text = "/heldout.txt";
  ASSERT_OK_AND_ASSIGN(const IngestReport report, Ingest(&env, "/in.txt", "/out", options));
  ASSERT_OK_AND_ASSIGN(const std::string text, env.ReadFile("/heldout.txt"));
  EXPECT_EQ(text, "a b\n\nc\nd\n\ne\n\n");
  EXPECT_EQ(report.manifest.heldout.raw_bytes, text.size());
  EXPECT_EQ(report.manifest.heldout.tokens, 3u + 3u + 1u + 3u) << "texts and one eos each";
  EXPECT_EQ(report.manifest.train.documents, 0u);
}

TEST(Ingest, AFolderIsReadWholeADocumentPerFile) {
  MemoryEnv env;
  Put(&env, "/in/b.txt", "two\n\nstill two\n");
  Put(&env, "/in/a.txt", "one");
  Put(&env, "/in/sub/c.txt", "three");
  Put(&env, "/in/.hidden", "no");
  IngestOptions options;
  options.split_by = SplitBy::kFile;
  options.heldout_per_mille = 0;
  ASSERT_OK_AND_ASSIGN(const IngestReport report, Ingest(&env, "/in", "/out", options));
  EXPECT_EQ(Documents(&env, "/out", Split::kTrain),
            (std::vector<std::string>{"one", "two\n\nstill two\n", "three"}));
  EXPECT_EQ(report.manifest.train.raw_bytes, 3u + 15u + 5u);
}

TEST(Ingest, BadDocumentsAreCountedListedAndLeftOut) {
  MemoryEnv env;
  std::string text = "fine\n\nbroken \xff\n\n" + std::string("nul \0 byte", 10) + "\n\n" +
                     std::string(50, 'x') + "\n\n";
  for (int i = 0; i < 40; ++i) absl::StrAppend(&text, "good ", i, "\n\n");
  Put(&env, "/in.txt", text);
  IngestOptions options;
  options.heldout_per_mille = 0;
  options.max_document_bytes = 40;
  ASSERT_OK_AND_ASSIGN(const IngestReport report, Ingest(&env, "/in.txt", "/out", options));
  EXPECT_EQ(report.manifest.train.documents, 41u);
  EXPECT_EQ(report.manifest.rejected, (std::map<std::string, uint64_t>{
                                          {"invalid_utf8", 1}, {"nul_byte", 1}, {"too_long", 1}}));
  ASSERT_OK_AND_ASSIGN(const std::string rejects, env.ReadFile(report.rejects_file));
  EXPECT_THAT(rejects, HasSubstr(R"({"file":"/in.txt","line":3,"reason":"invalid_utf8")"));
  EXPECT_THAT(rejects,
              HasSubstr(R"("line":7,"reason":"too_long","message":"50 bytes, limit 40"})"));
}

// Of each document of the training split, in order.
std::vector<float> WeightsOfDocuments(Env* env, const std::string& folder) {
  std::vector<float> out;
  auto source = TokenSource::Open(env, folder, Split::kTrain, "");
  EXPECT_OK(source);
  std::vector<int64_t> ids((*source)->tokens());
  std::vector<float> weights(ids.size());
  EXPECT_OK((*source)->Read(0, absl::MakeSpan(ids)));
  EXPECT_OK((*source)->ReadWeights(0, {}, absl::MakeSpan(weights)));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == kEosId) out.push_back(weights[i]);
  }
  return out;
}

TEST(Ingest, JsonLinesCarryTextAndLabel) {
  MemoryEnv env;
  Put(&env, "/in/a.jsonl",
      "{\"text\": \"plain\", \"id\": 1}\n"
      "{\"label\": \"negative\", \"text\": \"two\\n\\nparagraphs \\u00e4\"}\n"
      "\n"
      "{\"text\": \"\"}\r\n"
      "{\"text\": \"lesson\", \"label\": \"educational\"}\n"
      "{\"text\": \"good\", \"label\": \"positive\"}\n"
      "{\"text\": 7}\n"
      "{\"text\": \"x\", \"label\": \"rejected\"}\n"
      "[\"text\"]\n"
      "{\"text\": \"cut off");
  IngestOptions options;
  options.heldout_per_mille = 0;
  options.max_reject_ratio = 0.5;
  options.split_by = SplitBy::kJsonLine;
  options.label = DocumentLabel::kNegative;
  ASSERT_OK_AND_ASSIGN(const IngestReport report, Ingest(&env, "/in", "/out", options));
  EXPECT_EQ(Documents(&env, "/out", Split::kTrain),
            (std::vector<std::string>{"plain", "two\n\nparagraphs \xc3\xa4", "lesson", "good"}));
  EXPECT_EQ(WeightsOfDocuments(&env, "/out"), (std::vector<float>{0.3f, 0.3f, 1.2f, 1.0f}));
  EXPECT_EQ(report.documents_seen, 8u);
  EXPECT_EQ(report.manifest.train.raw_bytes, 5u + 18u + 6u + 4u);
  EXPECT_EQ(
      report.manifest.rejected,
      (std::map<std::string, uint64_t>{{"invalid_json", 2}, {"no_text", 1}, {"unknown_label", 1}}));
  ASSERT_OK_AND_ASSIGN(const std::string rejects, env.ReadFile("/out/rejects.jsonl"));
  EXPECT_THAT(rejects, AllOf(HasSubstr("\"line\":7,\"reason\":\"no_text\""),
                             HasSubstr("educational, actual \\\"rejected\\\"")));
}

TEST(Ingest, AWholeInputMayHaveOneLabel) {
  MemoryEnv env;
  Put(&env, "/in.txt", "one\n\ntwo");
  IngestOptions options;
  options.heldout_per_mille = 0;
  ASSERT_OK(Ingest(&env, "/in.txt", "/plain", options));
  EXPECT_EQ(WeightsOfDocuments(&env, "/plain"), (std::vector<float>{1.0f, 1.0f}));
  options.label = DocumentLabel::kEducational;
  ASSERT_OK(Ingest(&env, "/in.txt", "/lesson", options));
  EXPECT_EQ(WeightsOfDocuments(&env, "/lesson"), (std::vector<float>{1.2f, 1.2f}));
}

TEST(Ingest, TooManyBadDocumentsEndItAndLeaveNoDataSet) {
  MemoryEnv env;
  Put(&env, "/in.txt", "fine\n\n\xff\n\n\xfe\n");
  EXPECT_THAT(Ingest(&env, "/in.txt", "/out", IngestOptions()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 of 3 documents")));
  EXPECT_TRUE(env.Exists("/out/rejects.jsonl"));
  EXPECT_THAT(TokenSource::Open(&env, "/out", Split::kTrain, ""),
              StatusIs(absl::StatusCode::kNotFound));
}

// Whatever ends a pass, the data set and the held-out text that stood there stay.
TEST(Ingest, AFailedPassLeavesTheEarlierDataSetAlone) {
  MemoryEnv env;
  Put(&env, "/good.txt", "one\n\ntwo");
  Put(&env, "/bad.txt", "fine\n\n\xff\n\n\xfe\n");
  IngestOptions options;
  options.heldout_text = "/heldout.txt";
  ASSERT_OK(Ingest(&env, "/good.txt", "/out", options));
  const std::vector<std::string> train = Documents(&env, "/out", Split::kTrain);
  const auto names = env.ListDir("/"), shards = env.ListDir("/out");
  const std::string heldout = *env.ReadFile("/heldout.txt");
  options.heldout_per_mille = 1000;
  EXPECT_FALSE(Ingest(&env, "/nowhere", "/out", options).ok());
  options.max_reject_ratio = 0;
  EXPECT_FALSE(Ingest(&env, "/bad.txt", "/out", options).ok());
  EXPECT_TRUE(env.Exists("/out/rejects.jsonl"));
  ASSERT_OK(env.RemoveFile("/out/rejects.jsonl"));
  EXPECT_EQ(Documents(&env, "/out", Split::kTrain), train);
  EXPECT_EQ(*env.ReadFile("/heldout.txt"), heldout);
  EXPECT_EQ(*env.ListDir("/out"), *shards);
  EXPECT_EQ(*env.ListDir("/"), *names);
}

TEST(Ingest, OutputsAmongTheInputsAreRefused) {
  MemoryEnv env;
  Put(&env, "/in/a.txt", "one");
  const auto refused = [&](const std::string& input, const std::string& out,
                           const std::string& heldout_text) {
    IngestOptions options;
    options.heldout_text = heldout_text;
    EXPECT_THAT(Ingest(&env, input, out, options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("choose another")))
        << input << " " << out << " " << heldout_text;
  };
  refused("/in", "/in", "");
  refused("/in", "/in/shards", "");
  refused("/in/", "/x/../in/shards/", "");
  refused("/in", "/out", "/in/heldout.txt");
  refused("/in/a.txt", "/out", "/in/a.txt");
  refused("/in/a.txt", "/out", "/in/../in/./a.txt");
  refused("/in/a.txt", "/out", "/out/manifest.json");
  Put(&env, "/out/rejects.jsonl", "a text");
  refused("/out/rejects.jsonl", "/out", "");
  EXPECT_EQ(*env.ReadFile("/in/a.txt"), "one");
  EXPECT_OK(Ingest(&env, "/in", "/in-shards", IngestOptions())) << "beside it";
  EXPECT_OK(Ingest(&env, "/in/a.txt", "/in", IngestOptions())) << "beside the one file";
}

TEST(Ingest, AStrangersListOfRejectsIsNotReplaced) {
  MemoryEnv env;
  Put(&env, "/in.txt", "one");
  Put(&env, "/out/rejects.jsonl", "{\"customer\": 5}\n");
  EXPECT_THAT(Ingest(&env, "/in.txt", "/out", IngestOptions()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("move it away")));
  EXPECT_TRUE(env.Exists("/out/rejects.jsonl"));
  ASSERT_OK(env.RemoveFile("/out/rejects.jsonl"));
  Put(&env, "/bad.txt", "\xff\n");
  EXPECT_FALSE(Ingest(&env, "/bad.txt", "/out", IngestOptions()).ok());
  EXPECT_TRUE(env.Exists("/out/rejects.jsonl"));
  ASSERT_OK(Ingest(&env, "/in.txt", "/out", IngestOptions()));
  EXPECT_FALSE(env.Exists("/out/rejects.jsonl")) << "of an earlier pass";
}

TEST(Ingest, ADiskThatIsTooSmallIsSaidBeforeAnythingIsWritten) {
  MemoryEnv env;
  Put(&env, "/in.txt", std::string(1000, 'x'));
  env.SetCapacity(2500);
  EXPECT_THAT(Ingest(&env, "/in.txt", "/out", IngestOptions()),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("expected about 2000"), HasSubstr("actual 1500"),
                             HasSubstr("free some space"))));
}

TEST(Ingest, AnErrorOfTheOutputDoesNotNameTheInput) {
  MemoryEnv env;
  Put(&env, "/in.txt", "one");
  IngestOptions options;
  options.heldout_per_mille = 1000;
  options.heldout_text = "/no/folder/heldout.txt";
  const absl::Status status = Ingest(&env, "/in.txt", "/out", options).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/folder")));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, Not(HasSubstr("/in.txt"))));
}

TEST(Ingest, NothingToReadIsSaid) {
  MemoryEnv env;
  EXPECT_THAT(Ingest(&env, "/nowhere", "/out", IngestOptions()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere")));
  Put(&env, "/empty.txt", "\n\n");
  EXPECT_THAT(Ingest(&env, "/empty.txt", "/out", IngestOptions()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no document")));
  ASSERT_OK(env.CreateDirs("/bare"));
  EXPECT_THAT(Ingest(&env, "/bare", "/out", IngestOptions()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no files")));
}

TEST(Ingest, RefusesOptionsThatMakeNoSense) {
  MemoryEnv env;
  Put(&env, "/in.txt", "a");
  IngestOptions options;
  options.heldout_per_mille = 1001;
  EXPECT_THAT(Ingest(&env, "/in.txt", "/out", options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1001")));
  options = IngestOptions();
  options.shard_tokens = options.max_document_bytes;
  EXPECT_THAT(Ingest(&env, "/in.txt", "/out", options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_document_bytes")));
}

TEST(Ingest, ProgressReachesTheWholeInput) {
  MemoryEnv env;
  Put(&env, "/in/a.txt", "one\n\ntwo");
  Put(&env, "/in/b.txt", "three");
  uint64_t last_done = 0, last_total = 0;
  IngestOptions options;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last_done);
    last_done = done;
    last_total = total;
  };
  ASSERT_OK(Ingest(&env, "/in", "/out", options));
  EXPECT_EQ(last_done, 13u);
  EXPECT_EQ(last_total, 13u);
}

// The shipped text: what the quick start trains on. The figures fix the convention of
// docs/formats/shard.md.
TEST(Ingest, TheShippedTextSplitsAsDocumented) {
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       Env::Real()->ReadFile("examples/shakespeare/input.txt"));
  MemoryEnv env;
  Put(&env, "/input.txt", text);
  IngestOptions options;
  options.heldout_text = "/heldout.txt";
  ASSERT_OK_AND_ASSIGN(const IngestReport report, Ingest(&env, "/input.txt", "/out", options));
  EXPECT_EQ(report.documents_seen, 7222u);
  EXPECT_EQ(report.manifest.heldout.documents, 751u);
  EXPECT_EQ(report.manifest.heldout.raw_bytes, 113687u);
  EXPECT_EQ(report.manifest.heldout.tokens, 113687u - 751u);
  EXPECT_EQ(report.manifest.train.documents, 7222u - 751u);
  ASSERT_OK_AND_ASSIGN(const std::string heldout, env.ReadFile("/heldout.txt"));
  EXPECT_EQ(heldout.size(), 113687u);
}

}  // namespace
}  // namespace tritter
