#include "coordinator/report_checks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using Code = absl::StatusCode;
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

v1::ReportRequest GoodReport() {
  v1::ReportRequest report;
  for (int64_t step = 5; step < 7; ++step) {
    v1::StepMetrics* m = report.add_steps();
    m->set_step(step);
    m->set_loss(2);
    m->set_tokens(2048);
    m->set_step_seconds(0.5);
  }
  v1::EvaluationPoint* e = report.add_evaluations();
  e->set_step(6);
  e->set_source("text");
  e->set_weights("averaged");
  e->set_loss(2);
  e->set_tokens(100);
  return report;
}

RunSpec Spec() {
  RunSpec spec;
  spec.sources = {{"text", "/data/text"}, {"code", "/data/code"}};
  return spec;
}

TEST(ReportChecks, FiguresOfStepsThatCannotBeAreRefusedWithFieldAndValue) {
  struct Case {
    std::function<void(v1::StepMetrics*)> spoil;
    std::string field, actual;
  };
  for (const Case& c : {
           Case{[](auto* m) { m->set_step_seconds(std::nan("")); }, "step_seconds of step 6",
                "nan"},
           Case{[](auto* m) { m->set_step_seconds(-1); }, "step_seconds of step 6", "-1"},
           Case{[](auto* m) { m->set_step_seconds(INFINITY); }, "step_seconds", "inf"},
           Case{[](auto* m) { m->set_step_seconds(2e7); }, "step_seconds", "2e+07"},
           Case{[](auto* m) { m->set_data_seconds(-0.5); }, "data_seconds", "-0.5"},
           Case{[](auto* m) { m->set_reduce_seconds(std::nan("")); }, "reduce_seconds", "nan"},
           Case{[](auto* m) { m->set_tokens(-3); }, "tokens of step 6", "-3"},
           Case{[](auto* m) { m->set_tokens(kMost); }, "tokens", "9223372036854775807"},
           Case{[](auto* m) { m->set_sent_bytes(-1); }, "sent_bytes", "-1"},
           Case{[](auto* m) { m->set_step(5); }, "steps: step", "5 more than once"},
       }) {
    v1::ReportRequest report = GoodReport();
    ASSERT_OK(CheckReport(report));
    c.spoil(report.mutable_steps(1));
    const absl::Status status = CheckReport(report);
    EXPECT_THAT(status, StatusIs(Code::kInvalidArgument, HasSubstr(c.field)));
    ASSERT_TRUE(DetailOf(status).has_value());
    EXPECT_THAT(DetailOf(status)->field(), HasSubstr(c.field));
    EXPECT_EQ(DetailOf(status)->actual(), c.actual);
    EXPECT_NE(DetailOf(status)->expected(), "");
  }
}

// The worker stops over it by itself; the curve shows where.
TEST(ReportChecks, ALossOfTrainingThatIsNoNumberIsTaken) {
  v1::ReportRequest report = GoodReport();
  report.mutable_steps(0)->set_loss(std::nan(""));
  report.mutable_steps(0)->set_grad_norm(INFINITY);
  EXPECT_OK(CheckReport(report));
}

TEST(ReportChecks, EvaluationsOfNothingThatTheRunHasAreRefused) {
  struct Case {
    std::function<void(v1::EvaluationPoint*)> spoil;
    std::string field, actual;
  };
  for (const Case& c : {
           Case{[](auto* e) { e->set_source("other"); }, "source", "\"other\""},
           Case{[](auto* e) { e->set_source(std::string(1000, 'x')); }, "source", "xxx"},
           Case{[](auto* e) { e->set_weights("half"); }, "weights", "\"half\""},
           Case{[](auto* e) { e->set_weights(""); }, "weights", "\"\""},
           Case{[](auto* e) { e->set_step(-1); }, "step", "-1"},
           Case{[](auto* e) { e->set_step(11); }, "step", "11"},
           Case{[](auto* e) { e->set_loss(std::nan("")); }, "loss of text at step 6", "nan"},
           Case{[](auto* e) { e->set_loss(INFINITY); }, "loss", "inf"},
           Case{[](auto* e) { e->set_loss(-1); }, "loss", "-1"},
           Case{[](auto* e) { e->set_bits_per_byte(std::nan("")); }, "bits_per_byte", "nan"},
           Case{[](auto* e) { e->set_tokens(-1); }, "tokens", "-1"},
           Case{[](auto* e) { e->set_raw_bytes(-1); }, "raw_bytes", "-1"},
           Case{[](auto* e) { e->set_seconds(-1); }, "seconds", "-1"},
       }) {
    v1::ReportRequest report = GoodReport();
    ASSERT_OK(CheckEvaluations(report, Spec(), 10));
    c.spoil(report.mutable_evaluations(0));
    const absl::Status status = CheckEvaluations(report, Spec(), 10);
    EXPECT_THAT(status, StatusIs(Code::kInvalidArgument, HasSubstr(c.field)));
    EXPECT_LT(status.message().size(), 300u);
    ASSERT_TRUE(DetailOf(status).has_value());
    EXPECT_THAT(DetailOf(status)->field(), HasSubstr(c.field));
    EXPECT_THAT(DetailOf(status)->actual(), HasSubstr(c.actual));
  }
}

TEST(ReportChecks, EveryStepOfTheRunAndEverySourceMayBeEvaluated) {
  v1::ReportRequest report = GoodReport();
  for (const int64_t step : {0, 10}) {
    report.mutable_evaluations(0)->set_step(step);
    for (const char* source : {"text", "code"}) {
      report.mutable_evaluations(0)->set_source(source);
      for (const char* weights : {"averaged", "raw"}) {
        report.mutable_evaluations(0)->set_weights(weights);
        EXPECT_OK(CheckEvaluations(report, Spec(), 10));
      }
    }
  }
}

TEST(ReportChecks, ASpeedThatCannotBeIsRefused) {
  v1::Heartbeat heartbeat;
  EXPECT_OK(CheckHeartbeat(heartbeat));
  heartbeat.set_seconds_per_sequence(0.25);
  EXPECT_OK(CheckHeartbeat(heartbeat));
  for (const double bad : {-1.0, std::nan(""), double{INFINITY}, 1e300}) {
    heartbeat.set_seconds_per_sequence(bad);
    EXPECT_THAT(CheckHeartbeat(heartbeat),
                StatusIs(Code::kInvalidArgument, HasSubstr("seconds_per_sequence is ")));
  }
}

TEST(SaturatedSum, StaysAtTheLargestNumber) {
  EXPECT_EQ(SaturatedSum(1, 2), 3);
  EXPECT_EQ(SaturatedSum(kMost - 2, 2), kMost);
  EXPECT_EQ(SaturatedSum(kMost - 1, 2), kMost);
  EXPECT_EQ(SaturatedSum(kMost, kMost), kMost);
}

}  // namespace
}  // namespace tritter
