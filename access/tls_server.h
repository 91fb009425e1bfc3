// TLS for servers whose sockets we read and write ourselves (HTTP; gRPC has its own). OpenSSL does
// it; it stays out of this header.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "access/tls_files.h"
#include "common/clock.h"
#include "common/env.h"

namespace tritter {

// One accepted connection. Never blocks and never raises SIGPIPE; does not own the socket. Used by
// one thread.
class TlsConnection {
 public:
  // bytes > 0: done; 0: the peer has ended; < 0: not now, wait for `wait` (POLLIN or POLLOUT) and
  // say the same again, or never when `wait` is 0.
  struct Step {
    ssize_t bytes = -1;
    short wait = 0;
  };
  ~TlsConnection();
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  Step Handshake();  // 1 byte: done
  Step Read(char* to, size_t size);
  Step Write(const char* from, size_t size);
  bool HasPending() const;  // bytes that are read from the socket already
  void Close();             // tells the peer that nothing follows

  // Of the verified certificate of mutual TLS, after the handshake: common name, then DNS names.
  std::vector<std::string> CertificateNames() const;

 private:
  friend class TlsServer;
  struct Impl;
  explicit TlsConnection(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

// Certificates are read again when their files have changed, a second later at the latest; files
// that cannot be used change nothing, and are logged. TLS 1.2 and 1.3. Thread-safe.
class TlsServer {
 public:
  // Errors: those of CheckTlsFiles.
  static absl::StatusOr<std::unique_ptr<TlsServer>> Open(Env* env, Clock* clock, TlsFiles files);
  ~TlsServer();

  std::unique_ptr<TlsConnection> Accept(int socket);

 private:
  struct Impl;
  explicit TlsServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tritter
