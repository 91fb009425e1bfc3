#include "model/checkpoint_store.h"

#include <gmock/gmock.h>

#include "common/testing/fault_env.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/folder_checkpoint_store.h"
#include "model/testing/checkpoint_store_conformance.h"
#include "model/testing/object_checkpoint_store.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kRunDir[] = "/runs/r-1";
constexpr char kFolder[] = "/runs/r-1/checkpoints";

class FolderMedium : public CheckpointMedium {
 public:
  std::unique_ptr<CheckpointStore> Open() override { return CheckpointsOfRun(&env_, kRunDir); }
  void Overwrite(const CheckpointReader& checkpoint, const std::string& name,
                 const std::string* content) override {
    const std::string path = checkpoint.LocationOf(name);
    EXPECT_OK(content == nullptr ? env_.RemoveFile(path)
                                 : WriteFileAtomically(&env_, path, *content));
  }
  bool ActWithFault(int64_t n, bool half, const StoreAct& act) override {
    FaultEnv env(&env_);
    env.FailAt(n, absl::ResourceExhaustedError("no space left on device"), half);
    act(CheckpointsOfRun(&env, kRunDir).get()).IgnoreError();
    return env.tripped();
  }
  int ForEachCrashPoint(
      const StoreAct& prepare, const StoreAct& act,
      const std::function<void(CheckpointStore*, const std::string& where)>& check) override {
    return tritter::ForEachCrashPoint(
        [&](MemoryEnv* env) { ASSERT_OK(prepare(CheckpointsOfRun(env, kRunDir).get())); },
        [&](Env* env) { return act(CheckpointsOfRun(env, kRunDir).get()); },
        [&](MemoryEnv* env, const std::string& where) {
          check(CheckpointsOfRun(env, kRunDir).get(), where);
        });
  }

 private:
  MemoryEnv env_;
};

class ObjectMedium : public CheckpointMedium {
 public:
  std::unique_ptr<CheckpointStore> Open() override { return ObjectCheckpointStore(&bucket_); }
  void Overwrite(const CheckpointReader& checkpoint, const std::string& name,
                 const std::string* content) override {
    const std::string key = checkpoint.LocationOf(name);
    EXPECT_OK(content == nullptr ? bucket_.Delete(key) : bucket_.Put(key, *content));
  }
  bool ActWithFault(int64_t n, bool half, const StoreAct& act) override {
    return Fail(&bucket_, n, half, act);
  }
  int ForEachCrashPoint(
      const StoreAct& prepare, const StoreAct& act,
      const std::function<void(CheckpointStore*, const std::string& where)>& check) override {
    int cases = 0;
    for (const bool half : {false, true}) {
      bool tripped = true;
      for (int64_t n = 1; tripped; ++n, ++cases) {
        MemoryBucket bucket;
        const auto store = ObjectCheckpointStore(&bucket);
        EXPECT_OK(prepare(store.get()));
        tripped = Fail(&bucket, n, half, act);
        check(store.get(), tripped ? bucket.last() : "no fault");
      }
    }
    return cases;
  }

 private:
  static bool Fail(MemoryBucket* bucket, int64_t n, bool half, const StoreAct& act) {
    bucket->FailAt(n, half);
    const absl::Status status = act(ObjectCheckpointStore(bucket).get());
    const bool tripped = bucket->tripped();
    EXPECT_TRUE(tripped || status.ok()) << status;
    bucket->Heal();
    return tripped;
  }

  MemoryBucket bucket_;
};

template <typename Medium>
std::unique_ptr<CheckpointMedium> Make() {
  return std::make_unique<Medium>();
}

INSTANTIATE_TEST_SUITE_P(Folder, CheckpointStoreConformance, testing::Values(&Make<FolderMedium>));
INSTANTIATE_TEST_SUITE_P(Object, CheckpointStoreConformance, testing::Values(&Make<ObjectMedium>));

TEST(FolderCheckpointStore, FoldersSortByStep) {
  EXPECT_EQ(CheckpointFolderName(200), "step-00000200");
  EXPECT_EQ(AttemptFolderName({200, "a1"}), "step-00000200.tmp-a1");
  EXPECT_EQ(CheckpointFolderName(1234567890), "step-1234567890");
}

TEST(FolderCheckpointStore, HoldsWhatItsFormatSaysAndNothingElse) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, kRunDir);
  ASSERT_OK(WriteAndCommit(store.get(), {200, "e2"}));
  EXPECT_THAT(*env.ListDir(kFolder), ElementsAre("step-00000200"));
  EXPECT_THAT(*env.ListDir(JoinPath(kFolder, "step-00000200")),
              ElementsAre("manifest.json", "share-0-of-2.safetensors", "share-1-of-2.safetensors"));
  ASSERT_OK(store->Remove(200));
  EXPECT_THAT(*env.ListDir(kFolder), testing::IsEmpty());
}

TEST(FolderCheckpointStore, LeavesAloneWhatIsNotItsOwn) {
  MemoryEnv env;
  ASSERT_OK(env.CreateDirs(JoinPath(kFolder, "notes.tmp-old")));
  ASSERT_OK(env.CreateDirs(JoinPath(kFolder, "step-7")));
  const auto store = CheckpointsOfRun(&env, kRunDir);
  EXPECT_THAT(*store->CleanUp(""), testing::IsEmpty());
  EXPECT_THAT(*store->Steps(), testing::IsEmpty());
}

TEST(FolderCheckpointStore, AFolderThatIsNotThereIsNoProofThatACheckpointIsGone) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, kRunDir);
  EXPECT_THAT(store->Open(200), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(kFolder)));
  ASSERT_OK(env.CreateDirs(kFolder));
  EXPECT_THAT(store->Open(200), StatusIs(absl::StatusCode::kNotFound, HasSubstr("manifest.json")));
}

TEST(FolderCheckpointStore, NobodyMakesTheFolderOfADeletedRunAnew) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, kRunDir);
  ASSERT_OK(store->Create());
  ASSERT_OK(store->Begin({200, "e2"}));
  ASSERT_OK(env.RemoveTree(kRunDir));
  EXPECT_THAT(store->Begin({200, "e2"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("was the run deleted")));
  EXPECT_THAT(store->Put({200, "e2"}, "share-0-of-1.safetensors"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_FALSE(env.Exists(kRunDir));
}

TEST(FolderCheckpointStore, ACopiedFolderIsReadByItself) {
  MemoryEnv env;
  const auto store = CheckpointsOfRun(&env, kRunDir);
  ASSERT_OK(WriteAndCommit(store.get(), {200, "e2"}));
  ASSERT_OK(env.Rename(JoinPath(kFolder, "step-00000200"), "/copy"));
  ASSERT_OK_AND_ASSIGN(const auto reader, OpenCheckpointFolder(&env, "/copy"));
  EXPECT_OK(VerifyCheckpoint(*reader));
  EXPECT_EQ(reader->LocationOf("manifest.json"), "/copy/manifest.json");
}

}  // namespace
}  // namespace tritter
