#include "model/checkpoint_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "common/random.h"
#include "common/sha256.h"
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

}  // namespace
}  // namespace tritter
