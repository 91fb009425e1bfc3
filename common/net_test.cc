#include "common/net.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

TEST(ParseHostPort, TakesNamesAndAddresses) {
  ASSERT_OK_AND_ASSIGN(HostPort v4, ParseHostPort("127.0.0.1:7000"));
  EXPECT_EQ(v4.host, "127.0.0.1");
  EXPECT_EQ(v4.port, 7000);
  ASSERT_OK_AND_ASSIGN(HostPort v6, ParseHostPort("[::1]:0"));
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(FormatHostPort(v6), "[::1]:0");
  EXPECT_EQ(FormatHostPort(v4), "127.0.0.1:7000");
}

TEST(ParseHostPort, RefusesTheRest) {
  for (const char* text : {"", ":1", "host", "host:", "host:-1", "host:65536", "host:x", "::1:7"}) {
    EXPECT_THAT(ParseHostPort(text), StatusIs(StatusCode::kInvalidArgument, HasSubstr(text)));
  }
}

TEST(IsLoopback, KnowsBothFamiliesAndTheName) {
  for (const char* host : {"127.0.0.1", "127.1.2.3", "::1", "localhost"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host : {"0.0.0.0", "::", "128.0.0.1", "10.0.0.1", "example.org", ""}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

TEST(CheckCanListen, SaysWhenThePortIsTaken) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_THAT(CheckCanListen({"127.0.0.1", ntohs(address.sin_port)}),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("is in use")));
  EXPECT_TRUE(CanConnect({"127.0.0.1", ntohs(address.sin_port)}));
  close(fd);
  EXPECT_FALSE(CanConnect({"127.0.0.1", ntohs(address.sin_port)}));
  EXPECT_OK(CheckCanListen({"127.0.0.1", ntohs(address.sin_port)}));
}

TEST(CheckCanListen, SaysWhenTheAddressIsNotOfThisMachine) {
  EXPECT_THAT(CheckCanListen({"192.0.2.1", 0}),  // reserved for documentation
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("not an address of this machine")));
  EXPECT_THAT(CheckCanListen({"no.such.host.invalid", 1}), StatusIs(StatusCode::kInvalidArgument));
}

TEST(PickFreeLoopbackPort, GivesAPortOnWhichOneCanListen) {
  ASSERT_OK_AND_ASSIGN(const int port, PickFreeLoopbackPort());
  EXPECT_GT(port, 0);
  EXPECT_OK(CheckCanListen({"localhost", port}));
}

}  // namespace
}  // namespace tritter
