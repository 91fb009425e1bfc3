// The real parts of an epoch: shards, groups over c10d (NCCL on a GPU among GPUs, else Gloo), the
// trainer of the device.
#pragma once

#include <memory>
#include <string>

#include "common/env.h"
#include "worker/cuda/cuda_backend.h"
#include "worker/epoch_parts.h"

namespace tritter {

struct TrainingPartsOptions {
  Env* env = nullptr;          // not owned
  std::string advertise_host;  // this worker's address for the others
  int threads = 1;
  // Of the CUDA device to train on, with the backend that knows it; -1: the CPU.
  int cuda_ordinal = -1;
  const CudaBackend* cuda = nullptr;  // not owned
};
std::unique_ptr<EpochParts> MakeTrainingParts(TrainingPartsOptions options);

}  // namespace tritter
