// What a run's data sources hold: a seam, so that the coordinator's domain knows nothing of shards.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/decide/admission.h"
#include "model/run_spec.h"

namespace tritter {

// Thread-safe. The real form is ShardCatalog.
class DataCatalog {
 public:
  virtual ~DataCatalog() = default;
  // One entry for each source of the run, in order; a source that cannot be read has its status in
  // its entry.
  virtual std::vector<SourceFacts> Inspect(const RunSpec& spec) = 0;
};

}  // namespace tritter
