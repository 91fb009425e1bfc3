#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "common/testing/status_matchers.h"
#include "worker/collective.h"
#include "worker/testing/collective_conformance.h"
#include "worker/testing/gloo_group.h"

extern char** environ;

namespace tritter {
namespace {

using testing::HasSubstr;

std::vector<std::unique_ptr<Collective>> MakeSingle() {
  std::vector<std::unique_ptr<Collective>> group;
  group.push_back(SingleProcessCollective());
  return group;
}

INSTANTIATE_TEST_SUITE_P(
    All, CollectiveConformance,
    testing::Values(GroupFactory{"Single", 1, MakeSingle},                          //
                    GroupFactory{"GlooAlone", 1, [] { return MakeGlooGroup(1); }},  //
                    GroupFactory{"GlooTwo", 2, [] { return MakeGlooGroup(2); }},    //
                    GroupFactory{"GlooThree", 3, [] { return MakeGlooGroup(3); }}),
    [](const auto& info) { return info.param.name; });

// Starts this binary again as another rank; see main.
pid_t SpawnPeer(const std::string& address) {
  std::vector<std::string> args{"/proc/self/exe", "--peer", address};
  std::vector<char*> argv;
  for (auto& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, argv.data(), environ), 0);
  return pid;
}

TEST(GlooCollective, DeathOfAPeerIsUnavailableAtOnce) {
  ASSERT_OK_AND_ASSIGN(auto rendezvous, OpenRendezvous("127.0.0.1", 2));
  const pid_t peer = SpawnPeer(rendezvous->address());
  // The operation limit is far beyond the test's own: only the broken connection can end the wait.
  ASSERT_OK_AND_ASSIGN(auto c, ConnectCollective(rendezvous->address(), rendezvous.get(), "run/1",
                                                 0, 2, absl::Minutes(30)));
  double v = 1;
  ASSERT_OK(c->AllReduceSum(&v, 1));
  EXPECT_EQ(v, 3);
  std::vector<float> data(1 << 20, 1.0f);
  ASSERT_OK_AND_ASSIGN(auto work, c->AllReduceSum(data.data(), 1 << 20));
  ASSERT_EQ(kill(peer, SIGKILL), 0);
  EXPECT_THAT(work->Wait(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("all-reduce")));
  int status = 0;
  EXPECT_EQ(waitpid(peer, &status, 0), peer);
}

TEST(GlooCollective, OperationTimesOutWithDeadlineExceeded) {
  ASSERT_OK_AND_ASSIGN(auto rendezvous, OpenRendezvous("127.0.0.1", 2));
  const pid_t peer = SpawnPeer(rendezvous->address());
  ASSERT_OK_AND_ASSIGN(auto c, ConnectCollective(rendezvous->address(), rendezvous.get(), "run/1",
                                                 0, 2, absl::Seconds(2)));
  double v = 1;
  ASSERT_OK(c->AllReduceSum(&v, 1));
  EXPECT_THAT(c->AllReduceSum(&v, 1),
              StatusIs(absl::StatusCode::kDeadlineExceeded, testing::_));  // the peer sleeps
  kill(peer, SIGKILL);
  waitpid(peer, nullptr, 0);
}

TEST(GlooCollective, JoiningTimesOutWhenNotEverybodyComes) {
  ASSERT_OK_AND_ASSIGN(auto rendezvous, OpenRendezvous("127.0.0.1", 2));
  auto c = ConnectCollective(rendezvous->address(), rendezvous.get(), "run/1", 0, 2,
                             absl::Milliseconds(500));
  EXPECT_THAT(c.status(), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 0 of 2")));
}

TEST(GlooCollective, SaysWhenAnAddressIsWrong) {
  EXPECT_THAT(ConnectCollective("nowhere", nullptr, "run/1", 1, 2, absl::Seconds(1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not host:port")));
  EXPECT_THAT(OpenRendezvous("no.such.host.invalid", 2).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("does not resolve")));
  EXPECT_THAT(ConnectCollective("127.0.0.1:1", nullptr, "run/1", 3, 2, absl::Seconds(1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 3")));
}

TEST(GlooCollective, TwoEpochsShareARendezvousWithoutMixing) {
  ASSERT_OK_AND_ASSIGN(auto rendezvous, OpenRendezvous("127.0.0.1", 1));
  for (const char* prefix : {"run/1", "run/2"}) {
    ASSERT_OK_AND_ASSIGN(auto c, ConnectCollective(rendezvous->address(), rendezvous.get(), prefix,
                                                   0, 1, absl::Seconds(5)));
    double v = 4;
    EXPECT_OK(c->AllReduceSum(&v, 1));
    EXPECT_EQ(v, 4);
  }
}

// The other rank: one sum, then it stays silent until it is killed.
int PeerMain(const std::string& address) {
  for (const char* prefix : {"run/1"}) {
    auto c = ConnectCollective(address, nullptr, prefix, 1, 2, absl::Minutes(30));
    double v = 2;
    if (!c.ok() || !(*c)->AllReduceSum(&v, 1).ok() || v != 3) return 1;
    pause();
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--peer") == 0) return tritter::PeerMain(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
