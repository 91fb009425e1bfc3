#include "tritterctl/checkpoint_check.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/folder_checkpoint_store.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

class CheckpointCheckTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto store = CheckpointsOfRun(&env_, "/runs/r-1");
    ASSERT_OK(store->Create());
    for (const int64_t step : {200, 400}) {
      CheckpointManifest m;
      m.run_id = "r-1";
      m.step = step;
      m.attempt = "e1";
      const CheckpointAttempt attempt{step, "e1"};
      ASSERT_OK(store->Begin(attempt));
      for (const char* name : {"share-0-of-2.safetensors", "share-1-of-2.safetensors"}) {
        ASSERT_OK_AND_ASSIGN(const auto file, store->Put(attempt, name));
        ASSERT_OK(file->Append("tensors"));
        ASSERT_OK(file->Sync());
        ASSERT_OK(file->Close());
        m.files.push_back({name, 7, Sha256Hex("tensors")});
      }
      ASSERT_OK_AND_ASSIGN(const auto committed, store->Commit(m));
      v1::Checkpoint c;
      c.set_step(step);
      c.set_manifest_sha256(committed->manifest_sha256());
      recorded_.push_back(c);
    }
  }
  std::string Folder(int64_t step) {
    return absl::StrCat("/runs/r-1/checkpoints/", CheckpointFolderName(step));
  }

  MemoryEnv env_;
  std::vector<v1::Checkpoint> recorded_;
};

TEST_F(CheckpointCheckTest, TellsFileByFileWhatIsWrong) {
  const CheckpointCheck whole = CheckCheckpointFolder(&env_, Folder(400));
  EXPECT_TRUE(whole.valid());
  EXPECT_THAT(CheckpointCheckText(whole),
              AllOf(HasSubstr("valid checkpoint: run r-1 step 400, 2 files"),
                    HasSubstr("  share-1-of-2.safetensors  right\n"), Not(HasSubstr("WRONG"))));
  EXPECT_EQ(CheckpointCheckJson(whole)["valid"], true);
  ASSERT_OK(WriteFileAtomically(&env_, JoinPath(Folder(400), "share-1-of-2.safetensors"), "Tens"));
  const CheckpointCheck damaged = CheckCheckpointFolder(&env_, Folder(400));
  EXPECT_FALSE(damaged.valid());
  EXPECT_THAT(CheckpointCheckText(damaged), AllOf(HasSubstr("damaged checkpoint\n"),
                                                  HasSubstr("  share-0-of-2.safetensors  right\n"),
                                                  HasSubstr("  share-1-of-2.safetensors  WRONG: "),
                                                  HasSubstr("has 4 bytes, expected 7")));
  const OrderedJson json = CheckpointCheckJson(damaged);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["files"][0]["valid"], true);
  EXPECT_EQ(json["files"][1]["valid"], false);
  EXPECT_THAT(json["files"][1]["error"].get<std::string>(), HasSubstr("expected 7"));
}

TEST_F(CheckpointCheckTest, ACheckpointWithoutItsManifestIsOneAllTheSame) {
  ASSERT_OK(env_.RemoveFile(JoinPath(Folder(400), "manifest.json")));
  EXPECT_TRUE(IsCheckpointFolder(&env_, Folder(400)));
  const CheckpointCheck check = CheckCheckpointFolder(&env_, Folder(400));
  EXPECT_FALSE(check.valid());
  EXPECT_THAT(CheckpointCheckText(check), HasSubstr("  manifest.json  WRONG: "));
  EXPECT_FALSE(IsCheckpointFolder(&env_, "/runs/r-1"));
}

TEST_F(CheckpointCheckTest, ARunIsCheckedWholeAndTheNewestWholeCheckpointNamed) {
  EXPECT_EQ(FindRunFolder(&env_, "/runs/r-1"), "/runs/r-1");
  EXPECT_EQ(FindRunFolder(&env_, "/runs/r-1/checkpoints"), "/runs/r-1");
  EXPECT_EQ(FindRunFolder(&env_, "/runs"), std::nullopt);
  ASSERT_OK_AND_ASSIGN(auto checks, CheckRun(&env_, "/runs/r-1"));
  EXPECT_TRUE(AllValid(checks));
  ASSERT_OK(env_.RemoveFile(JoinPath(Folder(400), "share-0-of-2.safetensors")));
  ASSERT_OK_AND_ASSIGN(checks, CheckRun(&env_, "/runs/r-1"));
  ASSERT_THAT(checks, SizeIs(2));
  EXPECT_FALSE(AllValid(checks));
  EXPECT_THAT(RunCheckText(checks), AllOf(HasSubstr("is missing, expected 7 bytes"),
                                          HasSubstr("the newest whole one is of step 200\n")));
  EXPECT_EQ(RunCheckJson("/runs/r-1", checks)["checkpoints"][1]["valid"], false);
  EXPECT_THAT(CheckRun(&env_, "/runs/r-2"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CheckpointCheckTest, WhatTheCoordinatorRecordedIsWhatMustBeThere) {
  recorded_[0].set_manifest_sha256(Sha256Hex("another"));
  v1::Checkpoint gone;
  gone.set_step(600);
  recorded_.push_back(gone);
  ASSERT_OK_AND_ASSIGN(const auto checks, CheckRun(&env_, "/runs/r-1", recorded_));
  ASSERT_THAT(checks, SizeIs(3));
  EXPECT_FALSE(checks[0].valid());
  EXPECT_THAT(CheckpointCheckText(checks[0]), HasSubstr("the coordinator recorded"));
  EXPECT_TRUE(checks[1].valid());
  EXPECT_FALSE(checks[2].valid());
  EXPECT_EQ(checks[2].step, 600);
}

}  // namespace
}  // namespace tritter
