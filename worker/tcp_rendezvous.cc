#include "worker/tcp_rendezvous.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

class TcpRendezvous final : public Rendezvous {
 public:
  TcpRendezvous(c10::intrusive_ptr<c10d::Store> store, std::string address)
      : store_(std::move(store)), address_(std::move(address)) {}
  std::string address() const override { return address_; }
  const c10::intrusive_ptr<c10d::Store>& store() const { return store_; }

 private:
  const c10::intrusive_ptr<c10d::Store> store_;
  const std::string address_;
};

// A socket that listens on `host` only; left to itself the store would listen on every interface.
// *port is what we got.
absl::StatusOr<int> ListenOn(const std::string& host, int* port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int rc = getaddrinfo(host.c_str(), nullptr, &hints, &found); rc != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("rendezvous host '", host, "' does not resolve: ", gai_strerror(rc)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> release(found, &freeaddrinfo);
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 128) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
    const std::string why = std::strerror(errno);
    if (fd >= 0) close(fd);
    return absl::UnavailableError(
        absl::StrCat("cannot listen on '", host, "' for the rendezvous: ", why));
  }
  *port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                            : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Rendezvous>> OpenRendezvous(const std::string& host,
                                                           int world_size) {
  int port = 0;
  auto fd = ListenOn(host, &port);
  if (!fd.ok()) return fd.status();
  try {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = true;
    options.masterListenFd = *fd;  // the store owns it from here
    options.numWorkers = world_size;
    options.waitWorkers = false;  // whoever joins waits for the others' keys, with a timeout
    auto store = c10::make_intrusive<c10d::TCPStore>(host, options);
    return std::unique_ptr<Rendezvous>(
        std::make_unique<TcpRendezvous>(std::move(store), absl::StrCat(host, ":", port)));
  } catch (const std::exception& e) {
    return absl::UnavailableError(
        absl::StrCat("cannot open the rendezvous on ", host, ":", port, ": ", e.what()));
  }
}

absl::StatusOr<c10::intrusive_ptr<c10d::Store>> StoreOf(Rendezvous* rendezvous) {
  auto* tcp = dynamic_cast<TcpRendezvous*>(rendezvous);
  if (tcp == nullptr)
    return absl::InvalidArgumentError("this rendezvous was not made by OpenRendezvous");
  return tcp->store();
}

absl::StatusOr<c10::intrusive_ptr<c10d::Store>> ConnectStore(const std::string& address,
                                                             absl::Duration timeout) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port <= 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("rendezvous address '", address, "' is not host:port"));
  }
  try {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(absl::ToInt64Milliseconds(timeout));
    c10::intrusive_ptr<c10d::Store> store =
        c10::make_intrusive<c10d::TCPStore>(address.substr(0, colon), options);
    return store;
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat("no rendezvous at ", address, " within ",
                                               absl::FormatDuration(timeout), ": ",
                                               std::string(e.what()).substr(0, 200)));
  }
}

}  // namespace tritter
