#include "inference/testing/http_client.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/net.h"
#include "gtest/gtest.h"

namespace tritter {

HttpTestClient::HttpTestClient(const std::string& address) {
  const absl::StatusOr<HostPort> at = ParseHostPort(address);
  EXPECT_TRUE(at.ok()) << address;
  if (!at.ok()) return;
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(at->port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) Close();
}

HttpTestClient::~HttpTestClient() { Close(); }

void HttpTestClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void HttpTestClient::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void HttpTestClient::Ask(const std::string& method, const std::string& path,
                         const std::string& body, const std::string& more_headers) {
  Send(absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: localhost\r\n", more_headers,
                    method == "POST" ? absl::StrCat("Content-Type: application/json\r\n"
                                                    "Content-Length: ",
                                                    body.size(), "\r\n")
                                     : "",
                    "\r\n", body));
}

bool HttpTestClient::Fill() {
  char part[16384];
  const ssize_t n = recv(fd_, part, sizeof part, 0);
  if (n <= 0) return false;
  buffer_.append(part, static_cast<size_t>(n));
  return true;
}

HttpReply HttpTestClient::Read() {
  HttpReply reply;
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos)
    if (!Fill()) return reply;
  const std::string head = buffer_.substr(0, end);
  buffer_.erase(0, end + 4);
  reply.code = std::atoi(head.c_str() + 9);  // HTTP/1.1 200 OK
  for (absl::string_view line : absl::StrSplit(head, "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    reply.headers[absl::AsciiStrToLower(field.first)] = std::string(field.second);
  }
  if (reply.headers["transfer-encoding"] != "chunked") {
    const size_t length = std::strtoul(reply.headers["content-length"].c_str(), nullptr, 10);
    while (buffer_.size() < length && Fill()) {
    }
    reply.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    return reply;
  }
  for (;;) {
    size_t line;
    while ((line = buffer_.find("\r\n")) == std::string::npos)
      if (!Fill()) return reply;
    const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
    while (buffer_.size() < line + 2 + size + 2)
      if (!Fill()) return reply;
    reply.body += buffer_.substr(line + 2, size);
    buffer_.erase(0, line + 2 + size + 2);
    if (size == 0) return reply;
  }
}

std::string HttpTestClient::ReadSome(absl::Duration timeout) {
  pollfd p = {fd_, POLLIN, 0};
  if (buffer_.empty() && poll(&p, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) > 0)
    Fill();
  return std::exchange(buffer_, "");
}

bool HttpTestClient::AtEnd(absl::Duration timeout) {
  pollfd p = {fd_, POLLIN, 0};
  char byte;
  return buffer_.empty() && poll(&p, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) > 0 &&
         recv(fd_, &byte, 1, 0) <= 0;
}

HttpReply HttpAsk(const std::string& address, const std::string& method, const std::string& path,
                  const std::string& body) {
  HttpTestClient client(address);
  client.Ask(method, path, body);
  return client.Read();
}

}  // namespace tritter
