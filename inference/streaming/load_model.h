// A model within a budget: all of it in memory when it fits, else with its layers streamed.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "inference/packed_model.h"
#include "inference/streaming/stream_plan.h"

namespace tritter {

// What of the weights is in memory under the budget; reads no tensor. Errors: ResourceExhausted
// (PlanStreaming); FailedPrecondition for what exceeds the budget and cannot be streamed: only a
// .tpack can, with ternary codes in tiled form and norms in F32.
absl::StatusOr<LoadPlan> PlanLoad(const PackedModelFile& file, const StreamOptions& options);

// By the plan of this file: PackedModel::Load, or with its layers streamed. A model that is
// streamed is never touched through its mapping: what stays is read into memory of its own, checked
// against its checksums, and one line in the log says what stays, what is streamed, and what speed
// the disk allows. Errors: those of PackedModel::Load, DirectFile::Open and BlockReader;
// ResourceExhausted (the system has no such memory).
absl::StatusOr<std::unique_ptr<PackedModel>> LoadModel(std::unique_ptr<PackedModelFile> file,
                                                       const LoadPlan& plan,
                                                       const TernaryKernel& kernel,
                                                       Clock* clock = Clock::Real());

}  // namespace tritter
