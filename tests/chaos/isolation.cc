#include "tests/chaos/isolation.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/errno_status.h"
#include "common/status_macros.h"

namespace tritter::chaos {
namespace {

void WriteText(const char* path, const std::string& text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t n = write(fd, text.data(), text.size());
  close(fd);
}

absl::Status Unshare() {
  constexpr int kSpaces = CLONE_NEWNET | CLONE_NEWNS;
  if (unshare(kSpaces) == 0) return absl::OkStatus();
  const int error = errno;
  const uid_t uid = getuid();
  const gid_t gid = getgid();
  if (error != EPERM || unshare(CLONE_NEWUSER | kSpaces) != 0)
    return absl::PermissionDeniedError(
        absl::StrCat("no network and mounts of one's own: ", std::strerror(error),
                     "; run the test as root, or on a machine that allows user namespaces"));
  WriteText("/proc/self/setgroups", "deny");
  WriteText("/proc/self/uid_map", absl::StrCat("0 ", uid, " 1"));
  WriteText("/proc/self/gid_map", absl::StrCat("0 ", gid, " 1"));
  return absl::OkStatus();
}

}  // namespace

absl::Status Isolate() {
  static bool isolated = false;
  if (isolated) return absl::OkStatus();
  RETURN_IF_ERROR(Unshare());
  // What is mounted from here on stays here.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return ErrnoStatus("make mounts private", "/");
  RETURN_IF_ERROR(BringUp("lo", "", 0));
  isolated = true;
  return absl::OkStatus();
}

absl::Status BringUp(const std::string& interface, const std::string& address, int mtu) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return ErrnoStatus("open a socket for", interface);
  ifreq request{};
  std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  const auto set_address = [&](unsigned long what, const char* text) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    inet_pton(AF_INET, text, &at.sin_addr);
    std::memcpy(&request.ifr_addr, &at, sizeof(at));
    return ioctl(fd, what, &request) == 0;
  };
  bool good = true;
  if (!address.empty()) {
    good =
        set_address(SIOCSIFADDR, address.c_str()) && set_address(SIOCSIFNETMASK, "255.255.255.0");
    request.ifr_mtu = mtu;
    good = good && ioctl(fd, SIOCSIFMTU, &request) == 0;
  }
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  good = good && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  const absl::Status status = good ? absl::OkStatus() : ErrnoStatus("set up", interface);
  close(fd);
  return status;
}

}  // namespace tritter::chaos
