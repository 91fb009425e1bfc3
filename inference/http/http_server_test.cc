// A real server on a loopback port, clients that keep to the protocol and clients that do not.
#include "inference/http/http_server.h"

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/http_client.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpServerOptions options = {}) {
    const std::vector<HttpRoute> routes = {
        {"GET", "/hello",
         [](const HttpRequest&) {
           HttpAnswer answer;
           answer.body = "{\"hello\":1}";
           return answer;
         }},
        {"GET", "/models/(.+)",
         [](const HttpRequest& request) {
           HttpAnswer answer;
           answer.body = request.captures.at(0);
           return answer;
         }},
        {"POST", "/echo",
         [](const HttpRequest& request) {
           HttpAnswer answer;
           answer.body = request.body;
           answer.headers = {{"X-Size", absl::StrCat(request.body.size())},
                             {"X-Peer", request.peer}};
           return answer;
         }},
        {"POST", "/throw",
         [](const HttpRequest&) -> HttpAnswer { throw std::runtime_error("broken"); }},
        {"POST", "/wait",
         [this](const HttpRequest& request) {
           waiting_ = true;
           while (!request.client_gone() && !release_) std::this_thread::yield();
           saw_gone_ = !release_;
           return HttpAnswer();
         }},
        {"POST", "/stream", [this](const HttpRequest& request) {
           HttpAnswer answer;
           answer.type = "text/event-stream";
           answer.stream = [this, gone = request.client_gone](const HttpWrite& write) {
             int written = 0;
             while (written < 3 && write(absl::StrCat("data: ", written, "\n\n"))) ++written;
             waiting_ = true;
             while (!release_ && !gone()) std::this_thread::yield();
             saw_gone_ = !release_;
             write("data: [DONE]\n\n");
           };
           return answer;
         }}};
    auto server = HttpServer::Start(options, routes, [](int code, const std::string& message) {
      HttpAnswer answer;
      answer.code = code;
      answer.body = absl::StrCat("{\"error\":\"", message, "\"}");
      return answer;
    });
    ASSERT_OK(server.status());
    server_ = *std::move(server);
  }
  HttpReply Ask(const std::string& method, const std::string& path, const std::string& body = "") {
    return HttpAsk(server_->address(), method, path, body);
  }

  std::atomic<bool> waiting_{false}, release_{false}, saw_gone_{false};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, ServesSeveralRequestsOnOneConnection) {
  Start();
  HttpTestClient client(server_->address());
  for (int i = 0; i < 3; ++i) {
    client.Ask("GET", "/hello");
    HttpReply reply = client.Read();
    EXPECT_EQ(reply.code, 200);
    EXPECT_EQ(reply.body, "{\"hello\":1}");
    EXPECT_EQ(reply.headers["content-type"], "application/json");
    client.Ask("POST", "/echo", std::string(100000 * i, 'x'));
    reply = client.Read();
    EXPECT_EQ(reply.body.size(), 100000u * i);
    EXPECT_EQ(reply.headers["x-size"], absl::StrCat(100000 * i));
    EXPECT_EQ(reply.headers["x-peer"], "127.0.0.1");
  }
  EXPECT_EQ(Ask("GET", "/models/a%20b").body, "a b");
}

TEST_F(HttpServerTest, AnswersWithTheErrorBodyAndTheRightCode) {
  HttpServerOptions options;
  options.max_body_bytes = 1000;
  options.max_head_bytes = 2000;
  options.max_path_bytes = 500;
  Start(options);
  EXPECT_EQ(Ask("GET", "/none").code, 404);
  EXPECT_EQ(Ask("POST", "/none", "body").code, 404);
  HttpReply reply = Ask("GET", "/echo");
  EXPECT_EQ(reply.code, 405);
  EXPECT_EQ(reply.headers["allow"], "POST");
  EXPECT_THAT(reply.body, HasSubstr("error"));
  EXPECT_EQ(Ask("POST", "/hello", "x").code, 405);
  EXPECT_EQ(Ask("DELETE", "/hello").code, 405);
  EXPECT_EQ(Ask("POST", "/echo", std::string(1001, 'x')).code, 413);
  EXPECT_EQ(Ask("POST", "/echo", std::string(1000, 'x')).code, 200);
  EXPECT_EQ(Ask("GET", "/" + std::string(600, 'x')).code, 414);
  EXPECT_EQ(Ask("POST", "/throw", "{}").code, 500);
  HttpTestClient client(server_->address());
  client.Send("GET /hello HTTP/1.1\r\nX-Long: " + std::string(3000, 'x') + "\r\n\r\n");
  EXPECT_EQ(client.Read().code, 431);
  EXPECT_TRUE(client.AtEnd());
  HttpTestClient nonsense(server_->address());
  nonsense.Send("nonsense\r\n\r\n");
  reply = nonsense.Read();
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(reply.body, HasSubstr("error"));
  HttpTestClient form(server_->address());
  form.Send(
      "POST /echo HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
      "Content-Length: 5\r\n\r\n12345");
  EXPECT_EQ(form.Read().code, 415);
}

