// What lies between the processes: calls that are lost, answered late, repeated and overtaken,
// streams that stall and break, links that are cut.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/worker_registry.h"
#include "tests/simulation/coordinator_host.h"
#include "tests/simulation/world.h"

namespace tritter::simulation {

// Of every call; the rest arrives as it should.
struct NetworkFaults {
  double request_lost = 0, answer_lost = 0, duplicated = 0, late = 0;
  absl::Duration delay = absl::Milliseconds(5);     // mean of a message
  absl::Duration longest_late = absl::Seconds(8);   // of requests that outlive their caller
  absl::Duration call_deadline = absl::Seconds(3);  // as CoordinatorClient has
};

// Where a process is: its events wait while it is stopped, and end with it.
class Process {
 public:
  virtual ~Process() = default;
  virtual int host() const = 0;
  // Runs `act` after `delay`, if the process still lives then.
  virtual void Later(absl::Duration delay, std::function<void()> act) = 0;
};

// One bidirectional stream of a worker to the coordinator.
class Stream;

class Network {
 public:
  Network(World* world, CoordinatorHost* coordinator, NetworkFaults faults, int hosts);
  ~Network();  // what is under way refers to its stream, and goes

  // --- cables ---
  enum class Way { kUp, kDown };  // to the coordinator, from it
  void Cut(int host, Way way, absl::Duration until);
  void CutPeers(int a, int b, absl::Duration until);
  void HealAll();
  void Calm() { faults_ = {.delay = faults_.delay}; }
  absl::Duration CutUntil(int host, Way way) const { return cut_[Index(host, way)]; }
  absl::Duration PeersCutUntil(int a, int b) const;

  // --- calls ---
  using Reply = std::function<void()>;
  // `execute` runs at the coordinator, perhaps twice, perhaps after the caller gave up, and returns
  // what then runs at the caller; `lost` runs there instead when no answer comes. One of them runs,
  // once, unless the caller dies.
  void Call(std::shared_ptr<Process> from, std::function<Reply(Coordinator*)> execute,
            std::function<void(const absl::Status&)> lost);

  // --- streams ---
  struct StreamEvents {
    std::function<void(const v1::Command&)> on_command;
    std::function<void(const absl::Status&)> on_end;  // by the other side, or broken
  };
  std::shared_ptr<Stream> Open(std::shared_ptr<Process> from, const v1::Heartbeat& first,
                               StreamEvents events);
  void Send(const std::shared_ptr<Stream>& stream, const v1::Heartbeat& heartbeat);
  // By the worker, orderly or by its death.
  void CloseByWorker(const std::shared_ptr<Stream>& stream);
  // By nobody: a connection is reset.
  void Reset(const std::shared_ptr<Stream>& stream);
  void CoordinatorDied();

 private:
  friend class Stream;
  struct Pending;
  size_t Index(int host, Way way) const {
    return static_cast<size_t>(2 * host + (way == Way::kDown));
  }
  absl::Duration Delay() { return faults_.delay * world_->Between(0.2, 2.0); }
  void Deliver(const std::shared_ptr<Pending>& call, bool answer);
  void Answer(const std::shared_ptr<Pending>& call, Reply reply);
  void Lose(const std::shared_ptr<Pending>& call, absl::Duration after, const char* why);
  void ServerCloses(const std::shared_ptr<Stream>& stream, const absl::Status& status);
  void BreakForWorker(const std::shared_ptr<Stream>& stream, const char* why);
  void PumpUp(const std::shared_ptr<Stream>& stream);
  void PumpDown(const std::shared_ptr<Stream>& stream);

  World* const world_;
  CoordinatorHost* const coordinator_;
  NetworkFaults faults_;
  const int hosts_;
  std::vector<absl::Duration> cut_, peers_cut_;
  std::vector<std::weak_ptr<Stream>> streams_;
};

}  // namespace tritter::simulation
