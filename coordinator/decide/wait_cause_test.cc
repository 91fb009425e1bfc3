#include "coordinator/decide/wait_cause.h"

#include <gtest/gtest.h>

namespace tritter {
namespace {

TEST(WaitText, NamesALostWorkerOnce) {
  const Wait lost{WaitCause::kWorkersLost, "needs 2 workers: 1 is free; w-1 was lost 3 s ago"};
  EXPECT_EQ(WaitText(lost, "", ""), lost.sentence);
  EXPECT_EQ(WaitText(lost, "worker w-1 lost: silent", "w-1"), lost.sentence);
  EXPECT_EQ(WaitText(lost, "worker w-2 lost: silent", "w-2"),
            lost.sentence + "; the last epoch ended: worker w-2 lost: silent");
  EXPECT_EQ(WaitText(lost, "worker w-1 (rank 0) failed: x", ""),
            lost.sentence + "; the last epoch ended: worker w-1 (rank 0) failed: x")
      << "it failed before";
  for (const WaitCause cause : {WaitCause::kWorkersBusy, WaitCause::kBehindOlder}) {
    const Wait others{cause, "needs 2 workers: none is free"};
    EXPECT_EQ(WaitText(others, "worker w-1 lost: silent", "w-1"), others.sentence)
        << "its end is no reason for that";
  }
}

TEST(SaysTheSame, WhateverTheFiguresAndAges) {
  EXPECT_TRUE(SaysTheSame("w lost 4.5 s ago", "w lost 3 min ago"));
  EXPECT_TRUE(SaysTheSame("tries again in 4 s", "tries again in 12 s"));
  EXPECT_FALSE(SaysTheSame("w lost 4 s ago", "v lost 4 s ago"));
}

}  // namespace
}  // namespace tritter
