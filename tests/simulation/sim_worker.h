// A worker process: it registers, keeps a session, takes assignments and lives or dies. It follows
// the contract of WorkerService as the real one does (worker/agent.*, coordinator_client.*).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "coordinator/errors.h"
#include "tests/simulation/group.h"
#include "tests/simulation/network.h"
#include "tests/simulation/world.h"

namespace tritter::simulation {

class SimEpoch;
class SimWorker;

// A state of training that outlives its epoch in memory.
struct Held {
  std::string run;
  uint64_t epoch = 0;  // that trained it or compared it with the others
  int64_t step = 0;
  uint64_t state = 0;
  v1::ReportRequest reports;  // of the steps until then, told or not
};

// What a simulated worker does against its contract, to see whether somebody notices.
enum class Misdeed { kNone, kSkipsSamples, kOtherRate, kTrainsAgain };

struct WorkerParts {
  World* world = nullptr;
  Network* network = nullptr;
  CoordinatorHost* coordinator = nullptr;
  Groups* groups = nullptr;
  Misdeed misdeed = Misdeed::kNone;
  std::string device = "cpu sim x1";
  double seconds_per_sequence = 0;  // said in heartbeats; 0: never measured
  // Sees every answer to NextPlan.
  std::function<void(const v1::NextPlanRequest&, const absl::StatusOr<v1::NextPlanResponse>&)>
      on_plan;
  std::function<void(const Held&)> on_held;
  // It ends, since another process has its name.
  std::function<void(const SimWorker&)> on_superseded;
};

class SimWorker : public Process, public std::enable_shared_from_this<SimWorker> {
 public:
  // `hangs`: the chance that an aborted collective does not come back.
  SimWorker(const WorkerParts& parts, int host, std::string name, uint64_t incarnation,
            double seconds_per_step, double hangs);

  void Start();
  // kill -9, or the end of the process by itself. `restarts`: its supervisor starts another.
  void Die(bool restarts);
  void Freeze(absl::Duration until) { frozen_until_ = std::max(frozen_until_, until); }
  void Thaw() { frozen_until_ = std::min(frozen_until_, parts_.world->now()); }
  void Drain();  // SIGTERM
  void ResetConnection();
  // The next report of its epoch is that it has failed.
  void FailEpoch(bool permanent);

  bool alive() const { return alive_; }
  bool draining() const { return draining_; }
  absl::Duration frozen_until() const { return frozen_until_; }
  absl::Duration ended_at() const { return ended_at_; }
  std::function<void(bool restarts)> on_end;

  int host() const override { return host_; }
  void Later(absl::Duration delay, std::function<void()> act) override;

  const std::string& name() const { return name_; }
  uint64_t incarnation() const { return incarnation_; }
  double seconds_per_step() const { return seconds_per_step_; }
  double hangs() const { return hangs_; }
  const WorkerParts& parts() const { return parts_; }
  // How long it has waited for the coordinator, in an epoch: see SimEpoch.
  absl::Duration unanswered_for() const;
  // It has not heard of that epoch, or not yet where its group meets.
  bool AwaitsGroup(const std::string& run, uint64_t epoch) const;
  v1::WorkerIdentity Identity() const;

  // A call of WorkerService: `answer` gets the response or what came instead, as
  // CoordinatorClient::FromCall has it: Unavailable is asked again, Aborted is a stale epoch.
  template <typename Response>
  void Call(std::function<absl::StatusOr<Response>(Coordinator*)> at_coordinator,
            std::function<void(absl::StatusOr<Response>)> answer) {
    auto self = shared_from_this();
    parts_.network->Call(
        self,
        [self, at_coordinator, answer](Coordinator* c) -> Network::Reply {
          absl::StatusOr<Response> response = at_coordinator(c);
          return [self, answer, response = std::move(response)] {
            answer(response.ok() ? response
                                 : absl::StatusOr<Response>(self->Heard(response.status())));
          };
        },
        [answer](const absl::Status& status) { answer(status); });
  }

  // Of its epoch.
  void EpochEnded(SimEpoch* epoch);
  void Nudge();  // a heartbeat now

 private:
  void Connect();
  void Beat(uint64_t turn);
  void Take(const v1::Command& command);
  void StreamEnded(const absl::Status& status);
  void EndStream();
  v1::Heartbeat MakeHeartbeat() const;
  // What an error means to the worker.
  absl::Status Heard(const absl::Status& status);

  const WorkerParts parts_;
  const int host_;
  const std::string name_;
  const uint64_t incarnation_;
  const double seconds_per_step_, hangs_;
  bool alive_ = true, registered_ = false, draining_ = false, connecting_ = false;
  absl::Duration frozen_until_, ended_at_, pause_ = absl::Milliseconds(200);
  std::shared_ptr<Stream> stream_;
  std::optional<absl::Duration> refused_since_;  // its name is in use
  uint64_t turn_ = 0;                            // counts the streams
  std::map<std::string, uint64_t> newest_epoch_;
  std::shared_ptr<SimEpoch> epoch_;
  std::optional<Held> held_;
};

}  // namespace tritter::simulation