TEST_F(HttpServerTest, ABodyWithoutALengthIsBoundedToo) {
  HttpServerOptions options;
  options.max_body_bytes = 1000;
  Start(options);
  HttpTestClient client(server_->address());
  client.Send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 100; ++i) client.Send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_EQ(client.Read().code, 413);
  HttpTestClient small(server_->address());
  small.Send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  EXPECT_EQ(small.Read().body, "abc");
}

TEST_F(HttpServerTest, RangeHeadersAreNotLookedAt) {
  Start();
  HttpTestClient client(server_->address());
  client.Send("GET /hello HTTP/1.1\r\nRange: bytes=" + std::string(20000, '1') +
              "-\r\nX: y\r\nrange: bytes=0-1\r\n\r\n");
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.body, "{\"hello\":1}");
}

TEST_F(HttpServerTest, SlowAndSilentClientsAreSentAway) {
  HttpServerOptions options;
  options.head_timeout = options.body_timeout = options.idle_timeout = absl::Milliseconds(100);
  Start(options);
  HttpTestClient silent(server_->address()), head(server_->address()), body(server_->address());
  head.Send("GET /hello HTTP/1.1\r\n");
  body.Send("POST /echo HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_TRUE(silent.AtEnd());
  EXPECT_EQ(head.Read().code, 408);
  EXPECT_EQ(body.Read().code, 408);
  EXPECT_TRUE(body.AtEnd());
}

TEST_F(HttpServerTest, OneConnectionTooManyIsRefusedAndTheOthersGoOn) {
  HttpServerOptions options;
  options.max_connections = 2;
  Start(options);
  HttpTestClient first(server_->address()), second(server_->address());
  first.Ask("GET", "/hello");
  EXPECT_EQ(first.Read().code, 200);
  second.Ask("GET", "/hello");
  EXPECT_EQ(second.Read().code, 200);
  HttpTestClient third(server_->address());
  EXPECT_EQ(third.Read().code, 503);
  first.Ask("GET", "/hello");
  EXPECT_EQ(first.Read().code, 200);
}

TEST_F(HttpServerTest, StreamsChunksAsTheyAreWritten) {
  Start();
  HttpTestClient client(server_->address());
  client.Ask("POST", "/stream", "{}");
  std::string early;
  while (early.find("data: 2") == std::string::npos) early += client.ReadSome();
  EXPECT_THAT(early, HasSubstr("text/event-stream"));
  release_ = true;
  EXPECT_THAT(client.ReadSome(), HasSubstr("[DONE]"));
}

TEST_F(HttpServerTest, ADisconnectIsSeenByTheHandler) {
  Start();
  for (const char* path : {"/wait", "/stream"}) {
    waiting_ = saw_gone_ = false;
    HttpTestClient client(server_->address());
    client.Ask("POST", path, "{}");
    while (!waiting_) std::this_thread::yield();
    client.Close();
    EXPECT_TRUE(server_->Drain(absl::Seconds(20))) << path;
    EXPECT_TRUE(saw_gone_) << path;
  }
}

TEST_F(HttpServerTest, DrainingWaitsForWhatRunsAndClosesConnections) {
  Start();
  HttpTestClient client(server_->address()), idle(server_->address());
  idle.Ask("GET", "/hello");
  EXPECT_EQ(idle.Read().code, 200);
  client.Ask("POST", "/wait", "{}");
  while (!waiting_) std::this_thread::yield();
  EXPECT_EQ(server_->requests(), 1);
  EXPECT_FALSE(server_->Drain(absl::Milliseconds(1)));
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_EQ(Ask("GET", "/hello").headers["connection"], "close") << "health is still answered";
  release_ = true;
  EXPECT_TRUE(server_->Drain(absl::Seconds(20)));
  EXPECT_EQ(client.Read().code, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpServerTest, StoppingEndsWhatStillRuns) {
  Start();
  HttpTestClient client(server_->address());
  client.Ask("POST", "/wait", "{}");
  while (!waiting_) std::this_thread::yield();
  server_.reset();
  EXPECT_TRUE(saw_gone_);
}

TEST_F(HttpServerTest, APortInUseIsAnError) {
  Start();
  HttpServerOptions options;
  options.address = server_->address();
  EXPECT_THAT(HttpServer::Start(options, {}, nullptr).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("in use")));
}

}  // namespace
}  // namespace tritter
