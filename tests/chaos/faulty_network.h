// Hosts in network namespaces of their own, joined by cables that lose, delay, reorder, double and
// hold back packets as told, while connections live.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "common/random.h"

namespace tritter::chaos {

// The way between a host and the middle of the network; the same for both directions.
struct Cable {
  bool cut = false;
  double loss = 0;     // share of the packets, [0, 1]
  double doubled = 0;  // share that arrives twice
  absl::Duration delay = absl::ZeroDuration();
  absl::Duration jitter = absl::ZeroDuration();  // up to this much more; packets overtake others
};

// Each host has a TUN device of 10.77.0.0/24; its other end is here, where a thread passes IPv4
// packets on. No kernel module is needed beyond `tun` (netem is missing in many kernels). Owns the
// namespaces: they go when it and the processes in them have gone. Thread-safe.
class FaultyNetwork {
 public:
  // Host 0 is the calling process, after Isolate(). PermissionDenied or NotFound: no TUN devices
  // here. `seed`: of all fates of packets; their order is that of arrival, so a run is not repeated
  // exactly.
  static absl::StatusOr<std::unique_ptr<FaultyNetwork>> Create(int hosts, uint64_t seed);
  ~FaultyNetwork();

  std::string address(int host) const;
  // Put before an argv: the program runs on that host.
  std::vector<std::string> Enter(int host) const;
  void Set(int host, const Cable& cable);
  // Two hosts that reach everybody but each other.
  void Part(int a, int b, bool parted);

  struct Counts {
    int64_t passed = 0, lost = 0, doubled = 0,
            held_back = 0;  // packets; held back: by a cut or parting
  };
  Counts counts() const;

 private:
  struct Host {
    int space = -1;  // namespace; -1: our own
    int device = -1;
  };
  struct Packet {
    absl::Duration due;
    uint64_t order;  // equal times: first come, first served
    int to;
    std::string bytes;
    bool operator<(const Packet& other) const {  // the queue's top is the earliest
      return due != other.due ? due > other.due : order > other.order;
    }
  };
  explicit FaultyNetwork(uint64_t seed) : random_(seed) {}
  absl::Status AddHost(int host);
  void Run();
  void Take(int from, const char* bytes, size_t size, absl::Duration now) EXCLUDES(mu_);
  absl::Duration Deliver(absl::Duration now) EXCLUDES(mu_);  // until the next one is due

  std::vector<Host> hosts_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
  mutable Mutex mu_;
  Philox random_ GUARDED_BY(mu_);
  std::vector<Cable> cables_ GUARDED_BY(mu_);
  std::set<std::pair<int, int>> parted_ GUARDED_BY(mu_);  // smaller number first
  std::priority_queue<Packet> queue_ GUARDED_BY(mu_);
  uint64_t order_ GUARDED_BY(mu_) = 0;
  Counts counts_ GUARDED_BY(mu_);
};

}  // namespace tritter::chaos
