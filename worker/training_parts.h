// The real parts of an epoch: shards, groups over c10d, the LibTorch trainer.
#pragma once

#include <memory>
#include <string>

#include "common/env.h"
#include "worker/epoch_parts.h"

namespace tritter {

struct TrainingPartsOptions {
  Env* env = nullptr;          // not owned
  std::string advertise_host;  // this worker's address for the others
  int threads = 1;
};
std::unique_ptr<EpochParts> MakeTrainingParts(TrainingPartsOptions options);

}  // namespace tritter
