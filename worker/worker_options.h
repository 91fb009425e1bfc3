// Flags of tritter_worker and what they mean together.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "common/flags.h"

namespace CLI {
class App;
}

namespace tritter {

struct WorkerOptions {
  std::string coordinator = "127.0.0.1:7070";
  std::string name;                          // "": the host's name
  std::string advertise_host = "127.0.0.1";  // where the other workers reach this one
  std::string listen = "127.0.0.1:0";        // health and reflection
  std::string metrics_listen = "127.0.0.1:0";
  std::string ready_file;
  std::string device = "auto";  // "auto" or "cpu"; resolved: "cpu"
  std::string device_reason;    // why that one; filled in by ResolveWorkerOptions
  int threads = 0;              // 0: one per core
  double leave_seconds = 5;     // after SIGTERM, until the epoch is ended from here
  bool insecure = false;
};

void AddWorkerFlags(CommandLine* app, WorkerOptions* options);

// Fills in what depends on the machine (name, threads) and on this build (device). `host_name`,
// `cores`: of this machine. InvalidArgument naming the flag: addresses beyond loopback without
// --insecure, a name that is not one, counts out of range, a device this build does not train on
// (never a silent fallback), a kernel that TRITTER_KERNEL (null when unset) names and this CPU does
// not run.
absl::StatusOr<WorkerOptions> ResolveWorkerOptions(WorkerOptions options,
                                                   const std::string& host_name, int cores,
                                                   const char* kernel_name);

// What a run may use: four fifths of the machine's memory, or of the control group's limit where
// that is lower.
int64_t UsableMemoryBytes(Env* env);

// Written to --ready-file once the worker is up (the coordinator may come later).
struct WorkerReady {
  std::string name, device, health_address, metrics_address;
  uint64_t incarnation = 0;
  int64_t pid = 0;
};
std::string WorkerReadyJson(const WorkerReady& ready);

}  // namespace tritter
