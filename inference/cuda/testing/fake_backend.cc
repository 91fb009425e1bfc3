// A library that a server without CUDA may meet: of another version, without devices, or with two.
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "inference/cuda/cuda_backend.h"

#ifndef DEVICES
#define DEVICES 2
#endif
#ifndef VERSION_ADDED
#define VERSION_ADDED 0
#endif

namespace {

constexpr tritter::CudaInferenceBackend kBackend = {
    tritter::kCudaInferenceVersion + VERSION_ADDED, [] { return DEVICES; },
    [](int device) { return absl::StrCat("Fake ", device); },
    [](int device, const tritter::PackedModel&, tritter::KvFormat, int64_t,
       const tritter::StreamOptions&) -> absl::StatusOr<std::unique_ptr<tritter::ForwardBackend>> {
      return absl::ResourceExhaustedError(absl::StrCat("no room on ", device));
    }};

}  // namespace

extern "C" const tritter::CudaInferenceBackend* TritterCudaInference() { return &kBackend; }
