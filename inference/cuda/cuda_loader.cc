#include "inference/cuda/cuda_loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace tritter {
namespace {

constexpr char kLibrary[] = "libtritter_inference_cuda.so";

std::string FolderOfThisProgram() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  const std::string program(path, size > 0 ? static_cast<size_t>(size) : 0);
  return program.substr(0, program.rfind('/'));
}

}  // namespace

CudaInference FindCudaInferenceIn(const std::vector<std::string>& folders) {
  CudaInference found;
  std::string path;
  for (const std::string& folder : folders) {
    path = absl::StrCat(folder, "/", kLibrary);
    if (access(path.c_str(), R_OK) == 0) break;
    path.clear();
  }
  if (path.empty()) {
    found.why_none = absl::StrCat(
        "there is no ", kLibrary, " in ", absl::StrJoin(folders, " or "),
        " (bazel build --config=cuda //inference/cuda:libtritter_inference_cuda.so makes it)");
    return found;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* error = dlerror();
    found.why_none =
        absl::StrCat(path, " cannot be loaded: ", error == nullptr ? "unknown error" : error);
    return found;
  }
  using Table = const CudaInferenceBackend* (*)();
  const auto table = reinterpret_cast<Table>(dlsym(library, "TritterCudaInference"));
  if (table == nullptr || table()->version != kCudaInferenceVersion) {
    found.why_none = absl::StrCat(
        path, " is of version ", table == nullptr ? "none" : absl::StrCat(table()->version),
        ", this server needs ", kCudaInferenceVersion, "; build both from the same sources");
    return found;
  }
  found.count = table()->device_count();
  if (found.count == 0) {
    found.why_none = "the CUDA driver shows no device (see nvidia-smi and CUDA_VISIBLE_DEVICES)";
    return found;
  }
  found.backend = table();
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
  return ChosenDevice{
      absl::StrCat("cuda:", ordinal, " ", cuda.backend->device_name(ordinal)),
      [ordinal, create](const PackedModel& model, KvFormat kv_format, int64_t kv_pages) {
        return create(ordinal, model, kv_format, kv_pages);
      },
      ""};
}

}  // namespace tritter
