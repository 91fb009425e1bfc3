#include "tests/chaos/faulty_network.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/errno_status.h"
#include "common/status_macros.h"
#include "tests/chaos/isolation.h"

namespace tritter::chaos {
namespace {

constexpr int kMtu = 9000;
constexpr absl::Duration kLook = absl::Milliseconds(20);  // for the end of the network

// A TUN device in the namespace of the calling thread.
absl::StatusOr<int> OpenDevice(const std::string& address) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus("open", "/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  std::strncpy(request.ifr_name, "tun0", IFNAMSIZ - 1);
  absl::Status status = ioctl(fd, TUNSETIFF, &request) == 0
                            ? BringUp("tun0", address, kMtu)
                            : ErrnoStatus("make a TUN device for", address);
  if (status.ok()) return fd;
  close(fd);
  return status;
}

// Where an IPv4 packet of this network goes; -1: nowhere.
int Destination(const char* bytes, size_t size, int hosts) {
  if (size < 20 || (static_cast<uint8_t>(bytes[0]) >> 4) != 4) return -1;
  constexpr char kPrefix[] = {10, 77, 0};
  if (std::memcmp(bytes + 16, kPrefix, sizeof(kPrefix)) != 0) return -1;
  const int host = static_cast<uint8_t>(bytes[19]) - 1;
  return host < hosts ? host : -1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FaultyNetwork>> FaultyNetwork::Create(int hosts, uint64_t seed) {
  std::unique_ptr<FaultyNetwork> network(new FaultyNetwork(seed));
  {
    MutexLock lock(&network->mu_);
    network->cables_.resize(hosts);
  }
  for (int host = 0; host < hosts; ++host) RETURN_IF_ERROR(network->AddHost(host));
  network->thread_ = std::thread([n = network.get()] { n->Run(); });
  return network;
}

FaultyNetwork::~FaultyNetwork() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  for (const Host& host : hosts_) {
    if (host.device >= 0) close(host.device);
    if (host.space >= 0) close(host.space);
  }
}

absl::Status FaultyNetwork::AddHost(int host) {
  hosts_.emplace_back();
  Host& added = hosts_.back();
  if (host == 0) {
    ASSIGN_OR_RETURN(added.device, OpenDevice(address(0)));
    return absl::OkStatus();
  }
  // A namespace is of a thread: a short-lived one makes it, and the descriptor keeps it.
  absl::Status status;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) {
      status = ErrnoStatus("make a network namespace for", address(host));
      return;
    }
    added.space = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    status = BringUp("lo", "", 0);
    if (!status.ok()) return;
    const absl::StatusOr<int> device = OpenDevice(address(host));
    status = device.status();
    if (device.ok()) added.device = *device;
  }).join();
  return status;
}

std::string FaultyNetwork::address(int host) const { return absl::StrCat("10.77.0.", host + 1); }

std::vector<std::string> FaultyNetwork::Enter(int host) const {
  if (host == 0) return {};
  return {"nsenter", absl::StrCat("--net=/proc/", getpid(), "/fd/", hosts_[host].space)};
}

void FaultyNetwork::Set(int host, const Cable& cable) {
  MutexLock lock(&mu_);
  cables_[host] = cable;
}

void FaultyNetwork::Part(int a, int b, bool parted) {
  MutexLock lock(&mu_);
  if (parted) {
    parted_.insert(std::minmax(a, b));
  } else {
    parted_.erase(std::minmax(a, b));
  }
}

FaultyNetwork::Counts FaultyNetwork::counts() const {
  MutexLock lock(&mu_);
  return counts_;
}

void FaultyNetwork::Take(int from, const char* bytes, size_t size, absl::Duration now) {
  const int to = Destination(bytes, size, static_cast<int>(hosts_.size()));
  if (to < 0) return;
  MutexLock lock(&mu_);
  if (parted_.contains(std::minmax(from, to))) {
    ++counts_.held_back;
    return;
  }
  int copies = 1;
  absl::Duration due = now;
  for (const int end : {from, to}) {
    const Cable& cable = cables_[end];
    if (cable.cut) {
      ++counts_.held_back;
      return;
    }
    if (cable.loss > 0 && random_.Uniform() < cable.loss) {
      ++counts_.lost;
      return;
    }
    if (cable.doubled > 0 && random_.Uniform() < cable.doubled) {
      ++copies;
      ++counts_.doubled;
    }
    due += cable.delay;
    if (cable.jitter > absl::ZeroDuration()) due += cable.jitter * random_.Uniform();
  }
  for (int i = 0; i < copies; ++i) queue_.push({due, order_++, to, std::string(bytes, size)});
}

absl::Duration FaultyNetwork::Deliver(absl::Duration now) {
  MutexLock lock(&mu_);
  while (!queue_.empty()) {
    const Packet& packet = queue_.top();
    if (packet.due > now) return packet.due - now;
    // A device whose queue is full loses the packet, as a real one does.
    if (write(hosts_[packet.to].device, packet.bytes.data(), packet.bytes.size()) > 0) {
      ++counts_.passed;
    } else {
      ++counts_.lost;
    }
    queue_.pop();
  }
  return kLook;
}

void FaultyNetwork::Run() {
  std::vector<pollfd> fds;
  for (const Host& host : hosts_) fds.push_back({host.device, POLLIN, 0});
  std::vector<char> buffer(kMtu + 100);
  while (!stop_) {
    const absl::Duration now = Clock::Real()->Monotonic();
    const timespec wait = absl::ToTimespec(std::min(Deliver(now), kLook));
    if (ppoll(fds.data(), fds.size(), &wait, nullptr) <= 0) continue;
    for (size_t i = 0; i < fds.size(); ++i) {
      for (int burst = 0; burst < 64; ++burst) {
        const ssize_t n = read(fds[i].fd, buffer.data(), buffer.size());
        if (n <= 0) break;
        Take(static_cast<int>(i), buffer.data(), static_cast<size_t>(n),
             Clock::Real()->Monotonic());
      }
    }
  }
}

}  // namespace tritter::chaos
