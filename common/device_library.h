// Libraries with code for a device that a program is built without: each exports a function that
// gives a table of functions, and is loaded at run time where it stands beside the program.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tritter {

struct DeviceLibrary {
  std::string file;      // "libtritter_worker_cuda.so"
  std::string package;   // that makes it: "//worker/cuda"
  std::string function;  // its name, of type const Table* (), never null
  int version;           // of Table
  std::string program;   // what needs it, for messages: "worker"
  int mode;              // of dlopen
};

// What every Table has first.
struct DeviceTable {
  const void* table;
  int version;
  int (*device_count)();
};

// `before` loads what the library needs, once there is one; `read` calls what the library exports.
// Errors: those of `before`; FailedPrecondition with one clause that says what is missing (the
// file, its version, a device) and what to do about it.
absl::StatusOr<DeviceTable> LoadDeviceTable(const DeviceLibrary& library,
                                            const std::vector<std::string>& folders,
                                            absl::FunctionRef<absl::Status()> before,
                                            DeviceTable (*read)(void* function));

// Loads it for the rest of the process, from the first of `folders` that has it. Errors as above.
template <typename Table>
absl::StatusOr<const Table*> LoadDeviceLibrary(
    const DeviceLibrary& library, const std::vector<std::string>& folders,
    absl::FunctionRef<absl::Status()> before = [] { return absl::OkStatus(); }) {
  const absl::StatusOr<DeviceTable> found =
      LoadDeviceTable(library, folders, before, [](void* function) {
        const Table* const table = reinterpret_cast<const Table* (*)()>(function)();
        return DeviceTable{table, table->version, table->device_count};
      });
  if (!found.ok()) return found.status();
  return static_cast<const Table*>(found->table);
}

std::string FolderOfThisProgram();
std::string LastLoaderError();  // what dlopen said last

}  // namespace tritter
