// A scripted worker for tests: follows the contract of WorkerService with arithmetic left out.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

// How an agent reaches its coordinator: in the same process or over gRPC.
class WorkerApi {
 public:
  virtual ~WorkerApi() = default;
  virtual absl::Status Register(const v1::RegisterRequest& request) = 0;
  virtual absl::Status OpenSession(const v1::Heartbeat& first) = 0;
  virtual absl::Status Beat(const v1::Heartbeat& heartbeat) = 0;
  virtual void BreakSession() = 0;  // as when the process is killed
  virtual std::vector<v1::Command> TakeCommands() = 0;
  virtual absl::Status PublishRendezvous(const v1::PublishRendezvousRequest& request) = 0;
  virtual absl::StatusOr<v1::NextPlanResponse> NextPlan(const v1::NextPlanRequest& request) = 0;
  virtual absl::Status Report(const v1::ReportRequest& request) = 0;
  virtual absl::StatusOr<v1::CommitShareResponse> CommitShare(
      const v1::CommitShareRequest& request) = 0;
};

// Stands for what the ranks of an epoch tell each other with the gradients of a step: nobody does a
// step without the others, and after which step all stop. Shared by the agents of a test.
class FakeExchange {
 public:
  // A rank has done the step (or begins there).
  void Reached(const std::string& run_id, uint64_t epoch, int rank, int64_t step);
  // Whether all ranks have done the step before this one.
  bool Together(const std::string& run_id, uint64_t epoch, int world, int64_t step) const;
  // A rank was told to yield: all stop after the step that nobody has done yet.
  void Ask(const std::string& run_id, uint64_t epoch);
  // Whether all stop at this step.
  bool Stops(const std::string& run_id, uint64_t epoch, int64_t step) const;

 private:
  struct Group {
    std::map<int, int64_t> steps;  // done, by rank
    int64_t newest = 0;            // of them
    int64_t stop = -1;
  };
  std::map<std::pair<std::string, uint64_t>, Group> groups_;
};

// Not thread-safe: the test calls Act.
class FakeAgent {
 public:
  FakeAgent(WorkerApi* api, Env* env, std::string name, uint64_t incarnation)
      : api_(api), env_(env), name_(std::move(name)), incarnation_(incarnation) {}

  // Registers and opens the session; says which epoch it is in, so that it may be called after a
  // coordinator restart.
  absl::Status Connect();
  // Takes commands, then does one thing: asks for a plan, or trains one step (reporting it, writing
  // checkpoints that are ordered). A refused call ends its part in the epoch. Always ends with a
  // heartbeat.
  void Act();
  // Out of its epoch, unheard as yet. It keeps its state when it `holds`.
  void Leave();
  // The state in its memory is gone.
  void Forget() { held_.reset(); }
  void Kill() { api_->BreakSession(); }
  absl::Status Fail(const std::string& failure, bool permanent);
  // It cannot read the configuration of the run it was given.
  absl::Status CannotRead(const std::string& why);

  v1::WorkerIdentity Identity() const;
  const std::string& name() const { return name_; }
  bool idle() const { return run_id_.empty(); }
  const std::string& run_id() const { return run_id_; }
  uint64_t epoch() const { return epoch_; }
  int rank() const { return rank_; }
  int64_t step() const { return step_; }
  const std::optional<v1::Plan>& plan() const { return plan_; }
  // (epoch, first step) of every assignment, and every (epoch, step) trained.
  const std::vector<std::pair<uint64_t, int64_t>>& assignments() const { return assignments_; }
  const std::vector<std::pair<uint64_t, int64_t>>& trained() const { return trained_; }
  const std::optional<v1::HeldState>& held() const { return held_; }
  const std::vector<v1::Assignment>& assigned() const { return assigned_; }
  // Steps whose evaluation it reported.
  const std::vector<int64_t>& evaluated() const { return evaluated_; }
  const absl::Status& last_error() const { return last_error_; }
  std::map<int64_t, v1::Plan> plans;        // of the current epoch, by first step
  std::string device = "cpu test x1";       // said when it connects
  std::string version = "0.1.0";            // likewise
  int64_t memory_bytes = int64_t{8} << 30;  // likewise
  FakeExchange* exchange = nullptr;  // not null: it stops when told to, and so do the other ranks
  bool holds = false;                // it keeps its state when an epoch ends
  bool draining = false;
  bool mute = false;              // its reports of steps stay with it
  bool lie_about_hashes = false;  // of its shares
  bool cannot_commit = false;     // they are written, nobody is told
  double step_seconds = 1.0;
  double seconds_per_sequence = 0;  // said in heartbeats of an epoch
  double evaluation_seconds = 0;
  std::string share;  // content of its shares of checkpoints; empty: words
  std::function<double(int64_t step)> held_out_loss;  // unset: falls with every step

 private:
  void Take(const v1::Command& command);
  void AskForPlan();
  bool Yields() const;
  void StartFrom(const v1::Assignment& assignment);
  void AddEvaluation(v1::ReportRequest* report);
  absl::Status Send(const v1::ReportRequest& report);
  absl::Status Train();
  absl::Status Commit();
  absl::Status WriteCheckpoint(const v1::CheckpointOrder& order);
  v1::Heartbeat Heartbeat() const;

  WorkerApi* const api_;
  Env* const env_;
  const std::string name_;
  const uint64_t incarnation_;
  std::map<std::string, uint64_t> newest_epoch_;  // by run; none is joined twice
  std::string run_id_, run_dir_;
  uint64_t epoch_ = 0;
  int rank_ = 0, world_ = 1;
  int64_t step_ = 0;
  bool rendezvous_ = false;
  std::optional<v1::Plan> plan_;
  std::optional<v1::HeldState> held_;
  bool whole_ = false;       // it has the state of step_, as all ranks do
  int64_t yielded_at_ = -1;  // step at which a yield was answered
  std::vector<v1::Assignment> assigned_;
  std::vector<int64_t> evaluated_;
  std::optional<v1::CommitShareRequest> share_;  // not answered yet: said again
  std::vector<std::pair<uint64_t, int64_t>> assignments_, trained_;
  absl::Status last_error_;
  int64_t next_request_ = 1;
};

}  // namespace tritter
