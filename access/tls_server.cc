#include "access/tls_server.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr absl::Duration kLookAgain = absl::Seconds(1);

// A socket as OpenSSL sees it. Its own BIO would raise SIGPIPE and would block.
int SocketOf(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

int ReadBio(BIO* bio, char* to, int size) {
  const ssize_t n = recv(SocketOf(bio), to, static_cast<size_t>(size), MSG_DONTWAIT);
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}

int WriteBio(BIO* bio, const char* from, int size) {
  const ssize_t n =
      send(SocketOf(bio), from, static_cast<size_t>(size), MSG_DONTWAIT | MSG_NOSIGNAL);
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
    BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

long ControlBio(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO* SocketBio(int socket) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* const m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    BIO_meth_set_read(m, &ReadBio);
    BIO_meth_set_write(m, &WriteBio);
    BIO_meth_set_ctrl(m, &ControlBio);
    return m;
  }();
  BIO* const bio = BIO_new(method);
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(socket)));
  BIO_set_init(bio, 1);
  return bio;
}

struct Texts {
  std::string certificate, key, authority;
  bool operator==(const Texts&) const = default;
};

absl::StatusOr<Texts> ReadTexts(Env* env, const TlsFiles& files) {
  Texts out;
  ASSIGN_OR_RETURN(out.certificate, env->ReadFile(files.certificate));
  ASSIGN_OR_RETURN(out.key, env->ReadFile(files.key));
  if (!files.authority.empty()) {
    ASSIGN_OR_RETURN(out.authority, env->ReadFile(files.authority));
  }
  return out;
}

// `use` takes every certificate in the text; it owns it then.
template <typename Use>
void ForEachCertificate(const std::string& pem, Use use) {
  BIO* const text = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  while (X509* certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr)) use(certificate);
  ERR_clear_error();  // that nothing followed
  BIO_free(text);
}

