// Groups of the CPU's trainer and the device trainer, the latter on the CPU with the plain
// formulas.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/run_spec.h"
#include "worker/collective.h"
#include "worker/training/trainer.h"

namespace tritter {

enum class TrainerKind { kCpu, kDevice };

// Fresh; one thread. mixed: Trainer::Options::mixed_devices. Failures are the test's.
std::unique_ptr<Trainer> MakeTrainerOf(TrainerKind kind, const RunSpec& spec,
                                       Collective* collective, bool mixed = false);

// The bytes of every tensor that `trainer` has and whose name begins with `prefix` ("weight/"), by
// name. Its group is gone afterwards: nothing but this may be called.
std::map<std::string, std::string> TakeTensors(Trainer* trainer, const std::string& prefix);

}  // namespace tritter
