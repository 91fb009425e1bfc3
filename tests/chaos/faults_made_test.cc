// The makers of faults do what they say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"
#include "tests/chaos/faulty_network.h"
#include "tests/chaos/isolation.h"
#include "tests/chaos/small_disk.h"
#include "tests/chaos/wall_clock.h"

namespace tritter::chaos {
namespace {

using ::testing::HasSubstr;

const absl::Status isolated = Isolate();

// A listener on `at`, a client on `from`: what the client gets within two seconds.
std::string Talk(FaultyNetwork& network, int at, int from) {
  constexpr char kServe[] =
      "import socket,sys; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1);"
      "s.bind((sys.argv[1],5000)); s.listen(); c,_=s.accept(); c.sendall(b'hello'*4000); c.close()";
  constexpr char kAsk[] =
      "import socket,sys,time\n"
      "end=time.monotonic()+2\n"
      "while True:\n"
      "  try:\n"
      "    c=socket.create_connection((sys.argv[1],5000),timeout=1); break\n"
      "  except OSError as e:\n"
      "    if time.monotonic()>end: print(e); sys.exit(1)\n"
      "    time.sleep(0.05)\n"
      "print(len(b''.join(iter(lambda: c.recv(65536), b''))))";
  const auto start = [&](int host, const char* program) {
    SubprocessOptions options;
    options.argv = network.Enter(host);
    for (const std::string& word : {std::string("/usr/bin/python3"), std::string("-c"),
                                    std::string(program), network.address(at)})
      options.argv.push_back(word);
    options.output = SubprocessOptions::Output::kPipe;
    return Subprocess::Start(options);
  };
  auto server = start(at, kServe), client = start(from, kAsk);
  EXPECT_OK(server.status());
  EXPECT_OK(client.status());
  if (!server.ok() || !client.ok()) return "";
  (void)(*client)->Wait(absl::Seconds(20));
  return (*client)->ReadOutput();
}

TEST(FaultyNetwork, PassesLosesDoublesAndCuts) {
  if (!isolated.ok()) GTEST_SKIP() << isolated;
  auto made = FaultyNetwork::Create(3, 5);
  if (!made.ok()) GTEST_SKIP() << made.status();
  FaultyNetwork& network = **made;
  EXPECT_EQ(Talk(network, 0, 1), "20000\n");
  EXPECT_EQ(Talk(network, 1, 2), "20000\n");
  EXPECT_EQ(network.counts().lost + network.counts().doubled + network.counts().held_back, 0);
  network.Set(1, {.loss = 0.2,
                  .doubled = 0.3,
                  .delay = absl::Milliseconds(2),
                  .jitter = absl::Milliseconds(5)});
  EXPECT_EQ(Talk(network, 1, 2), "20000\n");
  EXPECT_GT(network.counts().lost, 0);
  EXPECT_GT(network.counts().doubled, 0);
  network.Set(1, {.cut = true});
  EXPECT_THAT(Talk(network, 1, 2), HasSubstr("timed out"));
  EXPECT_GT(network.counts().held_back, 0);
  EXPECT_EQ(Talk(network, 0, 2), "20000\n") << "the others go on";
  network.Set(1, {});
  network.Part(2, 1, true);
  EXPECT_THAT(Talk(network, 1, 2), HasSubstr("timed out"));
  EXPECT_EQ(Talk(network, 0, 1), "20000\n") << "the others go on";
  network.Part(1, 2, false);
  EXPECT_EQ(Talk(network, 1, 2), "20000\n");
}

TEST(SmallDisk, IsFullAndHasRoomAgain) {
  if (!isolated.ok()) GTEST_SKIP() << isolated;
  const std::string folder = JoinPath(testing::TempDir(), "small-disk");
  ASSERT_OK_AND_ASSIGN(const auto disk, SmallDisk::Mount(folder, 1 << 20));
  const std::string file = JoinPath(folder, "file");
  EXPECT_OK(WriteFileAtomically(Env::Real(), file, std::string(1000, 'x')));
  ASSERT_OK(disk->Fill());
  EXPECT_EQ(WriteFileAtomically(Env::Real(), file, std::string(9000, 'y')).code(),
            absl::StatusCode::kResourceExhausted);
  ASSERT_OK(disk->Free());
  EXPECT_OK(WriteFileAtomically(Env::Real(), file, std::string(9000, 'z')));
}

TEST(WallClock, JumpsForProcessesThatRun) {
  ASSERT_OK_AND_ASSIGN(const auto clock, WallClock::Create(JoinPath(testing::TempDir(), "offset"),
                                                           "tests/chaos/libwall_clock_preload.so"));
  SubprocessOptions options;
  options.argv = {"/usr/bin/python3", "-uc",
                  "import time\n"
                  "a=time.time(); print(int(a)); b=time.monotonic()\n"
                  "while abs(time.time()-a)<1000: time.sleep(0.01)\n"
                  "print(int(time.time()), time.monotonic()-b<1000)"};
  options.environment = clock->environment();
  options.output = SubprocessOptions::Output::kPipe;
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  ASSERT_OK_AND_ASSIGN(const auto process, Subprocess::Start(options));
  std::string said;
  while (said.empty() && !process->Poll()) said += process->ReadOutput();
  int64_t before = 0;
  ASSERT_TRUE(absl::SimpleAtoi(said, &before)) << said;
  EXPECT_LT(std::abs(before - now), 600);
  clock->Jump(-absl::Hours(24));
  ASSERT_TRUE(process->Wait(absl::Seconds(60)).has_value());
  int64_t after = 0;
  char word[8] = "";
  said = process->ReadOutput();
  ASSERT_EQ(std::sscanf(said.c_str(), "%ld %7s", &after, word), 2) << said;
  EXPECT_LT(std::abs(after + 24 * 3600 - now), 600);
  EXPECT_STREQ(word, "True") << "the monotonic clock does not jump";
}

}  // namespace
}  // namespace tritter::chaos
