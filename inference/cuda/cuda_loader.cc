#include "inference/cuda/cuda_loader.h"

#include <dlfcn.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/device_library.h"

namespace tritter {

CudaInference FindCudaInferenceIn(const std::vector<std::string>& folders) {
  const absl::StatusOr<const CudaInferenceBackend*> backend =
      LoadDeviceLibrary<CudaInferenceBackend>(
          {"libtritter_inference_cuda.so", "//inference/cuda", "TritterCudaInference",
           kCudaInferenceVersion, "server", RTLD_NOW | RTLD_LOCAL},
          folders);
  CudaInference found;
  if (!backend.ok()) {
    found.why_none = std::string(backend.status().message());
    return found;
  }
  found.backend = *backend;
  found.count = found.backend->device_count();
  return found;
}

const CudaInference& FindCudaInference() {
  static const auto* const found = [] {
    const std::string folder = FolderOfThisProgram();
    return new CudaInference(FindCudaInferenceIn(
        {folder, absl::StrCat(folder, "/cuda"), absl::StrCat(folder, "/../lib")}));
  }();
  return *found;
}

absl::StatusOr<InferenceDevice> ParseInferenceDevice(absl::string_view text) {
  using Kind = InferenceDevice::Kind;
  if (text == "cpu") return InferenceDevice{Kind::kCpu, 0};
  if (text == "auto") return InferenceDevice{Kind::kAuto, 0};
  if (text == "cuda") return InferenceDevice{Kind::kCuda, 0};
  int ordinal = 0;
  if (absl::ConsumePrefix(&text, "cuda:") && absl::SimpleAtoi(text, &ordinal) && ordinal >= 0)
    return InferenceDevice{Kind::kCuda, ordinal};
  return absl::InvalidArgumentError("expected cpu, cuda, cuda:N (N from 0) or auto");
}

absl::StatusOr<ChosenDevice> ChooseDevice(const InferenceDevice& device,
                                          const CudaInference& cuda) {
  if (device.kind == InferenceDevice::Kind::kCpu) return ChosenDevice{"cpu", nullptr, ""};
  if (cuda.backend == nullptr) {
    if (device.kind == InferenceDevice::Kind::kAuto)
      return ChosenDevice{"cpu", nullptr, cuda.why_none};
    return absl::FailedPreconditionError(
        absl::StrCat("no GPU can be used: ", cuda.why_none, "; or serve with --device cpu"));
  }
  if (device.ordinal >= cuda.count) {
    return absl::FailedPreconditionError(absl::StrCat("there is no device cuda:", device.ordinal,
                                                      ", the CUDA driver shows ", cuda.count,
                                                      " (cuda:0 to cuda:", cuda.count - 1, ")"));
  }
  const int ordinal = device.ordinal;
  const auto create = cuda.backend->create;
  return ChosenDevice{absl::StrCat("cuda:", ordinal, " ", cuda.backend->device_name(ordinal)),
                      [ordinal, create](const PackedModel& model, KvFormat kv_format,
                                        int64_t kv_pages, const StreamOptions& streaming) {
                        return create(ordinal, model, kv_format, kv_pages, streaming);
                      },
                      ""};
}

}  // namespace tritter
