// Runs that begin with a checkpoint of another one.
#include <set>

#include "absl/strings/str_cat.h"
#include "common/testing/fault_env.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "model/checkpoint_tensors.h"
#include "model/folder_checkpoint_store.h"
#include "model/safetensors.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::ElementsAre;
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

class WeightsOnlyTest : public CoordinatorFixture {
 protected:
  // Runs of a small model, whose workers write what a state of it has.
  std::string Yaml(const std::string& name, int64_t steps, const std::string& training = "",
                   const std::string& more = "") {
    std::string yaml = absl::StrCat(RunYaml(name, steps, 1), more);
    yaml.replace(yaml.find("{preset: nano, family: tritter, vocab: 264}"), 43,
                 "{hidden: 16, layers: 1, heads: 1, ffn: 16, vocab: 264, context: 128}");
    yaml.replace(yaml.find("  global_batch"), 0, training);
    return yaml;
  }
  void SetUp() override {
    Start();
    worker_ = AddWorker("w-0", 1, [](FakeAgent* agent) { agent->share = State(); });
    base_ = Submit(Yaml("base", 100));
    RoundsUntil([&] { return Get(base_).state() == v1::RUN_STATE_COMPLETED; });
  }
  // Every weight 0.5, every average 0.25.
  static std::string State() {
    absl::StatusOr<RunSpec> spec = ParseRunSpec(
        "model: {hidden: 16, layers: 1, heads: 1, ffn: 16, vocab: 264, context: 128}\n"
        "data: {sources: [{name: a, shards: /a}]}\ntraining: {steps: 1}\n",
        "run.yaml", "/");
    EXPECT_OK(spec.status());
    const std::vector<float> weights(1 << 16, 0.5f), averages(1 << 16, 0.25f);
    std::vector<TensorToWrite> tensors;
    for (const ParameterSpec& p : ParameterTable(spec->model)) {
      size_t bytes = sizeof(float);
      for (const int64_t n : p.shape) bytes *= static_cast<size_t>(n);
      for (const auto& [prefix, values] : {std::pair("weight/", &weights), {"ema/", &averages}}) {
        const auto* data = reinterpret_cast<const uint8_t*>(values->data());
        tensors.push_back(
            {prefix + p.name, DType::kF32, p.shape, absl::MakeConstSpan(data, bytes)});
      }
    }
    MemoryEnv env;
    EXPECT_OK(WriteSafetensors(&env, "/share", tensors, {}).status());
    return *env.ReadFile("/share");
  }
  // Of every weight of the run's checkpoint of step 0.
  float WeightOf(const std::string& run) {
    const auto store = CheckpointsOfRun(&env_, Get(run).run_dir());
    const auto checkpoint = store->Open(0);
    EXPECT_OK(checkpoint.status());
    EXPECT_OK(VerifyCheckpoint(**checkpoint));
    const auto tensors = CheckpointTensors::Open(**checkpoint);
    EXPECT_OK(tensors.status());
    const RunSpec spec = *ParseRunSpec(Get(run).spec_yaml(), "run.yaml", "/");
    std::set<float> all;
    for (const ParameterSpec& p : ParameterTable(spec.model)) {
      const auto values = (*tensors)->Get("weight/", p);
      EXPECT_OK(values.status());
      all.insert(values->begin(), values->end());
    }
    EXPECT_THAT(all, SizeIs(1));
    return *all.begin();
  }
  std::vector<int64_t> Steps(const std::string& run) {
    std::vector<int64_t> out;
    const auto checkpoints = coordinator_->ListCheckpoints(run);
    EXPECT_OK(checkpoints.status());
    for (const v1::Checkpoint& c : checkpoints->checkpoints()) out.push_back(c.step());
    return out;
  }
  FakeAgent* worker_ = nullptr;
  std::string base_;
};

