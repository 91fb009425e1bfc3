// A model within a budget: all of it in memory when it fits, else with its layers streamed.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "inference/packed_model.h"
#include "inference/streaming/stream_plan.h"

namespace tritter {

// Bytes that the weights of a model take in memory under the budget. Errors: ResourceExhausted
// (PlanStreaming); FailedPrecondition for what exceeds the budget and cannot be streamed: only a
// .tpack can, with ternary codes in tiled form and norms in F32.
absl::StatusOr<int64_t> WeightMemory(const PackedModelFile& file, const StreamOptions& options);
// Whether its layers are streamed. Errors: as above.
absl::StatusOr<bool> IsStreamed(const PackedModelFile& file, const StreamOptions& options);

// Without a budget, and within it, PackedModel::Load. A model that is streamed is never touched
// through its mapping: what stays is read into memory of its own, checked against its checksums,
// and one line in the log says what stays, what is streamed, and what speed the disk allows.
// Errors: those of WeightMemory, PackedModel::Load, DirectFile::Open and BlockReader;
// ResourceExhausted (the system has no such memory).
absl::StatusOr<std::unique_ptr<PackedModel>> LoadModel(std::unique_ptr<PackedModelFile> file,
                                                       const TernaryKernel& kernel,
                                                       const StreamOptions& options,
                                                       Clock* clock = Clock::Real());

}  // namespace tritter
