// GoogleTest helpers for absl::Status and absl::StatusOr.
//   EXPECT_OK(env->SyncDir(dir));
//   ASSERT_OK_AND_ASSIGN(std::string text, env->ReadFile(path));
//   EXPECT_THAT(Parse("x"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x")));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/status_macros.h"

namespace tritter {
namespace status_internal {

class StatusIsMatcher {
 public:
  using is_gtest_matcher = void;

  StatusIsMatcher(testing::Matcher<absl::StatusCode> code, testing::Matcher<std::string> message)
      : code_(std::move(code)), message_(std::move(message)) {}

  template <typename T>
  bool MatchAndExplain(const T& value, testing::MatchResultListener* listener) const {
    const absl::Status status = ToStatus(value);
    *listener << "which is " << status.ToString();
    return code_.Matches(status.code()) && message_.Matches(std::string(status.message()));
  }
  void DescribeTo(std::ostream* os) const {
    *os << "has a code that ";
    code_.DescribeTo(os);
    *os << " and a message that ";
    message_.DescribeTo(os);
  }
  void DescribeNegationTo(std::ostream* os) const {
    *os << "not: ";
    DescribeTo(os);
  }

 private:
  testing::Matcher<absl::StatusCode> code_;
  testing::Matcher<std::string> message_;
};

}  // namespace status_internal

inline status_internal::StatusIsMatcher StatusIs(
    testing::Matcher<absl::StatusCode> code, testing::Matcher<std::string> message = testing::_) {
  return status_internal::StatusIsMatcher(std::move(code), std::move(message));
}

inline status_internal::StatusIsMatcher IsOk() { return StatusIs(absl::StatusCode::kOk); }

}  // namespace tritter

#define EXPECT_OK(expression) EXPECT_THAT((expression), ::tritter::IsOk())
#define ASSERT_OK(expression) ASSERT_THAT((expression), ::tritter::IsOk())

#define ASSERT_OK_AND_ASSIGN(lhs, expression) \
  ASSERT_OK_AND_ASSIGN_IMPL(TRITTER_CONCAT(tritter_statusor_, __LINE__), lhs, expression)
#define ASSERT_OK_AND_ASSIGN_IMPL(tmp, lhs, expression)         \
  auto tmp = (expression);                                      \
  ASSERT_TRUE(tmp.ok()) << #expression << ": " << tmp.status(); \
  lhs = *std::move(tmp)
