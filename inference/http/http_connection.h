// One accepted connection as cpp-httplib reads and writes it, with a bound on the bytes and the
// time of every part of a request. Included by http_server.cc alone.
#pragma once

#include <httplib.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "access/tls_server.h"
#include "common/clock.h"
#include "inference/http/http_server.h"

namespace tritter {

// Used by one thread. Does not own the socket.
class HttpConnection final : public httplib::Stream {
 public:
  enum class Head { kOk, kClosed, kTooLarge, kPathTooLong, kTimedOut };

  // `stopping`: the server gives up what is at work. `tls`: null: bytes travel as they are.
  HttpConnection(int socket, const HttpServerOptions* options, const std::atomic<bool>* stopping,
                 std::unique_ptr<TlsConnection> tls)
      : socket_(socket), options_(options), stopping_(stopping), tls_(std::move(tls)) {}

  // The handshake of TLS, within the time of a head; true at once without TLS.
  bool Handshake();
  // Of the client's certificate; empty without mutual TLS.
  std::vector<std::string> CertificateNames() const;

  // Waits for the first byte of a request: false when none came in time, the peer has gone, or
  // `draining` was set meanwhile.
  bool AwaitRequest(const std::atomic<bool>& draining);
  // Reads up to the end of the headers. What follows is what httplib gets to see: the same head
  // without Range headers, whose matching in this version of httplib can exhaust the stack.
  Head ReadHead();
  // From here on reads count against the limits of a body.
  void BeginBody();
  bool timed_out() const { return timed_out_; }
  // The body was not read to its end: nothing that follows on the connection can be understood.
  void Spoil() { spoilt_ = true; }
  bool spoilt() const { return spoilt_; }
  bool ClientGone() const;
  // The peer's address without its port; empty when it is not known.
  std::string PeerAddress() const;
  // Sends what can be sent at once; for answers that httplib has no part in.
  void SendNow(const std::string& bytes);
  // Tells the peer that nothing follows, and takes what it still sends for a moment, so that it
  // reads the answer rather than a reset.
  void Finish(absl::Duration linger);

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;  // all of it, or -1
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  // Waits until `events` happen; false at `deadline` (monotonic), when stopping, or on an error.
  bool Wait(short events, absl::Duration deadline) const;
  ssize_t ReadSocket(char* to, size_t size);
  ssize_t ReadTls(char* to, size_t size);
  ssize_t WriteTls(const char* from, size_t size);

  const int socket_;
  const HttpServerOptions* const options_;
  const std::atomic<bool>* const stopping_;
  const std::unique_ptr<TlsConnection> tls_;
  std::string buffer_;  // read from the socket, not yet given to httplib
  size_t given_ = 0;    // of buffer_
  int64_t budget_ = 0;  // bytes that may still be read for this request
  absl::Duration deadline_ = absl::InfiniteDuration();
  bool timed_out_ = false, spoilt_ = false;
};

}  // namespace tritter
