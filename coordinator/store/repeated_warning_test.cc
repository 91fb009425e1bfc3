#include "coordinator/store/repeated_warning.h"

#include <vector>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

TEST(RepeatedWarning, IsSaidAtOnceAndThenLessAndLessOften) {
  RepeatedWarning warning;
  const auto said = [&](int from) {
    std::vector<int> out;
    for (int second = from; second < from + 1000; ++second) {
      if (warning.Due(absl::Seconds(second))) out.push_back(second - from);
    }
    return out;
  };
  const auto expected = testing::ElementsAre(0, 5, 15, 35, 75, 155, 315, 615, 915);
  EXPECT_THAT(said(100), expected);
  EXPECT_EQ(warning.Since(absl::Seconds(130)), absl::Seconds(30));
  warning.Clear();
  EXPECT_EQ(warning.Since(absl::Seconds(130)), absl::ZeroDuration());
  EXPECT_THAT(said(5000), expected);
}

}  // namespace
}  // namespace tritter
