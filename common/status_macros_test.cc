#include "common/status_macros.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <memory>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

absl::StatusOr<std::unique_ptr<int>> Box(int v) {
  if (v < 0) return absl::OutOfRangeError("negative");
  return std::make_unique<int>(v);
}

absl::StatusOr<int> Sum(int a, int b) {
  ASSIGN_OR_RETURN(const std::unique_ptr<int> x, Box(a));
  ASSIGN_OR_RETURN(std::unique_ptr<int> y, Box(b));
  RETURN_IF_ERROR(absl::OkStatus());
  RETURN_IF_ERROR(Box(*x));
  return *x + *y;
}

TEST(StatusMacros, PassValuesOnAndErrorsUp) {
  ASSERT_OK_AND_ASSIGN(const int sum, Sum(1, 2));
  EXPECT_EQ(sum, 3);
  EXPECT_THAT(Sum(-1, 2), StatusIs(absl::StatusCode::kOutOfRange, "negative"));
  EXPECT_THAT(Sum(1, -2), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(Annotate, KeepsCodeAndPayload) {
  absl::Status status = absl::AbortedError("x");
  status.SetPayload("url", absl::Cord("detail"));
  const absl::Status out = Annotate(status, "while y");
  EXPECT_EQ(out.message(), "while y: x");
  EXPECT_EQ(out.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(out.GetPayload("url"), absl::Cord("detail"));
  EXPECT_OK(Annotate(absl::OkStatus(), "while y"));
}

TEST(StatusMatchers, FailWhenTheyShould) {
  EXPECT_NONFATAL_FAILURE(EXPECT_OK(absl::AbortedError("reason")), "reason");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(Sum(1, 2), StatusIs(absl::StatusCode::kAborted)), "OK");
}

}  // namespace
}  // namespace tritter
