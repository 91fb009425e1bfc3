#include "common/figure.h"

#include <gtest/gtest.h>

namespace tritter {
namespace {

TEST(MeetsBar, ReadsBothDirections) {
  EXPECT_TRUE(MeetsBar(1.05, "<= 1.05"));
  EXPECT_FALSE(MeetsBar(1.06, "<= 1.05"));
  EXPECT_TRUE(MeetsBar(600, ">= 600"));
  EXPECT_FALSE(MeetsBar(599, ">= 600"));
}

TEST(PrintFigure, IsOneLineOfSevenFields) {
  testing::internal::CaptureStdout();
  PrintFigure({"step", 1.25, "x", "plain", "<= 1.05"});
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "figure\tstep\t1.25\tx\tplain\t<= 1.05\tmissed\n");
}

}  // namespace
}  // namespace tritter