TEST_F(WeightsOnlyTest, TrainingBeginsAtStepZeroWithTheWeightsAndEvaluatesThem) {
  const std::string yaml = Yaml("tuned", 30, "  optimizer: muon\n",
                                "clone: {run: base, step: 80, weights_only: true}\n");
  const std::string id = Submit(yaml, "key");
  EXPECT_EQ(Submit(yaml, "key"), id) << "the same key";
  EXPECT_THAT(Get(id).spec_yaml(),
              HasSubstr(absl::StrCat("clone:\n  run: \"", base_,
                                     "\"\n  step: 80\n  weights_only: true\n  weights: averaged")));
  EXPECT_THAT(Steps(id), ElementsAre(0));
  EXPECT_EQ(Get(id).step(), 0);
  EXPECT_EQ(WeightOf(id), 0.25f);
  ASSERT_OK(env_.RemoveTree(Get(base_).run_dir() + "/checkpoints"));
  RoundsUntil([&] { return Get(id).step() > 0; });
  const v1::Assignment& a = worker_->assigned().back();
  EXPECT_EQ(a.start_step(), 0);
  EXPECT_FALSE(a.manifest_sha256().empty()) << "it is read, nothing is initialised";
  ASSERT_TRUE(worker_->plans.contains(0));
  EXPECT_THAT(worker_->plans.at(0).evaluate_at(), testing::Contains(0));
  EXPECT_EQ(worker_->plans.at(0).first_slot(), 0);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_THAT(Steps(id), ElementsAre(20, 30)) << "the first one goes when two newer ones are there";
}

TEST_F(WeightsOnlyTest, RawOnesOnRequestAndFromThemOnesOwnClone) {
  const std::string raw =
      Submit(Yaml("raw", 30, "", "clone: {run: base, weights_only: true, weights: raw}\n"));
  EXPECT_EQ(WeightOf(raw), 0.5f);
  // One that has not begun yet.
  EXPECT_EQ(WeightOf(Submit(Yaml("again", 30, "", "clone: {run: raw}\n"))), 0.5f);
}

// Before the first own checkpoint, whatever dies, it begins with the same weights again, and what
// they are worth is evaluated once.
TEST_F(WeightsOnlyTest, AnEpochThatLeftNothingIsFollowedByOneFromTheSameWeights) {
  const std::string id =
      Submit(Yaml("tuned", 1000, "", "clone: {run: base, weights_only: true}\n"));
  RoundsUntil([&] { return Get(id).step() == 5; });
  const std::string manifest = worker_->assigned().back().manifest_sha256();
  Start();  // the coordinator is restarted
  ASSERT_OK(worker_->Connect());
  RoundsUntil([&] { return Get(id).step() == 7; });
  ASSERT_OK(worker_->Fail("loss is not finite", false));
  RoundsUntil([&] { return Get(id).epoch() == 2 && Get(id).step() == 3; });
  EXPECT_EQ(worker_->assigned().back().start_step(), 0);
  EXPECT_EQ(worker_->assigned().back().manifest_sha256(), manifest);
  EXPECT_THAT(worker_->plans.at(0).evaluate_at(), testing::Not(testing::Contains(0)));
  ASSERT_OK(coordinator_->Pause(id));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; });
}

TEST_F(WeightsOnlyTest, DamagedWeightsAreNoReasonToBeginWithOthers) {
  const std::string id = Submit(Yaml("tuned", 30, "", "clone: {run: base, weights_only: true}\n"));
  const std::string share =
      Get(id).run_dir() + "/checkpoints/step-00000000/share-0-of-1.safetensors";
  ASSERT_OK(WriteFileAtomically(&env_, share, "damaged"));
  Rounds(30);
  EXPECT_EQ(Get(id).waiting_cause(), "checkpoints_damaged");
  EXPECT_EQ(Get(id).step(), 0);
}

// Killed at any change of a file while it is submitted: no run, or a whole one.
TEST_F(WeightsOnlyTest, ASubmissionThatIsCutLeavesNoRunThatIsHalf) {
  FaultEnv faults(&env_);
  v1::SubmitRunRequest request;
  request.set_yaml(Yaml("tuned", 30, "", "clone: {run: base, weights_only: true}\n"));
  request.set_base_dir("/");
  int64_t cut = 0;
  for (int64_t n = 1;; ++n) {
    faults.FailAt(n, absl::UnavailableError("the machine is gone"), n % 2 == 0);
    files_ = &faults;
    Start();
    const absl::Status status = coordinator_->Submit(request).status();
    Stop();
    faults.Heal();
    files_ = &env_;
    Start();
    const v1::ListRunsResponse runs = coordinator_->List(0);
    if (status.ok()) break;
    ++cut;
    ASSERT_EQ(runs.runs_size(), 1) << "after change " << n << ": the base alone";
  }
  EXPECT_GT(cut, 10);
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
