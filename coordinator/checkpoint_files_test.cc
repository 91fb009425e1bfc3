#include "coordinator/checkpoint_files.h"

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kDir[] = "/runs/r-1/checkpoints";

std::string Content(int rank) { return absl::StrCat("tensors of rank ", rank); }

// What the workers leave before they report their shares.
CheckpointManifest WriteShares(Env* env, int64_t step, const std::string& attempt) {
  CheckpointManifest m;
  m.run_id = "r-1";
  m.step = step;
  m.epoch = 2;
  m.attempt = attempt;
  m.spec_hash = Sha256Hex("name: x");
  m.spec_yaml = "name: x";
  m.code_version = "0.1.0";
  m.next_slot = step * 16;
  const std::string folder = JoinPath(kDir, AttemptFolderName(step, attempt));
  EXPECT_OK(env->CreateDirs(folder));
  for (int rank = 0; rank < 2; ++rank) {
    const std::string name = absl::StrCat("share-", rank, "-of-2.safetensors");
    EXPECT_OK(WriteFileAtomically(env, JoinPath(folder, name), Content(rank)));
    m.files.push_back({name, Content(rank).size(), Sha256Hex(Content(rank))});
  }
  EXPECT_OK(env->SyncDir(folder));
  EXPECT_OK(env->SyncDir(kDir));
  return m;
}

std::string Final(int64_t step) { return JoinPath(kDir, CheckpointFolderName(step)); }

TEST(CommitCheckpointFolder, MakesAVerifiedFolderAndNothingElse) {
  MemoryEnv env;
  ASSERT_OK_AND_ASSIGN(const v1::Checkpoint c,
                       CommitCheckpointFolder(&env, kDir, WriteShares(&env, 200, "e2")));
  EXPECT_EQ(c.step(), 200);
  EXPECT_EQ(c.path(), Final(200));
  EXPECT_EQ(c.epoch(), 2u);
  EXPECT_OK(VerifyRecordedCheckpoint(&env, c));
  EXPECT_THAT(*env.ListDir(kDir), ElementsAre(CheckpointFolderName(200)));
  EXPECT_THAT(*env.ListDir(Final(200)), SizeIs(3));
}

TEST(CommitCheckpointFolder, MayBeRepeated) {
  MemoryEnv env;
  const CheckpointManifest m = WriteShares(&env, 200, "e2");
  ASSERT_OK_AND_ASSIGN(const v1::Checkpoint first, CommitCheckpointFolder(&env, kDir, m));
  ASSERT_OK_AND_ASSIGN(const v1::Checkpoint again, CommitCheckpointFolder(&env, kDir, m));
  EXPECT_EQ(first.SerializeAsString(), again.SerializeAsString());
}

TEST(CommitCheckpointFolder, SaysWhenTheAttemptIsGone) {
  MemoryEnv env;
  const CheckpointManifest m = WriteShares(&env, 200, "e2");
  ASSERT_OK(env.RemoveTree(JoinPath(kDir, AttemptFolderName(200, "e2"))));
  EXPECT_THAT(CommitCheckpointFolder(&env, kDir, m),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is gone")));
}

TEST(CommitCheckpointFolder, ReplacesAFolderThatWasNeverRecorded) {
  MemoryEnv env;
  ASSERT_OK(CommitCheckpointFolder(&env, kDir, WriteShares(&env, 200, "e1")));
  ASSERT_OK_AND_ASSIGN(const v1::Checkpoint c,
                       CommitCheckpointFolder(&env, kDir, WriteShares(&env, 200, "e2")));
  EXPECT_OK(VerifyRecordedCheckpoint(&env, c));
}

TEST(VerifyRecordedCheckpoint, FindsAFlippedByteInAShareAndInTheManifest) {
  MemoryEnv env;
  ASSERT_OK_AND_ASSIGN(const v1::Checkpoint c,
                       CommitCheckpointFolder(&env, kDir, WriteShares(&env, 200, "e2")));
  ASSERT_OK(WriteFileAtomically(&env, JoinPath(Final(200), "share-1-of-2.safetensors"),
                                "Tensors of rank 1"));
  EXPECT_THAT(VerifyRecordedCheckpoint(&env, c),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("share-1-of-2")));
  ASSERT_OK(WriteFileAtomically(&env, JoinPath(Final(200), "manifest.json"), "{}"));
  EXPECT_THAT(VerifyRecordedCheckpoint(&env, c),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("manifest.json")));
}

