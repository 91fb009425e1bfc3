// The trainer over tensors of one device: FP32 masters, moments and averages, activations in BF16
// or FP32, kernels of the device. It runs on a GPU with the kernels of worker/cuda, and on the CPU
// with the plain formulas, which is how it is tested without one.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/training/trainer.h"

namespace tritter {

class TensorKernels;

struct TrainingDevice {
  int ordinal = -1;                        // of the CUDA device; -1: the CPU
  std::string name = "cpu";                // "NVIDIA H100 80GB HBM3", for the log
  const TensorKernels* kernels = nullptr;  // not owned; lives as long as the process
  bool bf16 = false;                       // activations and products
};

// Errors: those of Trainer::Create; Unimplemented (NotOnCuda: model/cuda_limits.h).
absl::StatusOr<std::unique_ptr<Trainer>> CreateDeviceTrainer(const Trainer::Options& options,
                                                             const TrainingDevice& device);

}  // namespace tritter
