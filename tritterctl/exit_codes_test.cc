#include "tritterctl/exit_codes.h"

#include <gtest/gtest.h>

#include "tritterctl/error_detail.h"

namespace tritter {
namespace {

TEST(ExitCodes, ServerErrorsHaveTheDocumentedCodes) {
  EXPECT_EQ(ServerExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ServerExitCode(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ServerExitCode(absl::UnavailableError("")), 3);
  EXPECT_EQ(ServerExitCode(absl::InternalError("")), 4);
  EXPECT_EQ(ServerExitCode(absl::FailedPreconditionError("")), 2);
  EXPECT_EQ(ServerExitCode(absl::AlreadyExistsError("")), 2);
  EXPECT_EQ(ServerExitCode(absl::ResourceExhaustedError("")), 4);
  EXPECT_EQ(ServerExitCode(absl::NotFoundError("")), 5);
  EXPECT_EQ(ServerExitCode(absl::PermissionDeniedError("")), 6);
  EXPECT_EQ(ServerExitCode(absl::UnauthenticatedError("")), 6);
  EXPECT_EQ(ServerExitCode(absl::DeadlineExceededError("")), 7);
  EXPECT_EQ(ServerExitCode(absl::CancelledError("")), 130);
}

TEST(ExitCodes, LocalFailuresAreOneUnlessTheArgumentsAreWrong) {
  EXPECT_EQ(LocalExitCode(absl::DataLossError("")), 1);
  EXPECT_EQ(LocalExitCode(absl::ResourceExhaustedError("")), 1);
  EXPECT_EQ(LocalExitCode(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(LocalExitCode(absl::FailedPreconditionError("")), 2);
  EXPECT_EQ(LocalExitCode(absl::NotFoundError("")), 5);
  EXPECT_EQ(LocalExitCode(absl::PermissionDeniedError("")), 6);
}

TEST(ErrorText, ShowsTheHintOfTheDetail) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::UNKNOWN_RUN);
  detail.set_hint("look with get runs");
  absl::Status status = absl::NotFoundError("no run 'x'");
  AttachErrorDetail(detail.SerializeAsString(), &status);
  EXPECT_EQ(ErrorText(status), "tritterctl: no run 'x'\nhint: look with get runs");
  EXPECT_EQ(ErrorDetailOf(status)->reason(), v1::ErrorDetail::UNKNOWN_RUN);
}

TEST(ErrorText, SaysAHintOnceThatTheMessageEndsWith) {
  v1::ErrorDetail detail;
  detail.set_hint("list the runs");
  absl::Status status = absl::NotFoundError("no run \"x\"; list the runs");
  AttachErrorDetail(detail.SerializeAsString(), &status);
  EXPECT_EQ(ErrorText(status), "tritterctl: no run \"x\"\nhint: list the runs");
}

TEST(ErrorText, BytesThatAreNoDetailAreDropped) {
  absl::Status status = absl::InternalError("x");
  AttachErrorDetail("\xff\xff\xff", &status);
  EXPECT_EQ(ErrorText(status), "tritterctl: x");
  EXPECT_FALSE(ErrorDetailOf(status).has_value());
}

}  // namespace
}  // namespace tritter
