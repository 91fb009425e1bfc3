// The only surface between an engine that is built without CUDA and the CUDA form of the forward
// pass, a library of its own (//inference/cuda:libtritter_inference_cuda.so, built with
// --config=cuda) that cuda_loader.h loads at run time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "inference/forward_backend.h"

namespace tritter {

// Version of this struct and of the classes it passes on; a library of another one is refused.
inline constexpr int kCudaInferenceVersion = 2;

struct CudaInferenceBackend {
  int version;
  // Number of CUDA devices that can be used; 0 without a driver.
  int (*device_count)();
  std::string (*device_name)(int device);
  // Puts the model into the device's memory, as far as `streaming` allows. Errors:
  // ResourceExhausted with the arithmetic; Unimplemented (a shape it does not compute); Internal (a
  // kernel disagrees with the reference); Unavailable (the device does not answer).
  absl::StatusOr<std::unique_ptr<ForwardBackend>> (*create)(int device, const PackedModel& model,
                                                            KvFormat kv_format, int64_t kv_pages,
                                                            const StreamOptions& streaming);
};

}  // namespace tritter

// Exported by the library; never null.
extern "C" const tritter::CudaInferenceBackend* TritterCudaInference();
