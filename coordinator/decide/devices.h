// What workers say they compute with: "cpu avx2 x4", "cuda:1 NVIDIA H100". Pure.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/run_spec.h"

namespace tritter {

bool IsGpu(absl::string_view device);

// What makes two of them alike: "cuda:1 NAME" is as fast as "cuda:0 NAME".
std::string DeviceModel(const std::string& device);

// Whether the same update of the weights may have other bits on one of them than on another: then
// each rank steps only a part of the weights and the others take that from it (the optimiser's
// state is sharded). CPUs and GPUs; CPUs with and without fused multiply-add; where the optimiser
// multiplies matrices (Muon), all that are not of one model.
bool AreMixed(const RunSpec& spec, absl::Span<const std::string> devices);
// Whether a group of the run may be so: not all that it may get are alike.
bool MayBeMixed(const RunSpec& spec);

// Whether both kinds are there.
bool AreCpusAndGpus(absl::Span<const std::string> devices);

}  // namespace tritter
