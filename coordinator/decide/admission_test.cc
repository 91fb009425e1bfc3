#include "coordinator/decide/admission.h"

#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using Code = absl::StatusCode;

RunSpec Spec() {
  RunSpec s;
  s.name = "run";
  s.model.vocab = 264;
  s.model.hidden = 128;
  s.sources = {{"books", "/data/books", 1.0, 4.0}, {"code", "/data/code", 1.0, 4.0}};
  s.sequence_length = 128;
  s.global_batch = 16;
  return s;
}

AdmissionFacts Facts() {
  AdmissionFacts f;
  f.sources = {{"books", absl::OkStatus(), 1000, 3999, "aaaa", 264},
               {"code", absl::OkStatus(), 10, 40, "aaaa", 264}};
  return f;
}

v1::ErrorDetail::Reason ReasonOf(const absl::Status& s) { return DetailOf(s)->reason(); }

TEST(Admission, TakesARunWhoseDataAreThere) { EXPECT_OK(CheckAdmission(Spec(), Facts())); }

TEST(Admission, NamesASourceThatCannotBeRead) {
  AdmissionFacts f = Facts();
  f.sources[1].status = absl::NotFoundError("/data/code/manifest.json: no such file");
  const absl::Status s = CheckAdmission(Spec(), f);
  EXPECT_THAT(s, StatusIs(Code::kInvalidArgument,
                          HasSubstr("data.sources.code: /data/code/manifest.json")));
  EXPECT_EQ(ReasonOf(s), v1::ErrorDetail::INVALID_RUN_SPEC);
}

TEST(Admission, RefusesASourceTooShortForOneSample) {
  AdmissionFacts f = Facts();
  f.sources[0].samples = 0;
  EXPECT_THAT(CheckAdmission(Spec(), f),
              StatusIs(Code::kInvalidArgument, HasSubstr("no whole sample of 129 tokens")));
}

TEST(Admission, RefusesSourcesOfDifferentTokenizers) {
  AdmissionFacts f = Facts();
  f.sources[1].tokenizer_hash = "bbbb";
  EXPECT_THAT(CheckAdmission(Spec(), f),
              StatusIs(Code::kInvalidArgument, HasSubstr("tokenizer bbbb, source books by aaaa")));
}

TEST(Admission, RefusesIdsBeyondTheVocabulary) {
  AdmissionFacts f = Facts();
  f.sources[0].vocabulary = 512;
  EXPECT_THAT(CheckAdmission(Spec(), f),
              StatusIs(Code::kInvalidArgument, HasSubstr("up to 511, model.vocab is 264")));
}

TEST(Admission, RefusesMoreRepeatsThanMaxEpochs) {
  AdmissionFacts f = Facts();
  f.sources[0].slots = 4001;
  EXPECT_THAT(
      CheckAdmission(Spec(), f),
      StatusIs(Code::kInvalidArgument,
               HasSubstr("repeat it 4.0 times (4001 samples drawn of 1000), max_epochs is 4")));
}

TEST(Admission, ReportsEveryProblemAtOnce) {
  AdmissionFacts f = Facts();
  f.sources[0].slots = 100000;
  f.sources[1].samples = 0;
  const absl::Status s = CheckAdmission(Spec(), f);
  EXPECT_THAT(s, StatusIs(Code::kInvalidArgument,
                          testing::AllOf(HasSubstr("books"), HasSubstr("\n"), HasSubstr("code"))));
}

TEST(Admission, RefusesWhatFitsOnNoKnownWorker) {
  AdmissionFacts f = Facts();
  f.workers = {{"small", 1 << 20}, {"big", int64_t{100} << 20}};
  EXPECT_THAT(CheckAdmission(Spec(), f),
              StatusIs(Code::kInvalidArgument, HasSubstr("the largest worker (big) has 100 MiB")));
  f.workers[0].memory_bytes = 0;  // unknown: may fit
  EXPECT_OK(CheckAdmission(Spec(), f));
  f.workers.clear();
  EXPECT_OK(CheckAdmission(Spec(), f));
}

TEST(Admission, RefusesPathsOutsideTheRoots) {
  AdmissionFacts f = Facts();
  f.roots = {"/data/books", "/other"};
  const absl::Status s = CheckAdmission(Spec(), f);
  EXPECT_THAT(s, StatusIs(Code::kInvalidArgument, HasSubstr("/data/code lies outside")));
  EXPECT_EQ(ReasonOf(s), v1::ErrorDetail::PATH_OUTSIDE_ROOTS);
  f.roots = {"/data"};
  EXPECT_OK(CheckAdmission(Spec(), f));
}

TEST(Admission, RefusesWhenTheQueueIsFull) {
  AdmissionFacts f = Facts();
  f.queued = 3;
  const absl::Status s = CheckAdmission(Spec(), f, {.max_queued = 3});
  EXPECT_THAT(s, StatusIs(Code::kResourceExhausted, HasSubstr("3 runs are queued")));
  EXPECT_EQ(ReasonOf(s), v1::ErrorDetail::QUEUE_FULL);
}

TEST(IsUnderRoots, KnowsTheTricks) {
  EXPECT_TRUE(IsUnderRoots("/a/b", {"/a"}));
  EXPECT_TRUE(IsUnderRoots("/a", {"/a"}));
  EXPECT_TRUE(IsUnderRoots("/a/b", {"/"}));
  EXPECT_TRUE(IsUnderRoots("relative", {}));
  EXPECT_FALSE(IsUnderRoots("/ab", {"/a"}));
  EXPECT_FALSE(IsUnderRoots("/a/../b", {"/a"}));
  EXPECT_FALSE(IsUnderRoots("a/b", {"/a"}));
}

TEST(CheckAdmission, RefusesMoreWorkersThanThereCanBe) {
  RunSpec spec = Spec();
  spec.min_workers = spec.max_workers = 2001;
  EXPECT_THAT(CheckAdmission(spec, Facts()),
              StatusIs(Code::kInvalidArgument, HasSubstr("workers.min: expected at most 2000")));
}

}  // namespace
}  // namespace tritter