TEST(RecoverCheckpointFolders, RemovesDeadAttemptsKeepsTheLiveOneAndAdoptsWhatWasRenamed) {
  MemoryEnv env;
  WriteShares(&env, 400, "e1");
  WriteShares(&env, 400, "e2");
  ASSERT_OK(CommitCheckpointFolder(&env, kDir, WriteShares(&env, 100, "e1")));  // recorded
  ASSERT_OK(CommitCheckpointFolder(&env, kDir, WriteShares(&env, 200, "e1")));  // not recorded
  ASSERT_OK(env.CreateDirs(Final(300)));  // neither recorded nor whole
  ASSERT_OK_AND_ASSIGN(const RecoveredFolders r,
                       RecoverCheckpointFolders(&env, kDir, "r-1", {100}, "e2"));
  ASSERT_THAT(r.adopted, SizeIs(1));
  EXPECT_EQ(r.adopted[0].step(), 200);
  EXPECT_OK(VerifyRecordedCheckpoint(&env, r.adopted[0]));
  EXPECT_THAT(r.removed, ElementsAre(CheckpointFolderName(300), AttemptFolderName(400, "e1")));
  EXPECT_TRUE(env.IsDirectory(JoinPath(kDir, AttemptFolderName(400, "e2"))));
}

TEST(RecoverCheckpointFolders, IsContentWithARunThatHasNone) {
  MemoryEnv env;
  ASSERT_OK_AND_ASSIGN(const RecoveredFolders r,
                       RecoverCheckpointFolders(&env, kDir, "r-1", {}, ""));
  EXPECT_THAT(r.removed, IsEmpty());
}

// Every write, fsync and rename of a commit fails or is cut in turn, and the machine crashes in
// every way: what is left is the old state (the attempt, to be removed) or the new one (a whole
// checkpoint, to be adopted), never a part of it.
TEST(CommitCheckpointFolder, EveryCrashPointLeavesTheOldOrTheNewStateWhole) {
  int adopted = 0, old = 0;
  CheckpointManifest manifest;
  const int cases = ForEachCrashPoint(
      [&](MemoryEnv* env) {
        ASSERT_OK(CommitCheckpointFolder(env, kDir, WriteShares(env, 100, "e1")));
        manifest = WriteShares(env, 200, "e2");
      },
      [&](Env* env) { return CommitCheckpointFolder(env, kDir, manifest).status(); },
      [&](MemoryEnv* env, const std::string& where) {
        absl::StatusOr<RecoveredFolders> r = RecoverCheckpointFolders(env, kDir, "r-1", {100}, "");
        ASSERT_OK(r) << where;
        const absl::StatusOr<CheckpointManifest> before = ReadManifest(env, Final(100));
        ASSERT_OK(before) << where;
        EXPECT_OK(VerifyCheckpoint(env, Final(100), *before, true)) << where;
        if (r->adopted.empty()) {
          ++old;
          EXPECT_THAT(*env->ListDir(kDir), ElementsAre(CheckpointFolderName(100))) << where;
          return;
        }
        ++adopted;
        ASSERT_THAT(r->adopted, SizeIs(1)) << where;
        EXPECT_EQ(r->adopted[0].step(), 200) << where;
        EXPECT_OK(VerifyRecordedCheckpoint(env, r->adopted[0])) << where;
      });
  EXPECT_GT(cases, 10);
  EXPECT_GT(adopted, 0);
  EXPECT_GT(old, 0);
}

// The coordinator lives on after a failed write: the commit is tried again and succeeds from
// wherever it stopped.
TEST(CommitCheckpointFolder, CanBeRetriedAfterAFailureAtEveryPoint) {
  for (const bool half : {false, true}) {
    for (int64_t n = 1;; ++n) {
      MemoryEnv base;
      const CheckpointManifest manifest = WriteShares(&base, 200, "e2");
      FaultEnv env(&base);
      env.FailAt(n, absl::ResourceExhaustedError("no space left on device"), half);
      if (CommitCheckpointFolder(&env, kDir, manifest).ok()) {
        EXPECT_GT(n, 4);
        break;
      }
      env.Heal();
      ASSERT_OK_AND_ASSIGN(const v1::Checkpoint c, CommitCheckpointFolder(&env, kDir, manifest));
      EXPECT_OK(VerifyRecordedCheckpoint(&base, c)) << n;
    }
  }
}

}  // namespace
}  // namespace tritter
