#include "coordinator/checkpoint_files.h"

#include <memory>

#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/folder_checkpoint_store.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CheckpointFilesTest : public testing::Test {
 protected:
  // What the workers leave before they report their shares.
  CheckpointManifest Write(const CheckpointAttempt& attempt) {
    CheckpointManifest m;
    m.run_id = "r-1";
    m.step = attempt.step;
    m.epoch = 2;
    m.attempt = attempt.name;
    EXPECT_OK(store_->Create());
    EXPECT_OK(store_->Begin(attempt));
    auto file = store_->Put(attempt, "share-0-of-1.safetensors");
    EXPECT_OK(file.status());
    EXPECT_OK((*file)->Append("tensors"));
    EXPECT_OK((*file)->Sync());
    EXPECT_OK((*file)->Close());
    m.files = {{"share-0-of-1.safetensors", 7, Sha256Hex("tensors")}};
    return m;
  }
  v1::Checkpoint Commit(const CheckpointAttempt& attempt) {
    const auto committed = store_->Commit(Write(attempt));
    EXPECT_OK(committed.status());
    return DescribeCheckpoint(**committed);
  }

  MemoryEnv env_;
  const std::unique_ptr<CheckpointStore> store_ = CheckpointsOfRun(&env_, "/runs/r-1");
};

TEST_F(CheckpointFilesTest, ACommitIsDescribedAndVerified) {
  const v1::Checkpoint c = Commit({200, "e2"});
  EXPECT_EQ(c.step(), 200);
  EXPECT_EQ(c.path(), "/runs/r-1/checkpoints/step-00000200");
  EXPECT_EQ(c.epoch(), 2u);
  EXPECT_GT(c.bytes(), 7);
  EXPECT_OK(VerifyRecordedCheckpoint(store_.get(), c));
}

TEST_F(CheckpointFilesTest, AFlippedByteInAShareAndAnotherManifestAreFound) {
  const v1::Checkpoint c = Commit({200, "e2"});
  ASSERT_OK(WriteFileAtomically(&env_, JoinPath(c.path(), "share-0-of-1.safetensors"), "Tensors"));
  EXPECT_THAT(VerifyRecordedCheckpoint(store_.get(), c),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("share-0-of-1")));
  CheckpointManifest other = Write({200, "e3"});  // whole, and not the one that was recorded
  ASSERT_OK(store_->Commit(other).status());
  EXPECT_THAT(VerifyRecordedCheckpoint(store_.get(), c),
              StatusIs(absl::StatusCode::kDataLoss,
                       testing::AllOf(HasSubstr("manifest.json"), HasSubstr("recorded was"))));
  ASSERT_OK(WriteFileAtomically(&env_, JoinPath(c.path(), "manifest.json"), "{}"));
  EXPECT_THAT(VerifyRecordedCheckpoint(store_.get(), c),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("manifest.json")));
}

TEST_F(CheckpointFilesTest, RecoveryRemovesDeadAttemptsKeepsTheLiveOneAndAdoptsWhatWasCommitted) {
  Write({400, "e1"});
  const CheckpointManifest live = Write({400, "e2"});
  Commit({100, "e1"});  // recorded
  Commit({200, "e1"});  // not recorded
  const v1::Checkpoint damaged = Commit({300, "e1"});
  ASSERT_OK(env_.RemoveFile(JoinPath(damaged.path(), "share-0-of-1.safetensors")));
  ASSERT_OK_AND_ASSIGN(const RecoveredCheckpoints r,
                       RecoverCheckpoints(store_.get(), "r-1", {100}, "e2"));
  ASSERT_THAT(r.adopted, SizeIs(1));
  EXPECT_EQ(r.adopted[0].step(), 200);
  EXPECT_OK(VerifyRecordedCheckpoint(store_.get(), r.adopted[0]));
  EXPECT_THAT(r.removed, ElementsAre("step 300", "step-00000400.tmp-e1"));
  EXPECT_THAT(*store_->Steps(), ElementsAre(100, 200));
  EXPECT_OK(store_->Commit(live).status());
}

// Whoever committed it died before the name of the folder was on the disk.
TEST_F(CheckpointFilesTest, WhatRecoveryAdoptsOutlivesTheLossOfPower) {
  ASSERT_OK(store_->Create());
  const std::string folder = Commit({200, "e2"}).path();
  ASSERT_OK(env_.Rename(folder, folder + ".tmp-e2"));
  ASSERT_OK(env_.SyncDir(Dirname(folder)));
  ASSERT_OK(env_.Rename(folder + ".tmp-e2", folder));
  ASSERT_OK_AND_ASSIGN(const RecoveredCheckpoints r,
                       RecoverCheckpoints(store_.get(), "r-1", {}, ""));
  ASSERT_THAT(r.adopted, SizeIs(1));
  env_.Crash(CrashMode::kLoseUnsynced);
  EXPECT_OK(VerifyRecordedCheckpoint(store_.get(), r.adopted[0]));
}

TEST_F(CheckpointFilesTest, RecoveryAdoptsNothingOfAnotherRun) {
  Commit({200, "e1"});
  ASSERT_OK_AND_ASSIGN(const RecoveredCheckpoints r,
                       RecoverCheckpoints(store_.get(), "r-2", {}, ""));
  EXPECT_THAT(r.adopted, IsEmpty());
  EXPECT_THAT(r.removed, ElementsAre("step 200"));
}

TEST_F(CheckpointFilesTest, RecoveryIsContentWithARunThatHasNone) {
  ASSERT_OK_AND_ASSIGN(const RecoveredCheckpoints r,
                       RecoverCheckpoints(store_.get(), "r-1", {}, ""));
  EXPECT_THAT(r.removed, IsEmpty());
}

}  // namespace
}  // namespace tritter
