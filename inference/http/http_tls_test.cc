// The HTTP server over TLS, spoken to with OpenSSL's own client.
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "access/testing/certificates.h"
#include "access/tls_server.h"
#include "common/net.h"
#include "common/testing/fake_clock.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "inference/http/http_server.h"

namespace tritter {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// A blocking connection; `own` is shown when the server asks for a certificate.
class TlsClient {
 public:
  TlsClient(const std::string& address, const std::string& authority, const PemPair& own = {}) {
    const HostPort at = *ParseHostPort(address);
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval limit = {20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(at.port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    Read(authority, [&](BIO* text) {
      X509* const certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context_), certificate);
      X509_free(certificate);
    });
    if (!own.key.empty()) {
      Read(own.certificate, [&](BIO* text) {
        X509* const certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
        SSL_CTX_use_certificate(context_, certificate);
        X509_free(certificate);
      });
      Read(own.key, [&](BIO* text) {
        EVP_PKEY* const key = PEM_read_bio_PrivateKey(text, nullptr, nullptr, nullptr);
        SSL_CTX_use_PrivateKey(context_, key);
        EVP_PKEY_free(key);
      });
    }
    ssl_ = SSL_new(context_);
    SSL_set1_host(ssl_, "127.0.0.1");
    SSL_set_fd(ssl_, fd_);
    connected_ = SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    close(fd_);
  }

  bool connected() const { return connected_; }
  // What comes until the server closes; empty when it does so without a word.
  std::string Ask(const std::string& request) {
    SSL_write(ssl_, request.data(), static_cast<int>(request.size()));
    std::string answer;
    char part[16384];
    for (int n; (n = SSL_read(ssl_, part, sizeof part)) > 0;) answer.append(part, n);
    return answer;
  }

 private:
  template <typename Use>
  static void Read(const std::string& pem, Use use) {
    BIO* const text = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    use(text);
    BIO_free(text);
  }

  int fd_;
  SSL_CTX* context_;
  SSL* ssl_;
  bool connected_ = false;
};

constexpr char kHello[] = "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

class HttpTlsTest : public testing::Test {
 protected:
  void Write(const PemPair& pair) {
    ASSERT_OK(WriteFileAtomically(&env_, "/crt", pair.certificate));
    ASSERT_OK(WriteFileAtomically(&env_, "/key", pair.key));
  }
  void Start(bool mutual = false, HttpServerOptions options = {}) {
    ASSERT_OK(WriteFileAtomically(&env_, "/ca", authority_.pem()));
    Write(authority_.Issue("server", {}, {"127.0.0.1"}, clock_.Now()));
    ASSERT_OK_AND_ASSIGN(tls_,
                         TlsServer::Open(&env_, &clock_, {"/crt", "/key", mutual ? "/ca" : ""}));
    options.tls = tls_.get();
    const std::vector<HttpRoute> routes = {
        {"GET", "/hello",
         [](const HttpRequest& request) {
           HttpAnswer answer;
           answer.body = absl::StrCat("{\"who\":\"", absl::StrJoin(request.certificate_names, ","),
                                      "\",\"token\":\"", request.authorization, "\"}");
           return answer;
         }},
        {"POST", "/echo",
         [](const HttpRequest& request) {
           HttpAnswer answer;
           answer.body = request.body;
           return answer;
         }},
        {"GET", "/stream", [](const HttpRequest&) {
           HttpAnswer answer;
           answer.stream = [](const HttpWrite& write) {
             for (int i = 0; i < 3; ++i) write(absl::StrCat("part ", i));
           };
           return answer;
         }}};
    auto server = HttpServer::Start(options, routes, [](int code, const std::string& message) {
      HttpAnswer answer;
      answer.code = code;
      answer.body = message;
      return answer;
    });
    ASSERT_OK(server);
    server_ = *std::move(server);
  }

