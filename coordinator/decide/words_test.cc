#include "coordinator/decide/words.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

TEST(Words, WhatIsKeptHasNoAge) {
  for (const absl::Duration age : {absl::ZeroDuration(), absl::Seconds(41), absl::Hours(2)}) {
    EXPECT_EQ(WithoutAges(absl::StrCat("a lost ", Ago(age), " (x), b left ", Ago(age))),
              "a lost (x), b left");
  }
  for (const char* other :
       {"", "a year ago", "it began 3 steps ago", "3 s", "x3 s ago", "12.5 s agog"})
    EXPECT_EQ(WithoutAges(other), other);
}

TEST(Words, Sizes) {
  EXPECT_EQ(Bytes(3 << 10), "3 KiB");
  EXPECT_EQ(Bytes(3 << 19), "1.5 MiB");
  EXPECT_EQ(Bytes(512 << 20), "512 MiB");
  EXPECT_EQ(Bytes(int64_t{5} << 29), "2.5 GiB");
}

TEST(Words, AWorkerIsNamedOnce) {
  EXPECT_EQ(NamedWorker("a"), "worker a");
  EXPECT_EQ(NamedWorker("worker-0"), "worker-0");
  EXPECT_EQ(NamedWorkers({"a"}), "worker a");
  EXPECT_EQ(NamedWorkers({"a", "b"}), "workers a and b");
  EXPECT_EQ(NamedWorkers({"worker-0", "worker-1"}), "worker-0 and worker-1");
}

TEST(Words, TriesAreCounted) {
  EXPECT_EQ(TriesAgain(absl::Seconds(2), 3, 5),
            "tries again in 2.0 s (3 epochs in a row made no progress, it gives up after 5)");
}

TEST(GoesOnWords, FromAMemoryOrACheckpoint) {
  EXPECT_EQ(GoesOnWords({"w1"}, 462, 400),
            "it goes on from step 462, which w1 holds in memory (newest checkpoint: step 400)");
  EXPECT_EQ(GoesOnWords({"a", "b"}, 46, 0),
            "it goes on from step 46, which a and b hold in memory (newest checkpoint: none)");
  EXPECT_EQ(GoesOnWords({}, 0, 400), "it goes on from its checkpoint of step 400");
}

TEST(GivenUpWords, WhichStepsAreTrainedAgain) {
  EXPECT_EQ(GivenUpWords({"w1"}, "el (r-1)", 400, 0, 0),
            "w1 goes to run el (r-1), and with it the state of step 400 in its memory: steps 1 to "
            "400 are trained again when the run goes on (newest checkpoint: none)");
  EXPECT_EQ(GivenUpWords({"a", "b"}, "el (r-1)", 46, 45, 40),
            "a and b go to run el (r-1), and with them the state of step 46 in their memory: step "
            "46 is trained again when the run goes on (newest checkpoint: step 40)");
}

}  // namespace
}  // namespace tritter
