#include "common/net.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/errno_status.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> Resolve(const HostPort& address) {
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(FormatHostPort(address), ": ", gai_strerror(error)));
  }
  return AddressList(found, freeaddrinfo);
}

absl::Status Listen(int fd, const sockaddr* address, socklen_t size, const std::string& name) {
  const int on = 1;  // as servers do: a port in TIME_WAIT counts as free
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, address, size) == 0 && listen(fd, 1) == 0) return absl::OkStatus();
  if (errno == EADDRINUSE) {
    return absl::AlreadyExistsError(absl::StrCat(
        name, " is in use by another process; choose another port, or 0 for any free one"));
  }
  if (errno == EADDRNOTAVAIL) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is not an address of this machine"));
  }
  return ErrnoStatus("listen", name);
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  HostPort out;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &out.port) || out.port < 0 || out.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected host:port with a port of 0 to 65535, got \"", address, "\""));
  }
  absl::string_view host = address.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && absl::StrContains(host, ":")) {
    return absl::InvalidArgumentError(
        absl::StrCat("write an IPv6 address in brackets, [::1]:7000, got \"", address, "\""));
  }
  out.host = std::string(host);
  return out;
}

std::string FormatHostPort(const HostPort& address) {
  return absl::StrContains(address.host, ":") ? absl::StrCat("[", address.host, "]:", address.port)
                                              : absl::StrCat(address.host, ":", address.port);
}

bool IsLoopback(absl::string_view host) {
  if (host == "localhost") return true;
  const std::string text(host);
  in_addr v4;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status CheckCanListen(const HostPort& address) {
  const std::string name = FormatHostPort(address);
  ASSIGN_OR_RETURN(const AddressList found, Resolve(address));
  Socket socket(found->ai_family);
  if (socket.fd() < 0) return ErrnoStatus("socket", name);
  return Listen(socket.fd(), found->ai_addr, found->ai_addrlen, name);
}

bool CanConnect(const HostPort& address) {
  const absl::StatusOr<AddressList> found = Resolve(address);
  if (!found.ok()) return false;
  const addrinfo& first = **found;
  Socket socket(first.ai_family);
  return socket.fd() >= 0 && connect(socket.fd(), first.ai_addr, first.ai_addrlen) == 0;
}

absl::StatusOr<int> PickFreeLoopbackPort() {
  Socket socket(AF_INET);
  if (socket.fd() < 0) return ErrnoStatus("socket", "127.0.0.1");
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  RETURN_IF_ERROR(Listen(socket.fd(), generic, sizeof address, "127.0.0.1:0"));
  socklen_t size = sizeof address;
  if (getsockname(socket.fd(), generic, &size) != 0) {
    return ErrnoStatus("getsockname", "127.0.0.1:0");
  }
  return ntohs(address.sin_port);
}

}  // namespace tritter
