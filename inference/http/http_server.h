// An HTTP/1.1 server with limits on everything a client can make it hold: connections, header and
// body bytes, and the time for each. cpp-httplib does the protocol; it stays out of this header.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "access/tls_server.h"

namespace tritter {

struct HttpRequest {
  std::string method;
  std::string path;                   // decoded, without the query
  std::vector<std::string> captures;  // what the groups of the route's pattern matched
  std::string body;
  std::string peer;                            // the client's address, without the port
  std::string authorization;                   // the header of that name
  std::vector<std::string> certificate_names;  // of the client's certificate, of mutual TLS
  std::function<bool()> client_gone;  // cheap; also true once the server gives up at its stop
};

// False when the client has gone: nothing more needs to be written.
using HttpWrite = std::function<bool(absl::string_view chunk)>;

struct HttpAnswer {
  int code = 200;
  std::string type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  // When set, the body is what this writes, each chunk sent at once.
  std::function<void(const HttpWrite& write)> stream;
};

// Called on the connection's thread; may block.
using HttpHandler = std::function<HttpAnswer(const HttpRequest& request)>;

struct HttpRoute {
  std::string method;   // GET or POST
  std::string pattern;  // regular expression over the whole path, short and without nested repeats
  HttpHandler handler;
};

struct HttpServerOptions {
  std::string address = "127.0.0.1:0";  // host:port; port 0: any free one
  TlsServer* tls = nullptr;             // outlives the server; null: no TLS
  int max_connections = 256;            // one more is answered 503 and closed
  size_t max_head_bytes = 32 << 10;     // request line and headers
  size_t max_path_bytes = 2 << 10;
  size_t max_body_bytes = 16 << 20;  // after decompression
  int max_requests_per_connection = 1000;
  absl::Duration head_timeout = absl::Seconds(10);  // from its first byte
  absl::Duration body_timeout = absl::Seconds(60);
  absl::Duration idle_timeout = absl::Seconds(60);   // between requests
  absl::Duration write_timeout = absl::Seconds(30);  // without any byte taken by the client
};

// What an answer of the server itself looks like: 400, 404, 405, 408, 413, 415, 431, 500, 503.
using HttpErrorBody = std::function<HttpAnswer(int code, const std::string& message)>;

// Serves from Start until it is destroyed, one thread a connection.
class HttpServer {
 public:
  // Errors: InvalidArgument (address), AlreadyExists (port in use), PermissionDenied (port below
  // 1024).
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpServerOptions options,
                                                           std::vector<HttpRoute> routes,
                                                           HttpErrorBody error_body);
  ~HttpServer();  // what is still running sees its client as gone
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  const std::string& address() const { return address_; }  // with the real port
  // Every answer from now on closes its connection. Returns when no request is at work, at the
  // latest after `grace`; true when none is.
  bool Drain(absl::Duration grace);
  int requests() const;  // at work now

 private:
  struct Impl;
  HttpServer(std::unique_ptr<Impl> impl, std::string address);
  const std::unique_ptr<Impl> impl_;
  const std::string address_;
};

}  // namespace tritter
