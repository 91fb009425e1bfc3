// Runs that begin with a checkpoint of another one.
#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;
using Code = absl::StatusCode;

class OriginsTest : public CoordinatorFixture {
 protected:
  void SetUp() override {
    Start();
    base_ = Submit(RunYaml("base", 100, 1));
    worker_ = AddWorker("w-0");
    RoundsUntil([&] { return Get(base_).state() == v1::RUN_STATE_COMPLETED; });
  }
  absl::Status Refused(const std::string& yaml) {
    v1::SubmitRunRequest request;
    request.set_yaml(yaml);
    request.set_base_dir("/");
    return coordinator_->Submit(request).status();
  }
  std::string base_;
  FakeAgent* worker_ = nullptr;
};

TEST_F(OriginsTest, ACloneGoesOnAtTheStepOfTheStateItTookWithAConfigurationOfItsOwn) {
  ASSERT_OK(WriteFileAtomically(&env_, Get(base_).run_dir() + "/data.json", "hashes"));
  const std::string yaml = absl::StrCat(
      RunYaml("branch", 150, 1, "checkpoint: {every: 25, keep: 2}\n"), "clone: {run: base}\n");
  const std::string id = Submit(yaml, "key");
  EXPECT_EQ(Submit(yaml, "key"), id) << "the same key";
  const v1::Run queued = Get(id);
  EXPECT_EQ(queued.committed_step(), 100);
  EXPECT_THAT(queued.spec_yaml(),
              HasSubstr(absl::StrCat("clone:\n  run: \"", base_, "\"\n  step: 100\n")));
  EXPECT_FALSE(env_.Exists(queued.run_dir() + "/data.json")) << "its data may be other data";
  // Its own: the base's checkpoints may go.
  ASSERT_OK(env_.RemoveTree(Get(base_).run_dir() + "/checkpoints"));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(worker_->assignments().back().second, 100) << "no step is trained again";
  EXPECT_EQ(Get(id).committed_step(), 150);
}

TEST_F(OriginsTest, ACloneOfAnEarlierCheckpointBegins) {
  const std::string id =
      Submit(absl::StrCat(RunYaml("branch", 90, 1), "clone: {run: base, step: 80}\n"));
  EXPECT_EQ(Get(id).committed_step(), 80);
}

TEST_F(OriginsTest, ACloneThatCannotBeIsRefusedAndLeavesNothing) {
  EXPECT_THAT(
      Refused(absl::StrCat(RunYaml("branch", 100, 1), "clone: {run: base, step: 100}\n")),
      StatusIs(Code::kFailedPrecondition, HasSubstr("training goes on at the cloned step")));
  EXPECT_THAT(Refused(absl::StrCat(RunYaml("branch", 200, 1), "clone: {run: nobody}\n")),
              StatusIs(Code::kNotFound));
  const std::string share =
      Get(base_).run_dir() + "/checkpoints/step-00000100/share-0-of-1.safetensors";
  ASSERT_OK(WriteFileAtomically(&env_, share, "damaged"));
  EXPECT_THAT(Refused(absl::StrCat(RunYaml("branch", 200, 1), "clone: {run: base, step: 100}\n")),
              StatusIs(Code::kDataLoss, HasSubstr("that could be cloned is whole")));
  EXPECT_THAT(*env_.ListDir("/data-dir/runs"), SizeIs(1));
  EXPECT_EQ(
      Get(Submit(absl::StrCat(RunYaml("branch", 200, 1), "clone: {run: base}\n"))).committed_step(),
      80)
      << "the one before";
}

TEST_F(OriginsTest, ACloneNeedsTheSameTokenizer) {
  catalog_.tokenizer = [](const SourceSpec& source) {
    return source.shards == "/data/text" ? "aaaa" : "bbbb";
  };
  std::string yaml = absl::StrCat(RunYaml("branch", 200, 1), "clone: {run: base}\n");
  yaml.replace(yaml.find("/data/text"), 10, "/data/code");
  EXPECT_THAT(Refused(yaml),
              StatusIs(Code::kInvalidArgument, AllOf(HasSubstr("tokens of tokenizer aaaa"),
                                                     HasSubstr("source text was made by bbbb"))));
}

}  // namespace
}  // namespace tritter
