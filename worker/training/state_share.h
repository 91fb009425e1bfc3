// The training state on disk: which rank writes which tensor, the snapshot that is written, and
// reading it back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/checkpoint_manifest.h"
#include "worker/training/parameter_store.h"
#include "worker/training/trainer.h"

namespace tritter {

// Rank that writes each parameter (all four tensors of it): largest first to the rank with the
// least so far; ties go to the earlier parameter and the lower rank.
std::vector<int> AssignShares(const std::vector<ParameterSlot>& slots, int world_size);

// Copies weights, moments and averages of the parameters that `rank` writes.
std::unique_ptr<TrainerSnapshot> CopyState(const ParameterStore& parameters, int64_t step, int rank,
                                           int world_size);

// Reads every tensor from the shares in `folder`. Errors: those of the files; NotFound (a parameter
// that no share has); FailedPrecondition (a tensor of another shape or type, a parameter this model
// does not have).
absl::Status ReadState(Env* env, const std::string& folder, const CheckpointManifest& manifest,
                       ParameterStore* parameters);

// SHA-256 over weights, moments and averages.
std::string HashState(const ParameterStore& parameters);

}  // namespace tritter
