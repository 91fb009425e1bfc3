#include "worker/cuda_loader.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tritter {
namespace {

constexpr char kLibrary[] = "libtritter_worker_cuda.so";
constexpr char kTorch[] = "libtorch_cuda.so";

std::string FolderOfThisProgram() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  const std::string program(path, size > 0 ? size : 0);
  return program.substr(0, program.rfind('/'));
}

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

// Symbols of both are for everybody: LibTorch's CPU part finds its CUDA part by them.
void* Open(const std::string& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL); }

std::string LastError() {
  const char* error = dlerror();
  return error == nullptr ? "" : error;
}

}  // namespace

CudaDevices FindCudaDevicesIn(const std::vector<std::string>& folders) {
  CudaDevices found;
  std::string path;
  for (const std::string& folder : folders) {
    path = absl::StrCat(folder, "/", kLibrary);
    if (access(path.c_str(), R_OK) == 0) break;
    path.clear();
  }
  if (path.empty()) {
    found.why_none = absl::StrCat(
        "there is no ", kLibrary, " in ", absl::StrJoin(folders, " or "),
        " (bazel build --config=cuda //worker/cuda:libtritter_worker_cuda.so makes it)");
    return found;
  }
  // Where the loader looks for libraries, or beside LibTorch's CPU part.
  if (Open(kTorch) == nullptr &&
      Open(absl::StrCat(FolderOfLoaded("libtorch_cpu.so"), "/", kTorch)) == nullptr) {
    found.why_none = absl::StrCat("LibTorch's CUDA part cannot be loaded (", LastError(),
                                  "); scripts/setup/setup --cuda installs it");
    return found;
  }
  void* library = Open(path);
  if (library == nullptr) {
    found.why_none = absl::StrCat(path, " cannot be loaded: ", LastError());
    return found;
  }
  using Table = const CudaBackend* (*)();
  const auto table = reinterpret_cast<Table>(dlsym(library, "TritterCudaBackend"));
  if (table == nullptr || table()->version != kCudaBackendVersion) {
    found.why_none = absl::StrCat(
        path, " is of version ", table == nullptr ? "none" : absl::StrCat(table()->version),
        ", this worker needs ", kCudaBackendVersion, "; build both from the same sources");
    return found;
  }
  found.count = table()->device_count();
  if (found.count == 0) {
    found.why_none = "the CUDA driver shows no device (see nvidia-smi and CUDA_VISIBLE_DEVICES)";
    return found;
  }
  found.backend = table();
  found.name = found.backend->device_name(0);
  found.memory_bytes = found.backend->memory_bytes(0);
  return found;
}

const CudaDevices& FindCudaDevices() {
  static const auto* found = [] {
    const std::string folder = FolderOfThisProgram();
    return new CudaDevices(FindCudaDevicesIn({folder, absl::StrCat(folder, "/../lib")}));
  }();
  return *found;
}

}  // namespace tritter
