// Finds the CUDA form of the forward pass at run time: tritter_inference is built without CUDA and
// computes on a GPU where //inference/cuda:libtritter_inference_cuda.so stands beside it (or in its
// folder cuda/, or in ../lib).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "inference/cuda/cuda_backend.h"

namespace tritter {

struct CudaInference {
  const CudaInferenceBackend* backend = nullptr;  // null: none can be used
  int count = 0;
  std::string why_none;  // one clause that says what is missing and what to do about it
};
// Loads the library for the rest of the process, once. Thread-safe.
const CudaInference& FindCudaInference();
// The same with a library from `folders`, tried in order; not remembered.
CudaInference FindCudaInferenceIn(const std::vector<std::string>& folders);

// What is computed on, as a flag says it.
struct InferenceDevice {
  enum class Kind { kCpu, kCuda, kAuto } kind = Kind::kCpu;
  int ordinal = 0;  // of kCuda
};
// "cpu", "cuda" (the first), "cuda:N" or "auto" (the first GPU, else the CPU). InvalidArgument
// otherwise.
absl::StatusOr<InferenceDevice> ParseInferenceDevice(absl::string_view text);

// What computes there; a null factory is this CPU.
struct ChosenDevice {
  std::string name;  // "cpu", "cuda:0 NVIDIA H100"
  ForwardFactory factory;
  std::string why_cpu;  // of "auto" that found no GPU
};
// FailedPrecondition when a GPU is asked for that is not there; never another device instead.
absl::StatusOr<ChosenDevice> ChooseDevice(const InferenceDevice& device, const CudaInference& cuda);

}  // namespace tritter
