// Records and helpers for tests of stores and of what stands on them.
#pragma once

#include <cstdint>
#include <string>

#include "coordinator/store/store.h"

namespace tritter {

// A folder of its own for each test, gone afterwards.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

RunRecord SampleRun(const std::string& run_id, int64_t created_ms);
EpochRecord SampleEpoch(const std::string& run_id, uint64_t epoch);
v1::Event SampleEvent(int64_t id, const std::string& run_id);
MetricRecord SampleMetric(const std::string& run_id, int64_t step, uint64_t epoch);
// One record of every kind.
WriteBatch FullBatch(const std::string& run_id, int64_t event_id);
// Everything the store says about the run, as text: equal texts, equal states.
std::string Dump(Store& store, const std::string& run_id);

}  // namespace tritter
