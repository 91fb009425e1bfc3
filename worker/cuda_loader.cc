#include "worker/cuda_loader.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/device_library.h"

namespace tritter {
namespace {

constexpr char kTorch[] = "libtorch_cuda.so";
// Symbols of both are for everybody: LibTorch's CPU part finds its CUDA part by them.
constexpr int kMode = RTLD_NOW | RTLD_GLOBAL;

// Where the library that is loaded already as `name` really stands: "" for none.
std::string FolderOfLoaded(const char* name) {
  void* library = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return "";
  link_map* map = nullptr;
  char path[PATH_MAX];
  const bool known =
      dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && realpath(map->l_name, path) != nullptr;
  dlclose(library);
  if (!known) return "";
  const std::string file = path;
  return file.substr(0, file.rfind('/'));
}

// Where the loader looks for libraries, or beside LibTorch's CPU part.
absl::Status LoadTorch() {
  if (dlopen(kTorch, kMode) != nullptr) return absl::OkStatus();
  const std::string beside = absl::StrCat(FolderOfLoaded("libtorch_cpu.so"), "/", kTorch);
  if (dlopen(beside.c_str(), kMode) != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("LibTorch's CUDA part cannot be loaded (",
                                                    LastLoaderError(),
                                                    "); scripts/setup/setup --cuda installs it"));
}

}  // namespace

CudaDevices FindCudaDevicesIn(const std::vector<std::string>& folders) {
  const absl::StatusOr<const CudaBackend*> backend =
      LoadDeviceLibrary<CudaBackend>({"libtritter_worker_cuda.so", "//worker/cuda",
                                      "TritterCudaBackend", kCudaBackendVersion, "worker", kMode},
                                     folders, LoadTorch);
  CudaDevices found;
  if (!backend.ok()) {
    found.why_none = std::string(backend.status().message());
    return found;
  }
  found.backend = *backend;
  found.count = found.backend->device_count();
  found.name = found.backend->device_name(0);
  found.memory_bytes = found.backend->memory_bytes(0);
  return found;
}

bool HasNvidiaDriver() {
  for (const char* path : {"/dev/nvidiactl", "/dev/dxg"}) {  // the second: under Windows
    if (access(path, F_OK) == 0) return true;
  }
  return false;
}

const CudaDevices& FindCudaDevices() {
  static const auto* found = [] {
    const std::string folder = FolderOfThisProgram();
    return new CudaDevices(FindCudaDevicesIn({folder, absl::StrCat(folder, "/../lib")}));
  }();
  return *found;
}

}  // namespace tritter
