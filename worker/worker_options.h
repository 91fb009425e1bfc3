// Flags of tritter_worker and what they mean together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "access/client_security.h"
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
  std::string device = "auto";  // "auto", "cpu", "cuda", "cuda:N"; resolved: "cpu" or "cuda:N"
  std::string device_reason;    // why that one; filled in by ResolveWorkerOptions
  int cuda_ordinal = -1;        // resolved: N of cuda:N, -1 on the CPU
  int threads = 0;              // 0: one per core
  // After SIGTERM, until the epoch is ended from here: for the step under way and, where nobody
  // stays who has the state, a checkpoint. Kubernetes waits 30 s.
  double leave_seconds = 25;
  ClientSecurity security;         // of the connection to the coordinator
  std::vector<std::string> roots;  // of data and runs; empty: anywhere
  std::string collective_network;  // "trusted": traffic between workers may leave this machine
  bool public_monitoring = false;
};

// The CUDA devices of this machine that this worker can use.
struct CudaSummary {
  int count = 0;
  std::string name;      // of the first
  std::string why_none;  // one clause, where count is 0
  bool driver = true;    // one of NVIDIA is there; else nothing is missing but a GPU
};

void AddWorkerFlags(CommandLine* app, WorkerOptions* options);

// Fills in what depends on the machine: name, threads, device. `host_name`, `cores`: of this
// machine; `find_cuda` is asked unless the device is cpu. InvalidArgument naming the flag:
// a coordinator beyond loopback without TLS or --insecure, workers there without
// --collective-network trusted, health and metrics there without --public-monitoring, a name that
// is not one, counts out of range, a device that is asked for by name and cannot be used (never a
// silent fallback), a kernel that TRITTER_KERNEL (null when unset) names and this CPU does not run.
absl::StatusOr<WorkerOptions> ResolveWorkerOptions(WorkerOptions options,
                                                   const std::string& host_name, int cores,
                                                   const char* kernel_name,
                                                   const std::function<CudaSummary()>& find_cuda);

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
