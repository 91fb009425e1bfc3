#include "model/checkpoint_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "common/random.h"
#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

CheckpointManifest Example() {
  CheckpointManifest m;
  m.run_id = "r-1";
  m.step = 200;
  m.epoch = 18446744073709551615u;
  m.attempt = "a1";
  m.spec_hash = Sha256Hex("spec");
  m.spec_yaml = "name: \"x\"\nmodel: {}\n";
  m.code_version = "1.0";
  m.next_slot = 3200;
  m.files = {{"share-0-of-2.safetensors", 5, Sha256Hex("share")},
             {"share-1-of-2.safetensors", 6, Sha256Hex("share1")}};
  return m;
}

TEST(CheckpointManifest, FolderNamesSortByStep) {
  EXPECT_EQ(CheckpointFolderName(200), "step-00000200");
  EXPECT_EQ(AttemptFolderName(200, "a1"), "step-00000200.tmp-a1");
  EXPECT_EQ(CheckpointFolderName(1234567890), "step-1234567890");
}

TEST(CheckpointManifest, RoundTripsAndSortsItsFiles) {
  CheckpointManifest m = Example();
  std::swap(m.files[0], m.files[1]);
  const std::string text = ManifestToJson(m);
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest again, ManifestFromJson(text, "m"));
  EXPECT_EQ(ManifestToJson(again), text);
  EXPECT_EQ(again.epoch, 18446744073709551615u);
  EXPECT_EQ(again.next_slot, 3200);
  EXPECT_EQ(again.spec_yaml, m.spec_yaml);
  ASSERT_EQ(again.files.size(), 2u);
  EXPECT_EQ(again.files[0].name, "share-0-of-2.safetensors");
}

TEST(ManifestFromJson, RefusesWhatItCannotTrust) {
  const std::string good = ManifestToJson(Example());
  struct Case {
    std::string from, to, message;
  };
  const std::vector<Case> kCases = {
      {"\"format\": 1", "\"format\": 2", "`format`: is 2, expected 1"},
      {"\"step\": 200", "\"step\": -1", "`step`: expected a whole number from 0"},
      {"\"step\": 200", "\"step\": \"200\"", "`step`: expected a whole number from 0, got string"},
      {"\"step\": 200", "\"step\": 9223372036854775808", "is too large"},
      {"\"step\": 200,", "", "`step`: is missing"},
      {"\"step\": 200,", "\"step\": 200, \"more\": 1,", "`more`: unknown key"},
      {"\"run_id\": \"r-1\"", "\"run_id\": 1", "`run_id`: expected a string"},
      {"share-0-of-2.safetensors", "../share", "expected a plain file name"},
      {"share-0-of-2.safetensors", "", "expected a plain file name"},
      {"share-0-of-2.safetensors", "z", "not sorted by name"},
      {"share-0-of-2.safetensors", "share-1-of-2.safetensors", "listed twice"},
      {Sha256Hex("share"), "abc", "sha256 is not 64"},
      {"\"bytes\": 5", "\"bytes\": 5.5", "files[0]: `bytes`: expected a whole number"},
      {"\"files\": [", "\"files\": [1,", "files[0]: expected an object"},
      {"{\n  \"format\"", "[{\n  \"format\"", "not JSON"},
  };
  for (const Case& c : kCases) {
    const std::string text = absl::StrReplaceAll(good, {{c.from, c.to}});
    ASSERT_NE(text, good) << c.from;
    EXPECT_THAT(ManifestFromJson(text, "m"),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(c.message)))
        << c.to;
  }
  for (size_t n = 0; n + 2 < good.size(); n += 7) {
    EXPECT_THAT(ManifestFromJson(good.substr(0, n), "m"),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not JSON")));
  }
  EXPECT_THAT(ManifestFromJson("[]", "m"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("expected an object")));
}

TEST(ManifestFromJson, AnyMutationGivesAStatus) {
  const std::string good = ManifestToJson(Example());
  Philox random(5);
  for (int i = 0; i < 5000; ++i) {
    std::string text = good;
    const size_t at = random.Below(text.size());
    if (random.Below(2) == 0) {
      text[at] = static_cast<char>(random.Below(256));
    } else {
      text.erase(at, 1 + random.Below(5));
    }
    const absl::StatusOr<CheckpointManifest> m = ManifestFromJson(text, "m");
    if (!m.ok()) EXPECT_EQ(m.status().code(), absl::StatusCode::kDataLoss);
  }
}

class VerifyCheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EXPECT_OK(env_.CreateDirs("/c"));
    EXPECT_OK(WriteFileAtomically(&env_, "/c/share-0-of-2.safetensors", "share"));
    EXPECT_OK(WriteFileAtomically(&env_, "/c/share-1-of-2.safetensors", "share1"));
    EXPECT_OK(WriteFileAtomically(&env_, "/c/manifest.json", ManifestToJson(Example())));
  }
  MemoryEnv env_;
};

TEST_F(VerifyCheckpointTest, AWholeCheckpointIsTrusted) {
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest m, ReadManifest(&env_, "/c"));
  EXPECT_OK(VerifyCheckpoint(&env_, "/c", m, true));
}

TEST_F(VerifyCheckpointTest, NamesTheFileThatDiffers) {
  ASSERT_OK_AND_ASSIGN(const CheckpointManifest m, ReadManifest(&env_, "/c"));
  ASSERT_OK(WriteFileAtomically(&env_, "/c/share-1-of-2.safetensors", "sharE1"));
  EXPECT_OK(VerifyCheckpoint(&env_, "/c", m, false));
  EXPECT_THAT(
      VerifyCheckpoint(&env_, "/c", m, true),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("/c/share-1-of-2.safetensors: SHA-256 is")));
  ASSERT_OK(WriteFileAtomically(&env_, "/c/share-1-of-2.safetensors", "share"));
  EXPECT_THAT(VerifyCheckpoint(&env_, "/c", m, false),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("share-1-of-2.safetensors: has 5 bytes, expected 6")));
  ASSERT_OK(env_.RemoveFile("/c/share-1-of-2.safetensors"));
  EXPECT_THAT(VerifyCheckpoint(&env_, "/c", m, false),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is missing, expected 6 bytes")));
}

TEST_F(VerifyCheckpointTest, AFolderWithoutManifestIsNotFound) {
  ASSERT_OK(env_.RemoveFile("/c/manifest.json"));
  EXPECT_THAT(ReadManifest(&env_, "/c"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("manifest.json")));
}

}  // namespace
}  // namespace tritter
