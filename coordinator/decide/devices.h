// What workers say they compute with: "cpu avx2 x4", "cuda:1 NVIDIA H100". Pure.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

bool IsGpu(absl::string_view device);

// What makes two of them alike: "cuda:1 NAME" is as fast as "cuda:0 NAME".
std::string DeviceModel(const std::string& device);

// CPUs and GPUs in one group: they round differently, so that each rank steps only a part of the
// weights and the others take that from it (the optimiser's state is sharded).
bool AreMixed(absl::Span<const std::string> devices);

}  // namespace tritter
