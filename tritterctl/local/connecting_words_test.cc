#include "tritterctl/local/connecting_words.h"

#include <gtest/gtest.h>

namespace tritter {
namespace {

constexpr absl::Duration kLong = absl::Minutes(1);

TEST(ConnectingWords, NamesTheWorkersThatAreStarting) {
  for (const char* cause : {"no_workers", "too_few_workers", "workers_lost", "settling"}) {
    EXPECT_EQ(ConnectingWords(cause, {"worker-1"}, kLong), "waiting for worker-1 to connect");
  }
  EXPECT_EQ(ConnectingWords("no_workers", {"worker-0", "worker-1", "worker-2"}, kLong),
            "waiting for worker-0, worker-1 and worker-2 to connect");
  EXPECT_EQ(ConnectingWords("no_workers", {"0", "1", "2", "3", "4"}, kLong),
            "waiting for 5 workers to connect");
}

// Between its ready file and what the coordinator hears of it.
TEST(ConnectingWords, AReadyOneIsGivenAMomentToBeHeardOf) {
  EXPECT_EQ(ConnectingWords("too_few_workers", {}, absl::Seconds(1)),
            "waiting for the workers to connect");
  EXPECT_EQ(ConnectingWords("too_few_workers", {}, kLong), "");
}

TEST(ConnectingWords, WhatStartingDoesNotMendIsLeftToTheCoordinator) {
  for (const char* cause : {"too_little_memory", "retry_delay", "verifying", ""})
    EXPECT_EQ(ConnectingWords(cause, {"worker-1"}, absl::Seconds(1)), "") << cause;
}

}  // namespace
}  // namespace tritter
