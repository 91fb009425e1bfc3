// Raw HTTP for tests: what is sent and what comes back, byte by byte. Loopback only.
#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tritter {

struct HttpReply {
  int code = 0;                                // 0: the connection ended without an answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks put together
};

// One connection. Nothing is ever read when nobody listens.
class HttpTestClient {
 public:
  explicit HttpTestClient(const std::string& address);
  ~HttpTestClient();
  HttpTestClient(const HttpTestClient&) = delete;
  HttpTestClient& operator=(const HttpTestClient&) = delete;

  void Send(absl::string_view bytes);  // a peer that has gone is no error
  // "METHOD path" with a body (application/json) and Content-Length; the connection stays open.
  void Ask(const std::string& method, const std::string& path, const std::string& body = "",
           const std::string& more_headers = "");
  HttpReply Read();  // the next answer, whole
  // What is there after at most `timeout`; empty when nothing came or the peer has gone.
  std::string ReadSome(absl::Duration timeout = absl::Seconds(20));
  bool AtEnd(absl::Duration timeout = absl::Seconds(20));  // the peer closed, nothing more came
  void Close();

 private:
  bool Fill();

  int fd_ = -1;
  std::string buffer_;
};

// One request on a connection of its own.
HttpReply HttpAsk(const std::string& address, const std::string& method, const std::string& path,
                  const std::string& body = "");

}  // namespace tritter
