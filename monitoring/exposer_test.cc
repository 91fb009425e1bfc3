#include "monitoring/exposer.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::StartsWith;

// The whole answer, head and body.
std::string Fetch(int port, const std::string& path, const std::string& method = "GET") {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const std::string request =
      absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) answer.append(buffer, n);
  close(fd);
  return answer;
}

TEST(Exposer, ServesMetricsAndHealthOnAFreePort) {
  Registry registry("test");
  registry.GetCounter("tritter_plans_total").Increment(4);
  std::atomic<bool> healthy{true}, stands_by{false};
  ExposerOptions options;
  options.text = [&] { return stands_by ? "standby: another leads" : "ok"; };
  options.health = [&] {
    return healthy ? absl::OkStatus() : absl::UnavailableError("store is closed");
  };
  ASSERT_OK_AND_ASSIGN(auto exposer, Exposer::Start(&registry, options));
  EXPECT_GT(exposer->port(), 0);
  EXPECT_EQ(exposer->address(), absl::StrCat("127.0.0.1:", exposer->port()));

  const std::string metrics = Fetch(exposer->port(), "/metrics");
  EXPECT_THAT(metrics, StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(metrics, HasSubstr("\ntritter_plans_total 4"));
  EXPECT_THAT(Fetch(exposer->port(), "/healthz"), testing::EndsWith("\r\n\r\nok\n"));
  stands_by = true;
  EXPECT_THAT(Fetch(exposer->port(), "/healthz"),
              testing::EndsWith("\r\n\r\nstandby: another leads\n"));
  healthy = false;
  const std::string sick = Fetch(exposer->port(), "/healthz");
  EXPECT_THAT(sick, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(sick, HasSubstr("store is closed"));
  EXPECT_THAT(Fetch(exposer->port(), "/other"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Fetch(exposer->port(), "/metrics", "DELETE"), StartsWith("HTTP/1.1 405"));
}

TEST(Exposer, SaysWhenThePortIsInUse) {
  Registry registry("test");
  ASSERT_OK_AND_ASSIGN(auto first, Exposer::Start(&registry, {}));
  ExposerOptions same;
  same.address = first->address();
  EXPECT_THAT(Exposer::Start(&registry, same),
              StatusIs(StatusCode::kAlreadyExists,
                       testing::AllOf(HasSubstr(first->address()), HasSubstr("in use"))));
  first.reset();
  EXPECT_OK(Exposer::Start(&registry, same));
}

TEST(Exposer, RefusesWhatIsNoAddress) {
  Registry registry("test");
  ExposerOptions options;
  options.address = "nowhere";
  EXPECT_THAT(Exposer::Start(&registry, options), StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace tritter
