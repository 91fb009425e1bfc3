// The main job in one command: a cluster on this machine, one run on it, to its end.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tritter/v1/runs.pb.h"
#include "tritterctl/local/local_cluster.h"
#include "tritterctl/progress.h"
#include "tritterctl/proto_json.h"
#include "tritterctl/run_api.h"
#include "tritterctl/run_file.h"

namespace tritter {

struct LocalRunResult {
  v1::Run run;          // in its terminal state
  bool found = false;   // it was there already, unfinished or complete
  OrderedJson summary;  // tritterctl/run_view.h RunSummary
};

// The key under which the run of this configuration in this folder is found again: the same command
// goes on where it stopped. `attempt` counts the runs of the same configuration that were cancelled
// before.
std::string LocalRunKey(const RunSpec& spec, const std::string& dir, int attempt);

// "stopped with a checkpoint at step 502", once the workers have taken their leave.
std::string StoppedWords(const absl::StatusOr<v1::Run>& run);

// Submits (or finds) the run, follows it to its end while the cluster is kept alive. Other runs of
// the folder are paused meanwhile; a new one beside them is said to be new, and in what. Errors:
// Cancelled (SIGINT, SIGTERM: the workers have left, and the message is
// StoppedWords), those of the cluster and of the coordinator.
absl::StatusOr<LocalRunResult> RunOnCluster(LocalCluster* cluster, const RunApiFactory& connect,
                                            Clock* clock, const RunFile& file,
                                            const std::string& dir, ProgressPrinter* progress);

}  // namespace tritter
