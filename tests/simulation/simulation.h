// A coordinator, workers, users, a network and a clock in one thread, and everything that may
// happen to them, drawn from one seed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/coordinator_host.h"
#include "tests/simulation/sim_worker.h"

namespace tritter::simulation {

// What may happen. Which of it, and how much, is the seed's.
enum class Weather {
  kMixed,     // chosen by the seed among those below
  kCalm,      // messages are lost, late and repeated; nobody dies, nothing breaks
  kRestarts,  // and the coordinator restarts now and then, for less than its workers wait for it
  kStorm,     // everything
};

// What the simulation itself does wrong, to show that it would notice.
enum class Sabotage {
  kNone,
  kWorkerSkipsSamples,
  kWorkerUsesOtherRate,
  kWorkerTrainsAgain,
  kStoreForgetsSupersede,
  kStoreForgetsRequests,
  kStoreForgetsPlans,
  kStoreKeepsEpochsAlive,
  kStoreForgetsKeys,
  kStoreDoublesMembers,
  kStoreChangesWorkers,
  kStoreChangesRetention,
};

struct SimulationOptions {
  Weather weather = Weather::kMixed;
  Sabotage sabotage = Sabotage::kNone;
  bool trace = false;
  std::string sqlite_folder = {};  // not empty: the records lie in SQLite files below it
};

struct SimulationResult {
  std::string broken;  // the promise that did not hold; empty: all did
  std::vector<std::string> trace;
  int64_t events = 0, steps = 0, samples_committed = 0;
  int64_t failures = 0;  // that were made: deaths, cuts, faults
  int64_t epochs_lost = 0, epochs_mixed = 0, runs_completed = 0;
  double simulated_seconds = 0;
};

SimulationResult Simulate(uint64_t seed, const SimulationOptions& options = {});

}  // namespace tritter::simulation
