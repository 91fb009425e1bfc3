#include "common/figure.h"

#include <gtest/gtest.h>

#include <limits>

namespace tritter {
namespace {

TEST(MeetsBar, ReadsBothDirections) {
  EXPECT_TRUE(MeetsBar(1.05, "<= 1.05"));
  EXPECT_FALSE(MeetsBar(1.06, "<= 1.05"));
  EXPECT_TRUE(MeetsBar(600, ">= 600"));
  EXPECT_FALSE(MeetsBar(599, ">= 600"));
  for (const char* bar : {"<= 1", ">= 1"})
    EXPECT_FALSE(MeetsBar(std::numeric_limits<double>::quiet_NaN(), bar)) << bar;
}

// One test: what missed its bar stays on record.
TEST(PrintFigure, IsOneLineOfSevenFieldsAndAMissedBarEndsTheProcessWithACode) {
  testing::internal::CaptureStdout();
  PrintFigure({"step", 1.0, "x", "plain", "<= 1.05"});
  PrintFigure({"only reported", 9, "s", "", ""});
  EXPECT_EQ(ConcludeFigures(), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "figure\tstep\t1\tx\tplain\t<= 1.05\tmet\nfigure\tonly reported\t9\ts\t\t\t-\n");

  testing::internal::CaptureStdout();
  PrintFigure({"step", 1.25, "x", "plain", "<= 1.05"});
  PrintFigure({"decode", 500, "tokens/s", "", ">= 600"});
  EXPECT_EQ(ConcludeFigures(), kExitBarMissed);
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "figure\tstep\t1.25\tx\tplain\t<= 1.05\tmissed\n"
            "figure\tdecode\t500\ttokens/s\t\t>= 600\tmissed\n"
            "missed its bar: step; decode\n");
}

}  // namespace
}  // namespace tritter
