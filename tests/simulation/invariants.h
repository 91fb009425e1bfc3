// The promises of service.md, held against everything that becomes durable, everything that is
// trained and everything that is answered. The first one that does not hold ends the simulation.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/env.h"
#include "coordinator/store/store.h"
#include "tests/simulation/group.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/sim_worker.h"
#include "tests/simulation/world.h"

namespace tritter::simulation {

// A live epoch as the store has it.
struct KnownEpoch {
  EpochRecord record;
  std::map<int64_t, v1::Plan> plans;          // durable, by first step
  std::map<int64_t, std::string> handed_out;  // by first step, serialized
  bool done = false;                          // somebody was told Done
};
// A step in the curve.
struct CurveRow {
  uint64_t epoch = 0;
  double loss = 0;
  bool superseded = false;
};
struct KnownRun {
  const Oracle* oracle = nullptr;
  RunRecord record;
  std::optional<KnownEpoch> live;
  uint64_t newest_epoch = 0;
  int64_t newest_start = 0;
  std::map<int64_t, v1::Checkpoint> checkpoints;
  std::map<int64_t, std::string> committed_as;  // by step: manifest of each that ever was
  int64_t committed = 0;                        // highest step ever committed, damaged ones aside
  std::set<int64_t> damaged;
  std::set<int64_t> held;                             // steps whose state was in somebody's memory
  std::set<std::pair<uint64_t, int64_t>> stopped_at;  // epoch and step: the group was told to stop
  int64_t reached = 0;                                // steps done when its last epoch ended
  int64_t steps_repeated = 0;                         // by the epochs since
  int64_t epochs_mixed = 0;                           // of CPUs and GPUs
  std::map<int64_t, std::vector<CurveRow>> curve;
  int64_t reported_tokens = 0;
  std::string submitted_key;
};

class Invariants {
 public:
  // `files`: where checkpoints lie, without faults.
  Invariants(World* world, Env* files) : world_(world), files_(files) {}

  void Expect(const RunWish& wish);

  // --- what happens ---
  void OnBatch(const WriteBatch& batch);
  void OnStep(const std::string& run, uint64_t epoch, const std::vector<RankStep>& ranks);
  void OnPlan(const v1::NextPlanRequest& request,
              const absl::StatusOr<v1::NextPlanResponse>& response);
  void OnRunsShown(const std::vector<v1::Run>& runs, bool well);
  // Somebody has a state in memory after its epoch.
  void OnHeld(const Held& held);
  // The coordinator was away for so long that the group of this run gave up.
  void OnUnanswered(const std::string& run) { ++unanswered_[run]; }
  // A submission that was answered.
  void OnSubmitted(const std::string& key, const std::string& run_id);
  // Somebody damaged the newest checkpoint of a run: its steps may be trained again.
  void OnDamage(const std::string& run_id, int64_t step);
  // Every run has come to its end.
  void CheckEnds(Store* store);

  // --- what is known ---
  const std::map<std::string, KnownRun>& runs() const { return runs_; }
  int64_t steps_trained() const { return steps_trained_; }
  int64_t samples_committed() const { return samples_committed_; }
  int64_t epochs_lost() const;
  int64_t epochs_unanswered() const;  // of those, because the coordinator was away

 private:
  template <typename... Words>
  void Break(const Words&... words) {
    world_->Break(absl::StrCat(words...));
  }
  void OnRunRecord(const RunRecord& record);
  void OnEpoch(const EpochRecord& record, const WriteBatch& batch);
  void OnPlanStored(const PlanRecord& record);
  void OnCheckpoint(const CheckpointRecord& record);
  void OnMetrics(const WriteBatch& batch);
  void CheckPlan(const KnownRun& run, const EpochRecord& epoch, const v1::Plan& plan);

  World* const world_;
  Env* const files_;
  std::map<std::string, std::unique_ptr<Oracle>> oracles_;  // by name
  std::map<std::string, KnownRun> runs_;
  std::map<std::string, std::string> keys_;
  std::map<std::string, int64_t> unanswered_;
  // Since when a run shows the same reason without a figure of its own.
  std::map<std::string, absl::Duration> speechless_since_;
  int64_t steps_trained_ = 0, samples_committed_ = 0;
};

}  // namespace tritter::simulation
