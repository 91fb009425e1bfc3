#include "access/message_limits.h"

#include "common/testing/status_matchers.h"
#include "tritter/v1/runs.pb.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(MessageLimits, BoundsTextsAndListsWhereverTheyAre) {
  v1::ReportRequest report;
  report.mutable_worker()->set_name(std::string(1024, 'x'));
  EXPECT_OK(CheckMessage(report, RequestLimits()));
  report.mutable_worker()->set_name(std::string(1025, 'x'));
  EXPECT_THAT(CheckMessage(report, RequestLimits()),
              StatusIs(kInvalid, AllOf(HasSubstr("WorkerIdentity.name"), HasSubstr("1025"),
                                       HasSubstr("at most 1024"))));
  report.mutable_worker()->set_name("a");
  for (int i = 0; i < 1000; ++i) report.add_evaluations()->set_source("s");
  EXPECT_OK(CheckMessage(report, RequestLimits()));
  report.mutable_evaluations(999)->set_source("new\nline");
  EXPECT_THAT(CheckMessage(report, RequestLimits()),
              StatusIs(kInvalid, AllOf(HasSubstr("EvaluationPoint.source"), HasSubstr("byte 3"))));
  report.mutable_evaluations(999)->set_source("größer");
  EXPECT_OK(CheckMessage(report, RequestLimits()));
  report.add_evaluations();
  EXPECT_THAT(CheckMessage(report, RequestLimits()),
              StatusIs(kInvalid, AllOf(HasSubstr("evaluations"), HasSubstr("1001 entries"))));
}

TEST(MessageLimits, SomeFieldsHaveTheirOwnBoundAndHoldAnyText) {
  v1::SubmitRunRequest submit;
  submit.set_yaml("name: a\n\tb" + std::string(1 << 20, ' '));
  EXPECT_OK(CheckMessage(submit, RequestLimits()));
  submit.set_yaml(std::string((2 << 20) + 1, ' '));
  EXPECT_THAT(CheckMessage(submit, RequestLimits()), StatusIs(kInvalid, HasSubstr("yaml")));
  v1::ReportRequest report;
  for (int i = 0; i < 10000; ++i) report.add_steps();
  EXPECT_OK(CheckMessage(report, RequestLimits()));
  report.add_steps();
  EXPECT_FALSE(CheckMessage(report, RequestLimits()).ok());
}

// A name that is misspelt would bound nothing.
TEST(MessageLimits, EveryFieldWithABoundOfItsOwnExists) {
  for (const auto& [name, bound] : RequestLimits().fields) {
    EXPECT_NE(google::protobuf::DescriptorPool::generated_pool()->FindFieldByName(name), nullptr)
        << name;
  }
}

}  // namespace
}  // namespace tritter
