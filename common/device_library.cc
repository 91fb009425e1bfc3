#include "common/device_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<DeviceTable> LoadDeviceTable(const DeviceLibrary& library,
                                            const std::vector<std::string>& folders,
                                            absl::FunctionRef<absl::Status()> before,
                                            DeviceTable (*read)(void* function)) {
  std::string path;
  for (const std::string& folder : folders) {
    path = absl::StrCat(folder, "/", library.file);
    if (access(path.c_str(), R_OK) == 0) break;
    path.clear();
  }
  if (path.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "there is no ", library.file, " in ", absl::StrJoin(folders, " or "),
        " (bazel build --config=cuda ", library.package, ":", library.file, " makes it)"));
  }
  RETURN_IF_ERROR(before());
  void* const opened = dlopen(path.c_str(), library.mode);
  if (opened == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " cannot be loaded: ", LastLoaderError()));
  }
  void* const function = dlsym(opened, library.function.c_str());
  std::optional<DeviceTable> table;
  if (function != nullptr) table = read(function);
  if (!table.has_value() || table->version != library.version) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is of version ", table.has_value() ? absl::StrCat(table->version) : "none",
        ", this ", library.program, " needs ", library.version,
        "; build both from the same sources"));
  }
  if (table->device_count() == 0) {
    return absl::FailedPreconditionError(
        "the CUDA driver shows no device (see nvidia-smi and CUDA_VISIBLE_DEVICES)");
  }
  return *table;
}

std::string FolderOfThisProgram() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  const std::string program(path, size > 0 ? static_cast<size_t>(size) : 0);
  return program.substr(0, program.rfind('/'));
}

std::string LastLoaderError() {
  const char* const error = dlerror();
  return error == nullptr ? "unknown error" : error;
}

}  // namespace tritter