  MemoryEnv env_;
  // Certificates are made for today: the client looks at the clock of the machine.
  class Today : public FakeClock {
   public:
    Today() { JumpWallClock(absl::Now() - Now()); }
  } clock_;
  TestAuthority authority_;
  std::unique_ptr<TlsServer> tls_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTlsTest, AnswersRequestsBodiesAndStreams) {
  Start();
  EXPECT_THAT(
      TlsClient(server_->address(), authority_.pem()).Ask(kHello),
      testing::AllOf(StartsWith("HTTP/1.1 200"), EndsWith("{\"who\":\"\",\"token\":\"\"}")));
  // Larger than what fits one record, a socket's buffer, and one read.
  const std::string body(3 << 20, 'x');
  const std::string answer =
      TlsClient(server_->address(), authority_.pem())
          .Ask(absl::StrCat(
              "POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: ",
              body.size(), "\r\n\r\n", body));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(answer.ends_with(body)) << answer.size();
  const std::string stream =
      TlsClient(server_->address(), authority_.pem())
          .Ask("GET /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  for (const char* part : {"part 0", "part 1", "part 2"}) EXPECT_THAT(stream, HasSubstr(part));
  // Two requests in one write: the second is in the buffers of TLS when the first is answered.
  const std::string two = TlsClient(server_->address(), authority_.pem())
                              .Ask(absl::StrCat("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", kHello));
  EXPECT_NE(two.find("HTTP/1.1 200"), two.rfind("HTTP/1.1 200"));
}

TEST_F(HttpTlsTest, GivesTheHandlerTheTokenAndTheNamesOfTheCertificate) {
  Start(/*mutual=*/true);
  const PemPair own = authority_.Issue("gpu7", {"gpu7.example.org"});
  EXPECT_THAT(TlsClient(server_->address(), authority_.pem(), own)
                  .Ask("GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                       "Authorization: Bearer abc\r\n\r\n"),
              HasSubstr("{\"who\":\"gpu7,gpu7.example.org\",\"token\":\"Bearer abc\"}"));
  EXPECT_EQ(TlsClient(server_->address(), authority_.pem()).Ask(kHello), "");
  TestAuthority other("another authority");
  EXPECT_EQ(TlsClient(server_->address(), authority_.pem(), other.Issue("gpu7")).Ask(kHello), "");
}

TEST_F(HttpTlsTest, TakesANewCertificateAndKeepsTheOldOneWhenTheNewIsNoGood) {
  Start();
  TestAuthority next("the next authority");
  ASSERT_TRUE(TlsClient(server_->address(), authority_.pem()).connected());
  ASSERT_OK(
      WriteFileAtomically(&env_, "/crt", next.Issue("server").certificate));  // not yet its key
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(TlsClient(server_->address(), authority_.pem()).connected());
  Write(next.Issue("server"));
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(TlsClient(server_->address(), next.pem()).connected());
  EXPECT_FALSE(TlsClient(server_->address(), authority_.pem()).connected());
}

TEST_F(HttpTlsTest, OnesWhoDoNotSpeakTlsKeepNobodyWaiting) {
  HttpServerOptions options;
  options.head_timeout = absl::Seconds(60);
  Start(/*mutual=*/false, options);
  const HostPort at = *ParseHostPort(server_->address());
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(at.port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(silent, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  const int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(plain, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  ASSERT_GT(send(plain, kHello, sizeof kHello - 1, MSG_NOSIGNAL), 0);
  EXPECT_THAT(TlsClient(server_->address(), authority_.pem()).Ask(kHello),
              StartsWith("HTTP/1.1 200"));
  char rest[4096];
  std::string answer;
  for (ssize_t n; (n = recv(plain, rest, sizeof rest, 0)) > 0;) answer.append(rest, n);
  EXPECT_THAT(answer, testing::Not(HasSubstr("HTTP/1.1 200")));
  close(plain);
  server_.reset();  // at once: the silent one does not hold it for a minute
  close(silent);
}

}  // namespace
}  // namespace tritter
