#include "worker/failure_words.h"

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using testing::Not;

// Texts as these libraries write them.
TEST(DescribeFailure, WhatTheLibrariesSayOfAPeerBecomesOneSentence) {
  struct Case {
    EpochStage stage;
    absl::StatusCode code;
    const char* text;
    const char* sentence;
  };
  constexpr auto kAway = absl::StatusCode::kUnavailable;
  constexpr auto kLate = absl::StatusCode::kDeadlineExceeded;
  const Case cases[] = {
      {EpochStage::kStep, kAway,
       "all-reduce: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Read error "
       "[127.0.0.1]:21918: Connection reset by peer",
       "w1 stopped answering in the gradient exchange of step 413"},
      {EpochStage::kStep, kAway,
       "all-reduce: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed "
       "by peer [127.0.0.1]:43210",
       "w1 stopped answering in the gradient exchange of step 413"},
      {EpochStage::kStep, kAway,
       "all-reduce: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:427] writev "
       "[10.0.0.2]:59283: Broken pipe",
       "w1 stopped answering in the gradient exchange of step 413"},
      {EpochStage::kStep, kLate,
       "all-reduce: [/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out "
       "waiting 60000ms for recv operation to complete",
       "w1 kept the others waiting too long in the gradient exchange of step 413"},
      {EpochStage::kEvaluation, kLate,
       "all-reduce: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:614] Application timeout "
       "caused pair closure",
       "w1 kept the others waiting too long in the evaluation after step 412"},
      {EpochStage::kMemoryStart, kAway,
       "broadcast: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by "
       "peer [fd00::2]:43210",
       "w1 stopped answering while the state of step 412 was handed over"},
      {EpochStage::kGroup, kAway,
       "rank 1 of 2 joining at 10.0.0.1:4321: Gloo connectFullMesh failed with "
       "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:144] no error",
       "w1 could not be reached while the group was formed"},
      {EpochStage::kGroup, kAway,
       "no rendezvous at 10.0.0.1:4321 within 1m: The client socket has timed out after 60000ms "
       "while trying to connect to (10.0.0.1, 4321).",
       "w1 could not be reached while the group was formed"},
      {EpochStage::kGroup, kLate,
       "rank 0 of 2 joining at 10.0.0.1:4321: wait timeout after 60000ms, keys: /r-1/2/1/0",
       "w1 kept the others waiting too long while the group was formed"},
      {EpochStage::kGroup, kAway,
       "rank 0 of 2 joining at 10.0.0.1:4321: failed to recv, got 0 bytes. Connection was likely "
       "closed. Did the remote server shutdown or crash?",
       "w1 stopped answering while the group was formed"},
      {EpochStage::kStep, kAway,
       "all-reduce (NCCL): NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.cpp:77, remote "
       "process exited or there was a network error, NCCL version 2.27.3",
       "w1 stopped answering in the gradient exchange of step 413"},
  };
  for (const Case& c : cases) {
    const FailureWords words = DescribeFailure(c.stage, 412, absl::Status(c.code, c.text), {"w1"});
    EXPECT_EQ(words.sentence, c.sentence) << c.text;
    EXPECT_THAT(words.detail, HasSubstr(c.text));
  }
}

TEST(DescribeFailure, ThePeersAreNamedAsFarAsASentenceGoes) {
  const absl::Status closed = absl::UnavailableError("Connection closed by peer [::1]:4");
  const auto sentence = [&](const std::vector<std::string>& others) {
    return DescribeFailure(EpochStage::kStep, 0, closed, others).sentence;
  };
  const std::string what = " stopped answering in the gradient exchange of step 1";
  EXPECT_EQ(sentence({"a", "b", "c"}), "one of a, b and c" + what);
  EXPECT_EQ(sentence({"a", "b", "c", "d", "e"}), "one of the 5 other workers" + what);
}

TEST(DescribeFailure, OwnFailuresKeepTheirMessageWithoutTheLinesBehindIt) {
  absl::Status own = absl::InternalError("gradient of head.weight is not finite");
  FailureWords words = DescribeFailure(EpochStage::kStep, 7, own, {"w1"});
  EXPECT_EQ(words.sentence, "training at step 7: gradient of head.weight is not finite");
  EXPECT_EQ(words.detail, "");
  own = absl::InternalError(
      "LibTorch in step: out of range\nException raised from at x.cpp:3\nframe #0: y");
  words = DescribeFailure(EpochStage::kStep, 7, own, {"w1"});
  EXPECT_EQ(words.sentence, "training at step 7: LibTorch in step: out of range");
  EXPECT_THAT(words.detail,
              HasSubstr("INTERNAL: LibTorch in step: out of range\nException raised"));
  own = absl::UnavailableError("something new\nframe #0: z");
  words = DescribeFailure(EpochStage::kStep, 7, own, {"w1"});
  EXPECT_EQ(words.sentence, "training at step 7: something new");
  EXPECT_EQ(words.detail, "UNAVAILABLE: something new\nframe #0: z");
  // A shard that cannot be read in time is no peer.
  own = absl::DataLossError("/shards/a: connection reset");
  EXPECT_THAT(DescribeFailure(EpochStage::kSetUp, 7, own, {"w1"}).sentence, Not(HasSubstr("w1")));
}

}  // namespace
}  // namespace tritter