// HTTP/1.1 is all that is spoken here.
int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* in, unsigned int in_size, void*) {
  static constexpr unsigned char kHttp[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp, sizeof kHttp - 1, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

std::shared_ptr<SSL_CTX> MakeContext(const Texts& texts) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  SSL_CTX* const c = context.get();
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  // A resumed session would outlive the certificates that it was made with.
  SSL_CTX_set_num_tickets(c, 0);
  SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
  SSL_CTX_set_alpn_select_cb(c, &SelectProtocol, nullptr);
  bool first = true;
  ForEachCertificate(texts.certificate, [&](X509* certificate) {
    if (std::exchange(first, false)) {
      SSL_CTX_use_certificate(c, certificate);
      X509_free(certificate);
    } else {
      SSL_CTX_add_extra_chain_cert(c, certificate);
    }
  });
  BIO* const text = BIO_new_mem_buf(texts.key.data(), static_cast<int>(texts.key.size()));
  if (EVP_PKEY* key = PEM_read_bio_PrivateKey(text, nullptr, nullptr, nullptr)) {
    SSL_CTX_use_PrivateKey(c, key);
    EVP_PKEY_free(key);
  }
  BIO_free(text);
  if (!texts.authority.empty()) {
    ForEachCertificate(texts.authority, [&](X509* certificate) {
      X509_STORE_add_cert(SSL_CTX_get_cert_store(c), certificate);
      X509_free(certificate);
    });
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  ERR_clear_error();
  return context;
}

}  // namespace

struct TlsConnection::Impl {
  std::shared_ptr<SSL_CTX> context;
  SSL* ssl = nullptr;

  Step StepOf(int result) {
    if (result > 0) return {result, 0};
    const int error = SSL_get_error(ssl, result);
    ERR_clear_error();
    switch (error) {
      case SSL_ERROR_WANT_READ:
        return {-1, POLLIN};
      case SSL_ERROR_WANT_WRITE:
        return {-1, POLLOUT};
      case SSL_ERROR_ZERO_RETURN:
        return {0, 0};
      default:
        return {-1, 0};
    }
  }
};

TlsConnection::TlsConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsConnection::~TlsConnection() { SSL_free(impl_->ssl); }

TlsConnection::Step TlsConnection::Handshake() {
  ERR_clear_error();
  return impl_->StepOf(SSL_accept(impl_->ssl));
}
TlsConnection::Step TlsConnection::Read(char* to, size_t size) {
  ERR_clear_error();
  return impl_->StepOf(SSL_read(impl_->ssl, to, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}
TlsConnection::Step TlsConnection::Write(const char* from, size_t size) {
  ERR_clear_error();
  return impl_->StepOf(
      SSL_write(impl_->ssl, from, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}
bool TlsConnection::HasPending() const { return SSL_pending(impl_->ssl) > 0; }
void TlsConnection::Close() {
  if (SSL_is_init_finished(impl_->ssl)) SSL_shutdown(impl_->ssl);
  ERR_clear_error();
}

std::vector<std::string> TlsConnection::CertificateNames() const {
  std::vector<std::string> names;
  X509* const certificate = SSL_get1_peer_certificate(impl_->ssl);
  if (certificate == nullptr) return names;
  const auto add = [&](const ASN1_STRING* text) {
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, text);
    // One with a zero byte in it would be another name for who reads it as C text.
    std::string name(reinterpret_cast<char*>(utf8), size > 0 ? static_cast<size_t>(size) : 0);
    if (!name.empty() && name.find('\0') == std::string::npos) names.push_back(std::move(name));
    if (size >= 0) OPENSSL_free(utf8);
  };
  X509_NAME* const subject = X509_get_subject_name(certificate);
  if (const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0)
    add(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  auto* const others = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(others); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(others, i);
    if (name->type == GEN_DNS) add(name->d.dNSName);
  }
  GENERAL_NAMES_free(others);
  X509_free(certificate);
  return names;
}

struct TlsServer::Impl {
  Impl(Env* env, Clock* clock, TlsFiles files) : env(env), clock(clock), files(std::move(files)) {}

  absl::Status Read() REQUIRES(mu) {
    ASSIGN_OR_RETURN(Texts now, ReadTexts(env, files));
    if (now == texts) return absl::OkStatus();
    RETURN_IF_ERROR(CheckTlsFiles(env, files, clock->Now()));
    texts = std::move(now);
    context = MakeContext(texts);
    LogInfo("certificate_read", {{"file", files.certificate}});
    return absl::OkStatus();
  }

  Env* const env;
  Clock* const clock;
  const TlsFiles files;
  Mutex mu;
  Texts texts GUARDED_BY(mu);
  std::shared_ptr<SSL_CTX> context GUARDED_BY(mu);
  absl::Duration looked_at GUARDED_BY(mu);
  std::string trouble GUARDED_BY(mu);  // said already
};

TlsServer::TlsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsServer::~TlsServer() = default;

absl::StatusOr<std::unique_ptr<TlsServer>> TlsServer::Open(Env* env, Clock* clock, TlsFiles files) {
  auto impl = std::make_unique<Impl>(env, clock, std::move(files));
  {
    MutexLock lock(&impl->mu);
    impl->looked_at = clock->Monotonic();
    RETURN_IF_ERROR(impl->Read());
  }
  return absl::WrapUnique(new TlsServer(std::move(impl)));
}

std::unique_ptr<TlsConnection> TlsServer::Accept(int socket) {
  auto connection = std::make_unique<TlsConnection::Impl>();
  {
    MutexLock lock(&impl_->mu);
    const absl::Duration now = impl_->clock->Monotonic();
    if (now - impl_->looked_at >= kLookAgain) {
      impl_->looked_at = now;
      const absl::Status status = impl_->Read();
      const std::string trouble(status.message());
      if (!status.ok() && trouble != impl_->trouble)
        LogError("certificate_not_read", {{"error", trouble}});
      impl_->trouble = trouble;
    }
    connection->context = impl_->context;
  }
  connection->ssl = SSL_new(connection->context.get());
  BIO* const bio = SocketBio(socket);
  SSL_set_bio(connection->ssl, bio, bio);
  return absl::WrapUnique(new TlsConnection(std::move(connection)));
}

}  // namespace tritter
