// May this run be queued? A pure function over the run and what was found out about its data and
// the workers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/run_spec.h"

namespace tritter {

struct SourceFacts {
  std::string name;
  absl::Status status;   // why it cannot be read; the rest is then meaningless
  uint64_t samples = 0;  // whole samples of the training part at the run's sequence length
  uint64_t slots = 0;    // how many samples the run draws from it
  std::string tokenizer_hash;
  int64_t vocabulary = 0;  // ids are below this; 0 when unknown
};

struct WorkerMemory {
  std::string name;
  int64_t memory_bytes = 0;  // 0: unknown
};

struct AdmissionFacts {
  std::vector<SourceFacts> sources;   // as in the run
  std::vector<WorkerMemory> workers;  // those known; empty: nothing is refused for memory
  std::vector<std::string> roots;     // data must lie under one of them; empty: anywhere
  int64_t queued = 0;
};

struct AdmissionOptions {
  int64_t max_queued = 1000;
  int64_t max_workers = 2000;  // as many sessions as the coordinator holds
};

// OK, or every problem, one a line. InvalidArgument (INVALID_RUN_SPEC or PATH_OUTSIDE_ROOTS),
// ResourceExhausted (QUEUE_FULL).
absl::Status CheckAdmission(const RunSpec& spec, const AdmissionFacts& facts,
                            const AdmissionOptions& options = {});

// `path` is absolute, has no "..", and is one of the roots or below one.
bool IsUnderRoots(const std::string& path, const std::vector<std::string>& roots);

}  // namespace tritter
